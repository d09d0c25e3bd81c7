"""Whole runs in seconds: it learns, it repeats itself bit for bit, it stops and goes on, it reports."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from small_runs import Mirror, adapter, assert_equal, mirror, run_folder, small_game

from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.loops.collect.imitate import Imitate
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.config import (
    AcceptedAnswersConfig,
    ImitateConfig,
    SampleGroupsConfig,
    SearchPlayConfig,
    TrainConfig,
)
from shuhari.loops.phase import Phase
from shuhari.loops.rank_failure import Interrupted
from shuhari.loops.train import train


def test_it_masters_a_trivial_env_and_passes_its_expert(tmp_path: Path) -> None:
    cfg = mirror(tmp_path)
    cfg.phases["selfplay"] = AcceptedAnswersConfig(
        rounds=20, problems=32, samples=16, updates=[6, 6], batch=64
    )
    report = train(cfg)
    players = report["players"]
    assert players["base"]["greedy"] < 0.2
    assert players["imitation"]["greedy"] >= 0.7
    assert players["selfplay"]["greedy"] == 1.0
    assert players["selfplay"]["pass_at"]["1"] > 0.9


def test_imitation_alone_reaches_its_expert(tmp_path: Path) -> None:
    report = train(mirror(tmp_path / "alone", only=["imitate"]))
    assert report["players"]["imitation"]["greedy"] >= 0.7
    assert "selfplay" not in report["players"]
    both = train(mirror(tmp_path / "both"))
    assert both["players"]["imitation"] == report["players"]["imitation"]
    assert_equal(adapter(tmp_path / "alone", "imitation"), adapter(tmp_path / "both", "imitation"))


@pytest.mark.parametrize("make", [small_game, pytest.param(mirror, marks=pytest.mark.long)])
def test_the_same_seed_gives_the_same_adapter(make: Any, tmp_path: Path) -> None:
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(make(tmp_path / out, seed=seed))
    first, again, other = (adapter(tmp_path / out, "selfplay") for out in "abc")
    assert_equal(first, again)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("make", [pytest.param(mirror, marks=pytest.mark.long), small_game])
@pytest.mark.parametrize(
    ("phase", "step"), [pytest.param("imitate", 2, marks=pytest.mark.long), ("selfplay", 1)]
)
def test_ctrl_c_stops_after_the_step_and_resume_goes_on_as_if_never_stopped(
    make: Any, phase: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make(tmp_path / "whole"))

    original = Phase.step

    def step_then_interrupt(self: Phase) -> Any:
        if (self.name, self.rounds) == (phase, step):
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Phase, "step", step_then_interrupt)
        with pytest.raises(Interrupted, match=rf"stopped after step {step + 1} of {phase}.*resume="):
            train(make(tmp_path / "parts"))
    folder = run_folder(tmp_path / "parts")
    report = train(TrainConfig(resume=str(folder)))
    assert_equal(adapter(tmp_path / "whole", "selfplay"), adapter(tmp_path / "parts", "selfplay"))
    whole = json.loads((run_folder(tmp_path / "whole") / "report.json").read_text())
    assert report["players"] == whole["players"]
    assert report["health"] == whole["health"]
    for mine, theirs in zip(report["phases"], whole["phases"], strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


@pytest.mark.parametrize(
    "damage",
    ["checkpoint", *(pytest.param(x, marks=pytest.mark.long) for x in ("config", "nothing saved"))],
)
def test_a_damaged_run_cannot_be_resumed_and_says_so(damage: str, tmp_path: Path) -> None:
    train(small_game(tmp_path))
    folder = run_folder(tmp_path)
    if damage == "checkpoint":
        (folder / "checkpoint.pt").write_bytes(b"PK broken")
    elif damage == "config":
        (folder / "config.yaml").write_text("seed: [")
    else:
        (folder / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match="resume=") as error:
        train(TrainConfig(resume=str(folder)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [small_game, pytest.param(mirror, marks=pytest.mark.long)])
def test_the_learning_rate_is_planned_for_the_steps_that_are_made(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that announces too few would learn with a rate that has run out."""
    planned: dict[str, int] = {}
    original = Phase.step

    def step(self: Phase) -> Any:
        planned[self.name] = self.learner.optimizer.steps
        return original(self)

    monkeypatch.setattr(Phase, "step", step)
    report = train(make(tmp_path))
    made = {phase["name"]: phase["updates"] for phase in report["phases"]}
    assert made["selfplay"] == planned["selfplay"]
    assert made["imitate"] <= planned["imitate"]  # it may have stopped early


