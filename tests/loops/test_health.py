"""What must hold in every run: each check is broken once, and found."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from small_runs import mirror, run_folder

from shuhari.envs import Episode, FreeText, Step
from shuhari.loops import health, health_table
from shuhari.loops.agreement import BOUNDS, Disagreement, compare
from shuhari.loops.cli.hydra_commands import TAUGHT_NOTHING, execute
from shuhari.loops.collect.episode_groups import SamplingSource
from shuhari.loops.collect.source import Source
from shuhari.loops.config import AcceptedAnswersConfig, SampleGroupsConfig
from shuhari.loops.health import PhaseHealth
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.objectives import DistillConfig
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.phase import Phase
from shuhari.loops.train import train
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.sampler import Sampler
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.scoring import completion_logprobs
from shuhari.rewards import Verdict

ROOT = Path(__file__).parents[2]


class Signs(gymnasium.Env[str, str]):
    """A choice of three."""

    observation_space = action_space = FreeText()
    legal = ("x", "o", ".")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return "x?", {"legal_actions": self.legal}

    def step(self, action: str) -> Any:
        return "", float(action == "x"), True, False, {}


gymnasium.register("toy/Signs-v1", Signs)


class Toy(Source):
    """A batch of one text, again and again."""

    def batches(self, number: int) -> Iterator[Batch]:
        yield Batch.of([((10, 11), (20, 21, 1))])


def phase(rounds: int = 3, dtype: str = "float32") -> Phase:
    policy = Policy("math", rank=4, alpha=8.0, dtype=dtype)
    optimizer = Optimizer(list(policy.parameters.values()), learning_rate=0.01, steps=rounds)
    learner = Learner(policy, DistillConfig(), optimizer, micro_batch=10**6, reference=None)
    watched = PhaseHealth(learner, Generator(policy))
    return Phase("toy", Toy(rounds, np.random.default_rng(0)), learner, health=watched)


def verdicts(one: Phase) -> dict[str, str]:
    assert one.health is not None
    return {finding["name"]: finding["verdict"] for finding in one.health.findings()}


ADAPTER = ("adapter_effect", "adapter_moved", "disagreement", "worst_disagreement")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_phase_that_learns_is_healthy_from_its_first_step_on(dtype: str) -> None:
    one = phase(dtype=dtype)
    while not one.done:
        one.step()
        assert verdicts(one) == dict.fromkeys(ADAPTER, "ok")
    assert one.health is not None
    assert one.health.failures("toy") == []
    assert one.vitals["adapter_effect"] > 1e-3


def ignore_the_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Generator.submit
    monkeypatch.setattr(
        Generator, "submit", lambda self, request: submit(self, replace(request, adapter=None))
    )


def test_a_generator_that_ignores_the_adapter_ends_the_run_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ignore_the_adapter(monkeypatch)
    one = phase()
    with pytest.raises(Disagreement, match="the adapter changes nothing in sampling; the worst: '") as error:
        one.step()
    assert "\n" not in str(error.value)
    assert verdicts(one)["adapter_effect"] == "failed"


def test_players_that_ignore_the_adapter_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    weigh = health.shared_logprobs
    monkeypatch.setattr(health, "shared_logprobs", lambda policy, pairs, adapter: weigh(policy, pairs, None))
    one = phase()
    one.step()
    assert one.health is not None
    (line,) = one.health.failures("toy")
    assert line.startswith("phase toy: health: adapter_effect is 0, healthy is above 0 (")
    assert "sampling uses the bare base" in line


def test_an_optimizer_that_does_nothing_is_a_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Optimizer, "step", lambda self: 0.5)
    cfg = mirror(tmp_path, only=["imitate"])
    cfg.phases["imitate"].steps = 2
    with pytest.raises(SystemExit) as stop:
        execute("train", cfg)
    assert stop.value.code == TAUGHT_NOTHING
    printed = capsys.readouterr().out
    assert "phase imitate: health: adapter_moved is 0, healthy is above 0 (" in printed
    assert "health: failed: imitate: adapter_moved is 0" in printed
    assert "health: failed: imitate: adapter_moved is 0" in (run_folder(tmp_path) / "report.md").read_text()


def test_a_sampler_at_another_temperature_ends_the_run_with_status_2_and_names_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = Sampler.__call__
    monkeypatch.setattr(Sampler, "__call__", lambda self, logits_BV: draw(self, logits_BV * 1.25))
    cfg = mirror(tmp_path, only=["selfplay"])
    cfg.phases["selfplay"] = SampleGroupsConfig(rounds=2, problems=8, samples=8, learning_rate=0.005)
    monkeypatch.setattr("shuhari.loops.collect.sample_groups.NEGLIGIBLE", -1.0)  # whatever they earn
    with pytest.raises(SystemExit) as stop:
        execute("train", cfg)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "sampler and learner differ by" in line
    assert line.count(" (sampler -") == 3
    assert re.search(r"the worst: '.+' after '\d\d=", line)  # the end of the prompt
    assert "go on with: shuhari train resume=" in line
    assert (run_folder(tmp_path) / "checkpoint.pt").is_file()


def test_a_learner_without_the_mask_of_choices_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = mirror(tmp_path, env="toy/Signs-v1", only=["selfplay"])
    cfg.phases["selfplay"] = SampleGroupsConfig(rounds=1, problems=8, samples=4)
    monkeypatch.setattr(
        Learner, "score", lambda self, part: completion_logprobs(self.policy, part.pairs, adapter=LEARNING)
    )
    with pytest.raises(Disagreement, match=r"has not moved between; the worst: '[xo.]' after '"):
        train(cfg)


def test_the_bounds_hold_a_mean_and_a_worst_token_by_hand() -> None:
    learner = phase().learner
    batch = Batch([(10, 11)] * 2, [(20, 21, 22), (30,)], sampler=[[0.0] * 3, [0.0]])
    scores = compare(learner, batch).learner
    exact = replace(batch, sampler=[scores[:3], scores[3:]])
    assert compare(learner, exact).worst == 0.0
    off = replace(batch, sampler=[[s + 2e-4 for s in scores[:3]], [scores[3] - 4e-4]])
    found = compare(learner, off)
    assert found.places == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert found.worst == pytest.approx(4e-4, rel=1e-6)
    assert found.mean == pytest.approx(2.5e-4 / (1 + 3 / 2), rel=1e-6)  # of four tokens it counts for less
    mean, worst = BOUNDS[torch.float32]
    assert found.mean == pytest.approx(mean, rel=1e-6)
    all_off = replace(batch, sampler=[[s + 3e-4 for s in scores[:3]], [scores[3] + 3e-4]])
    with pytest.raises(Disagreement, match=r"by 0\.0003 nats a token on average and 0\.0003 at most"):
        compare(learner, all_off).require(learner)
    one_off = Batch([(10, 11)], [(20,) * 100], sampler=[[0.0] * 100])
    scores = compare(learner, one_off).learner
    one_off = replace(one_off, sampler=[[*scores[:99], scores[99] + 2 * worst]])
    assert compare(learner, one_off).mean < mean
    with pytest.raises(Disagreement, match=r"over 100 tokens .* the worst: '.' after .*sampler .*learner"):
        compare(learner, one_off).require(learner)
    with pytest.raises(Disagreement, match="nan"):
        compare(learner, replace(batch, sampler=[[math.nan, 0, 0], [0]])).require(learner)


def test_what_is_compared_is_what_a_loss_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[Batch] = []
    score = Learner.score
    monkeypatch.setattr(Learner, "score", lambda self, part: scored.append(part) or score(self, part))
    batch = Batch.of([((10, 11), (20, 21, 1))])
    phase().learner.learn(batch)
    assert scored == [batch]


def said(text: str, reward: float, **values: Any) -> Episode:
    step = Step(0, (5,), (6,), (-1.0,), text, reward, LEARNING)
    verdict = Verdict("correct" if reward else "wrong")
    info = {"verdict": verdict} | values.pop("info", {})
    return Episode(
        **({"seed": 0, "steps": (step,), "stop": "done", "returns": (reward,)} | values), info=info
    )


class Played(SamplingSource):
    """Takes given episodes, and a given mass of legal actions."""

    def __init__(self, mass: float | None = None) -> None:
        class Rollouts:
            def legal_mass(self, episodes: Any) -> float | None:
                return mass

        rollouts: Any = Rollouts()
        super().__init__(rollouts, SampleGroupsConfig(rounds=1), np.random.default_rng(0))


RIGHT, WRONG = said("a", 1.0), said("b", 0.0)
# By check: episodes whose shares are healthy, others whose are not, and the verdict on these.
EPISODES: dict[str, tuple[list[Episode], list[Episode], str]] = {
    "truncated": ([RIGHT, WRONG], [said("b", 0.0, stop="overlong")] * 2, "failed"),
    "unknown": ([RIGHT, WRONG], [RIGHT, *[said("?", 0.0, counts=False)] * 2], "failed"),
    "malformed": (
        [said("a", 1.0, info={"malformed": 0}), WRONG],
        [said("a", 1.0, info={"malformed": 1}), WRONG],
        "warn",
    ),
    "empty": ([RIGHT, WRONG], [said(" \n", 0.0)] * 2, "failed"),
    "no_signal": ([RIGHT, WRONG], [WRONG, WRONG], "warn"),
}


@pytest.mark.parametrize("name", EPISODES)
def test_what_becomes_of_episodes_is_counted_and_judged(name: str) -> None:
    healthy, broken, verdict = EPISODES[name]
    for episodes, expected in ((healthy, "ok"), (broken, verdict)):
        source, one = Played(), phase()
        source.grouped(episodes)
        assert one.health is not None
        one.health.after_round(source.shares, (), last=False)
        assert verdicts(one)[name] == expected, source.shares


def test_what_is_mastered_is_no_missing_signal() -> None:
    source = Played()
    source.grouped([RIGHT, RIGHT])
    assert source.shares["no_signal"] == 0.0
    assert source.figures["informative_groups"] == 0.0


def test_the_mass_outside_legal_actions_is_judged() -> None:
    for mass, verdict in ((0.5, "ok"), (0.05, "warn")):
        source, one = Played(mass), phase()
        source.grouped([RIGHT, WRONG])
        assert one.health is not None
        one.health.after_round(source.shares, (), last=False)
        assert verdicts(one)["illegal"] == verdict


def test_a_share_forgets_a_phases_first_rounds() -> None:
    one = phase().health
    assert one is not None
    one.after_round({"empty": 0.4}, (), last=False)
    one.after_round({"empty": 0.2}, (), last=False)
    assert one.figures["empty"] == pytest.approx(0.3)  # the mean of few
    for _ in range(60):
        one.after_round({"empty": 0.0}, (), last=False)
    assert one.figures["empty"] < 1e-3


def test_answers_that_never_end_are_in_the_report(tmp_path: Path) -> None:
    cfg = mirror(tmp_path, only=["selfplay"])
    cfg.policy.max_new_tokens = 1
    cfg.phases["selfplay"] = AcceptedAnswersConfig(rounds=1, problems=4, samples=4, updates=[1, 1])
    report = train(cfg)
    assert report["health"]["verdict"] == "failed"
    (check,) = (c for c in report["health"]["checks"] if c["name"] == "truncated")
    assert (check["phase"], check["verdict"]) == ("selfplay", "failed")
    assert len(report["failures"]) == 1
    assert "health: failed: selfplay: truncated is" in (run_folder(tmp_path) / "report.md").read_text()


def test_the_page_has_the_table_of_the_code() -> None:
    page = (ROOT / "docs" / "health.md").read_text()
    assert "\n".join(health_table.as_markdown()) in page
    for dtype, (mean, worst) in BOUNDS.items():
        assert f"| {str(dtype).removeprefix('torch.')} | {mean:g} | {worst:g} |" in page