def test_the_reports_keys_are_the_contract(tmp_path: Path) -> None:
    cfg = small_game(tmp_path)
    cfg.env_args["withhold"] = 0.1
    cfg.phases["selfplay"] = SearchPlayConfig(rounds=1, games=16, updates=1, batch=8)
    train(cfg)
    folder = run_folder(tmp_path)
    report = json.loads((folder / "report.json").read_text())
    assert {"experiment", "seed", "hardware", "versions", "phases", "players"} <= report.keys()
    assert [phase["name"] for phase in report["phases"]] == ["imitate", "selfplay"]
    assert {"name", "seconds", "steps", "episodes", "tokens"} <= report["phases"][0].keys()
    assert report["health"].keys() == {"verdict", "checks"}
    for check in report["health"]["checks"]:
        assert check.keys() == {"phase", "name", "value", "healthy", "verdict", "what"}
    names = {
        "random",
        "base",
        "expert",
        "expert_mode",
        "imitation",
        "search_alone",
        "selfplay",
        "selfplay_search",
    }
    assert report["players"].keys() == names
    for row in report["players"].values():
        assert {"optimal_critical", "optimal_all", "worst_case", "versus"} <= row.keys()
        assert {"optimal_critical_seen", "optimal_critical_withheld"} <= row.keys()
        assert row["worst_case"].keys() == {"0", "1"}
        for match in row["versus"].values():
            assert match["wins"] + match["draws"] + match["losses"] == 20
            assert match["ci95"][0] <= match["score"] <= match["ci95"][1]
    for name in ("report.md", "config.yaml", "metrics.jsonl", "episodes.jsonl"):
        assert (folder / name).stat().st_size
    lines = {path.name for path in (folder / "tensorboard").iterdir() if path.is_dir()}
    assert lines == {"policy", "expert", "expert_mode", "perfect", "base", "imitation", "selfplay", "hparams"}


def test_a_tasks_report(tmp_path: Path) -> None:
    cfg = mirror(tmp_path, env="shuhari/Addition-v0", env_args={"digits": 1})
    cfg.phases["harder"] = AcceptedAnswersConfig(
        env_args={"digits": 2, "min_digits": 2}, replay_of="selfplay", rounds=1, problems=4, updates=[1, 1]
    )
    cfg.policy.max_new_tokens = 20
    cfg.phases["imitate"].steps = cfg.phases["selfplay"].rounds = 1
    report = train(cfg)
    names = {"base", "expert", "expert_mode", "imitation", "selfplay", "selfplay_harder"}
    assert report["players"].keys() == names
    for row in report["players"].values():
        for part in (row, row["harder"]):
            assert {"pass_at", "avg_at", "maj_at", "greedy", "n", "ci95", "unknown_rate"} <= part.keys()
            assert part["avg_at"].keys() == {"4"}
            assert part["maj_at"].keys() == {"1", "2", "4"}
    assert [phase["name"] for phase in report["phases"]] == ["imitate", "selfplay", "harder"]


def test_no_withheld_position_is_ever_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shuhari.loops import build

    seen: set[str] = set()
    asked: set[str] = set()  # by imitation: for moves and for outcomes
    built: list[SearchPlay] = []

    class Spy(SearchPlay):
        def batches(self, number: int) -> Any:
            yield from super().batches(number)
            seen.update(observation for observation, *_ in self.replay.items)
            built.append(self)

    class SpyImitate(Imitate):
        def __init__(self, generator: Any, renderer: Any, traces: Any, *rest: Any) -> None:
            asked.update(trace.prompt for trace in traces)
            super().__init__(generator, renderer, traces, *rest)

    monkeypatch.setattr(build, "SearchPlay", Spy)
    monkeypatch.setattr(build, "Imitate", SpyImitate)
    search = SearchPlayConfig(rounds=1, games=2600, updates=1, batch=8, simulations=1)
    traces = ImitateConfig(examples=1500, steps=1, batch=8)
    phases = {"imitate": traces, "selfplay": search}
    train(small_game(tmp_path, env="shuhari/TicTacToe-v0", env_args={"withhold": 0.1}, phases=phases))
    graph: Any = built[0].simulator
    env: Any = gymnasium.make("shuhari/TicTacToe-v0", withhold=0.1).unwrapped
    withheld = np.array([env.withholds(turn.observation) for turn in graph.turns])
    hidden = {graph.turns[node].observation for node in np.flatnonzero(withheld & (graph.moves_N > 0))}
    images = {graph.canonical(node) for node in np.flatnonzero(withheld)}
    assert 0.05 < len(hidden) / int((graph.moves_N > 0).sum()) < 0.15
    assert {prompt[-1] for prompt in asked} == set(">=")
    seen |= {f"{prompt[:-1]}>" for prompt in asked}
    assert not seen & hidden
    node_of = {turn.observation: node for node, turn in enumerate(graph.turns)}
    assert not {graph.canonical(node_of[observation]) for observation in seen} & images
    assert len(seen) > 3000


def test_episodes_that_fail_are_counted_and_never_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = mirror(tmp_path, env="toy/Broken-v0")
    report = train(cfg)
    env: Any = gymnasium.make("toy/Broken-v0").unwrapped
    keys = []
    for seed in HeldOutProblems(env, cfg.evaluate_problems).seeds:
        env.reset(seed=seed, options={"split": "heldout"})
        keys.append(int(env.task.key))
    unjudged = sum(key % 4 < 2 for key in keys) / len(keys)
    assert 0 < unjudged < 1
    # The trained policy ends every answer, so that every fourth verdict is an error and every fourth unknown.
    assert report["players"]["selfplay"]["unknown_rate"] == pytest.approx(unjudged, abs=1e-4)
    printed = capsys.readouterr().out
    assert printed.count("over 5% of a round's episodes have no verdict") == 1
    assert "the verifier fell over" in printed or "unknown" in printed


def test_without_expert_and_traces_imitation_is_skipped_and_the_report_says_so(tmp_path: Path) -> None:
    report = train(mirror(tmp_path, env="toy/NoExpert-v0"))
    skipped, rate = report["notes"]
    assert skipped == "no expert and no traces: imitation was skipped"
    assert rate == "selfplay: learning rate 0.005 (muon), by the base's width of 64"
    assert "imitation" not in report["players"]
    assert "expert" not in report["players"]
    assert "imitation was skipped" in (run_folder(tmp_path) / "report.md").read_text()


def test_traces_come_from_a_file_and_heldout_prompts_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    rows = [{"prompt": f"{n:02}=", "completion": f"{n:02}"[::-1]} for n in range(100)] * 4
    path.write_text("\n".join(json.dumps(row) for row in rows))
    cfg = mirror(tmp_path / "out", env="toy/NoExpert-v0", only=["imitate"])
    cfg.phases["imitate"].traces = str(path)
    report = train(cfg)
    apart = sum(Mirror.split_of(f"{n:02}") != "train" for n in range(100))
    sides = "are of the held-out or the validation side: left out"
    assert f"{4 * apart} of 400 entries {sides}" in report["notes"]
    assert report["players"]["imitation"]["greedy"] >= 0.6


def test_phase_2_starts_from_an_adapter(tmp_path: Path) -> None:
    train(mirror(tmp_path / "one", only=["imitate"]))
    start = run_folder(tmp_path / "one") / "adapter-imitation"
    cfg = mirror(tmp_path / "two", only=["selfplay"], adapter=str(start))
    cfg.phases["selfplay"].rounds = 1
    report = train(cfg)
    assert report["players"]["selfplay"]["greedy"] >= 0.6


def test_any_gymnasium_env_of_text_will_do(tmp_path: Path) -> None:
    """What it pays is measured, and not what it never said."""
    report = train(mirror(tmp_path, env="toy/Plain-v0"))
    assert "is no TaskEnv" in report["notes"][0]
    assert "no held-out side" in report["notes"][1]
    assert "imitation was skipped" in report["notes"][2]
    row = report["players"]["selfplay"]
    assert row["n"] == 20
    assert 0 <= row["mean_return"] <= 2
    assert "greedy" not in row


def sample_groups(**changes: Any) -> SampleGroupsConfig:
    return SampleGroupsConfig(rounds=15, problems=32, samples=8, learning_rate=0.003, **changes)


def accepted_answers(**changes: Any) -> AcceptedAnswersConfig:
    return AcceptedAnswersConfig(rounds=15, problems=32, samples=8, updates=[4, 4], batch=64, **changes)


@pytest.mark.parametrize("make", [pytest.param(accepted_answers, marks=pytest.mark.long), sample_groups])
def test_both_sources_learn_from_reward_alone(make: Any, tmp_path: Path) -> None:
    cfg = mirror(tmp_path)
    cfg.phases["imitate"].steps = 80  # enough to try the right answer, not enough to give it
    cfg.phases["selfplay"] = make()
    players = train(cfg)["players"]
    assert players["selfplay"]["pass_at"]["1"] > players["imitation"]["pass_at"]["1"]


@pytest.mark.long
def test_what_is_solved_already_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = mirror(tmp_path)
    cfg.phases["selfplay"] = SampleGroupsConfig(rounds=1, problems=4, samples=4)
    monkeypatch.setattr("shuhari.loops.collect.sample_groups.NEGLIGIBLE", 10.0)  # no advantage is any
    assert "made no update" in train(cfg)["failures"][0]
    monkeypatch.setattr("shuhari.loops.evaluate.problems.Problems.skill", lambda self: 1.0)
    assert train(replace(cfg, out=str(tmp_path / "solved")))["failures"] == []


def test_failed_problems_come_back_and_are_explored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: set[int] = set()  # seeds of problems that were drawn
    again: list[set[int]] = []  # seeds of problems that were explored, by round
    play = Rollouts.play

    def spy(
        self: Rollouts, seeds: Any, *, explore: int = 0, temperature: float = 1.0, **arguments: Any
    ) -> Any:
        if "options" not in arguments and temperature:  # neither an evaluation nor the learning curve
            if explore:
                again.append(set(seeds))
                assert again[-1] <= fresh
            else:
                fresh.update(seeds)
        return play(self, seeds, explore=explore, temperature=temperature, **arguments)

    monkeypatch.setattr(Rollouts, "play", spy)
    cfg = mirror(tmp_path, only=["selfplay"])  # from the base, which fails nearly everything
    cfg.phases["selfplay"] = AcceptedAnswersConfig(
        rounds=3, problems=8, samples=4, updates=[1, 1], batch=8, explore=4
    )
    train(cfg)
    assert [len(seeds) for seeds in again] == [0, 4, 4]  # half of a round, once there are enough of them
