"""What TensorBoard shows: event files read back, held to the table of tags in both directions."""

import io
import json
import re
from collections.abc import Sequence
from math import e, isfinite, log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import Mirror, mirror, small_game
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata

from shuhari.envs import Episode, Step, Task
from shuhari.loops import health_table, pace
from shuhari.loops.collect.worked_answers import as_markdown, decided, telling_ones
from shuhari.loops.config import (
    AcceptedAnswersConfig,
    FictitiousPlayConfig,
    PolicyConfig,
    RankedPairsConfig,
    SampleGroupsConfig,
    SearchPlayConfig,
    TrainConfig,
    VerifiedPairsConfig,
)
from shuhari.loops.evaluate.matched_game import MatchedGame
from shuhari.loops.evaluate.problems import Problems
from shuhari.loops.evaluate.returns import Returns
from shuhari.loops.learn.departures import DEPARTURES, departures
from shuhari.loops.learn.objectives import DistillConfig, PolicyGradientConfig
from shuhari.loops.report import hyperparameters, tags
from shuhari.loops.report.layout import SKILL, layout
from shuhari.loops.report.monitor import Monitor
from shuhari.loops.train import train
from shuhari.rewards import Verdict
from shuhari.rewards.statistics import mean_interval, wilson

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
EVERYTHING = dict.fromkeys(("scalars", "images", "tensors"), 0)
OF_PLUGINS = ("custom_scalars__config__", "_hparams_/session_start_info")  # events that are no figures
Shown = dict[tuple[str, str], list[Any]]  # by kind and tag: (step, value), images or texts


class Even(Mirror):
    """Any even digit is right, so that some samples are and some are not. It measures, and names its rung."""

    def __init__(self, others: int = 0) -> None:
        super().__init__()
        self.others = others

    def verify(self, task: Task, completion: str) -> Verdict:
        right = completion[-1:] in (*"02468",)
        return Verdict("correct" if right else "wrong", "" if right else "it is `odd`", "parity")

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        return str(rng.integers(10))

    def step(self, action: str) -> Any:
        *rest, info = super().step(action)
        return (*rest, info | {"metrics": {"length": len(action)}})


gymnasium.register("toy/Even-v0", Even)


def read(events: Path) -> Shown:
    """All that one run of events holds."""
    known = EventAccumulator(str(events), size_guidance=EVERYTHING).Reload()
    found: Shown = {}
    for tag in known.Tags()["scalars"]:
        found["scalar", tag] = [(event.step, event.value) for event in known.Scalars(tag)]
    for tag in known.Tags()["images"]:
        found["image", tag] = [event.encoded_image_string for event in known.Images(tag)]
    for tag in known.Tags()["tensors"]:
        texts = [event.tensor_proto.string_val for event in known.Tensors(tag)]
        found["text", tag.removesuffix("/text_summary")] = texts
    return found


def problems(out: Path) -> TrainConfig:
    """A round or two of every source of problems."""
    pairs = out / "pairs.jsonl"
    rows = [{"prompt": f"{n}=", "chosen": "2", "rejected": "3"} for n in range(9)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cfg = mirror(out, env="toy/Even-v0", evaluate_problems=8)
    cfg.phases["imitate"].steps, cfg.phases["imitate"].batch = 60, 16
    few: dict[str, Any] = {"rounds": 1, "problems": 4, "samples": 4, "gate": 0}
    cfg.phases["selfplay"] = AcceptedAnswersConfig(**(few | {"gate": 1}), updates=[1, 1], batch=4)
    cfg.phases["reinforce"] = SampleGroupsConfig(**few, updates=2, explore=2, entropy_floor=0.1)
    cfg.phases["compare"] = VerifiedPairsConfig(**few, updates=1, batch=4)
    cfg.phases["ranked"] = RankedPairsConfig(pairs=str(pairs), rounds=1, batch=4)
    cfg.phases["other"] = AcceptedAnswersConfig(**few, env_args={"others": 1}, updates=[1, 1], batch=4)
    return cfg


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Shown]]:
    """What three short runs, of all sources and objectives, have written: by run and player."""
    out = tmp_path_factory.mktemp("runs")
    train(problems(out))
    search = SearchPlayConfig(rounds=1, games=4, updates=1, batch=4, simulations=2, league=0.5)
    groups = SampleGroupsConfig(rounds=1, problems=4, samples=4)
    phases = {"selfplay": search, "reinforce": groups}
    train(small_game(out, name="search", env_args={"game": "nim(pile_sizes=1;3;5)"}, phases=phases))
    hidden: dict[str, Any] = {
        "selfplay": FictitiousPlayConfig(rounds=1, starts=4, updates=1, batch=4),
    }
    env, game = "shuhari/OpenSpiel-v0", {"game": "kuhn_poker"}
    train(TrainConfig("hidden", env, game, PolicyConfig("games"), hidden, out=str(out), threads=1))
    return {
        path.parent.parent.name: {player.name: read(player) for player in path.iterdir() if player.is_dir()}
        for path in out.glob("*/*/tensorboard")
    }


def written(runs: dict[str, dict[str, Shown]]) -> dict[tuple[str, str], list[Any]]:
    return {
        (kind, tag): values
        for players in runs.values()
        for shown in players.values()
        for (kind, tag), values in shown.items()
        if tag not in OF_PLUGINS
    }


def test_no_tag_is_written_that_the_table_does_not_have_and_every_figure_is_finite(runs: Any) -> None:
    health = {check.name for check in health_table.checks(torch.float32)}
    for (kind, tag), values in written(runs).items():
        row, phase = tags.find(tag, kind)  # type: ignore[arg-type]
        assert row is not None, f"{kind} {tag}"
        assert kind != "scalar" or all(isfinite(value) for _, value in values), tag
        if row.section == "health":
            assert tag.removeprefix(f"{phase}/health/") in health


def test_every_tag_of_the_table_is_written(runs: Any) -> None:
    found = {tags.find(tag, kind)[0] for kind, tag in written(runs)}  # type: ignore[arg-type]
    missing = [row.full for row in tags.TAGS if row not in found and not row.only_on]
    assert missing == []


def test_the_page_has_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8").endswith("\n\n" + "\n".join(tags.as_markdown()) + "\n")
    assert tags.find("selfplay/nosuch") == (None, "")
    assert tags.find("selfplay/metrics/") == (None, "")
    assert tags.find("selfplay/reward", "image") == (None, "")


def test_the_skill_has_a_band_and_every_level_is_a_line_of_its_own(runs: Any) -> None:
    players = runs["mirror"]
    curves = {name: [players[name]["scalar", tag] for tag in SKILL] for name in ("policy", "expert", "base")}
    for value, low, high in curves.values():
        steps = [[step for step, _ in points] for points in (value, low, high)]
        assert steps[0] == steps[1] == steps[2]  # or TensorBoard draws nothing
        assert steps[0] == [step for step, _ in curves["policy"][0]]
        assert all(a[1] <= b[1] <= c[1] for a, b, c in zip(low, value, high, strict=True))
    assert all(low[1] < high[1] for low, high in zip(*curves["policy"][1:], strict=True))
    assert curves["expert"][0] == curves["expert"][1]
    assert {"expert_mode", "perfect"} <= players.keys()
    assert ("scalar", "other/skill/low") in players["policy"]  # another environment: not on that chart
    exact = runs["search"]["policy"]  # every critical position is looked at
    assert exact["scalar", "skill"] == exact["scalar", "skill/low"] == exact["scalar", "skill/high"]


def charts(shown: Shown) -> dict[str, list[Any]]:
    """The charts of the last layout, by category, in order."""
    last = layout_pb2.Layout.FromString(shown["text", OF_PLUGINS[0]][-1][0])
    return {category.title: list(category.chart) for category in last.category}


def test_the_layout_opens_on_the_skill_and_no_chart_is_empty(runs: Any) -> None:
    for players in runs.values():
        shown = players["policy"]
        known = [tag for kind, tag in shown if kind == "scalar"]
        found = charts(shown)
        assert next(iter(found)) == "skill"
        assert found["skill"][0].title == "skill of all phases"
        for title, cards in found.items():
            assert cards, title
            for card in cards:
                for pattern in card.multiline.tag:
                    assert sum(bool(re.match(pattern, tag)) for tag in known) == 1, pattern
                for series in card.margin.series:
                    assert {series.value, series.lower, series.upper} <= set(known)
        drawn = {p for cards in found.values() for card in cards for p in card.multiline.tag}
        assert {
            f"^{re.escape(tag)}$" for tag in known if not tag.removesuffix("/low").endswith(("skill", "high"))
        } - {f"^{re.escape(tag)}$" for tag in known if tag.startswith(("samples/", "simulations/"))} == drawn
    found = charts(runs["mirror"]["policy"])
    assert [c.title for c in found["skill"]] == ["skill of all phases", "skill of other"]
    sections = [title.partition(":")[0] for title in found]
    assert sorted(sections, key=tags.SECTIONS.index) == sections
    assert layout(["selfplay/time/fps"]).category[1].closed
    assert not layout(["selfplay/reward"]).category[1].closed


def test_a_resumed_run_keeps_the_charts_of_the_phases_before(tmp_path: Path) -> None:
    for phase in ("imitate", "selfplay"):
        monitor = Monitor(tmp_path, {}, {})
        monitor.figures(phase, 1, {"loss": 1.0, "metrics/turns": 2.0})
        monitor.figures(phase, 2, {"loss": 1.0})
        monitor.close()
    shown = read(tmp_path / "tensorboard" / "policy")
    assert len(shown["text", OF_PLUGINS[0]]) == 2  # written where something new came, and not in every round
    assert {"learning: imitate", "learning: selfplay"} <= charts(shown).keys()
    assert shown["scalar", "imitate/train/loss"] == [(1, 1.0), (2, 1.0)]


def test_pictures_and_answers_can_be_seen(runs: Any) -> None:
    for name in ("search", "hidden"):
        (image,) = runs[name]["policy"]["image", "selfplay/boards"]
        assert len(np.unique(np.asarray(Image.open(io.BytesIO(image)).convert("L")))) > 10
    (text,) = runs["mirror"]["policy"]["text", "selfplay/answers"]
    shown = text[0].decode()
    assert "### correct by rung `parity`, reward 1\n" in shown
    assert "### wrong by rung `parity`, reward 0: it is 'odd'\n" in shown


def said(seed: int, text: str, verdict: Verdict | None, reward: float = 0.0) -> Episode:
    step = Step(0, (1,), (2,), (0.0,), text, reward)
    return Episode(seed, (step,), "done", (reward,), info={"verdict": verdict} if verdict else {})


def test_answers_are_several_right_and_wrong_ones_of_different_problems() -> None:
    right, wrong = Verdict("correct", rung="rational"), Verdict("wrong", "no number", "parse")
    episodes = [said(n // 2, "x", right if n % 2 else wrong) for n in range(20)]
    chosen = telling_ones(
        [said(0, "y", wrong), said(0, "y", right), *episodes]
    )  # of one problem it takes one right and one wrong
    assert [(episode.seed, episode.info["verdict"]) for episode in chosen] == [
        *((n, right) for n in range(3)),
        *((n, wrong) for n in range(3)),
    ]
    lost = Episode(9, (), "overlong")
    assert telling_ones([*episodes[1:2], lost]) == [episodes[1], lost]
    paid = [said(n, "x", None, float(n)) for n in range(8)]
    assert [e.seed for e in telling_ones(paid)] == [7, 6, 5, 2, 1, 0]
    assert [e.seed for e in telling_ones(paid[:4])] == [3, 2, 1, 0]
    assert decided([*episodes, *episodes[:2], lost, lost]) == pytest.approx(
        {
            "verdicts/wrong": 11 / 24,
            "verdicts/correct": 11 / 24,
            "rungs/rational": 11 / 24,
            "rungs/parse": 11 / 24,
        }
    )


def test_a_text_cannot_leave_its_block() -> None:
    verdict = Verdict("wrong", "it says\n`x`", "form")
    shown = as_markdown([said(0, "```\n# no\n````", verdict)], lambda tokens: "1+1=")
    assert shown == (
        "### wrong by rung `form`, reward 0: it says 'x'\n\n```text\n1+1=\n```\n\n"
        "`````text\n```\n# no\n````\n`````"
    )


def test_departures_by_hand() -> None:
    """Ratios 1, e and 1/2, of which two are outside of 0.8 to 1.28; the largest is cut."""
    log_ratio = torch.tensor([0.0, 1.0, -log(2), 500.0])
    sums = dict(zip(DEPARTURES, departures(log_ratio[:3], PolicyGradientConfig()).tolist(), strict=True))
    assert sums == pytest.approx(
        {
            "sampler_drift": 1 + log(2),
            "approx_kl": (e - 2) + (log(2) - 1 / 2),
            "importance_weight": 1 + e + 1 / 2,
            "clip_fraction": 2,
        },
        rel=1e-5,
    )
    assert departures(log_ratio, DistillConfig()).isfinite().all()
    assert departures(log_ratio, DistillConfig())[3] == 0  # it clips nothing


def test_intervals_of_the_learning_curve_by_hand() -> None:
    scores: Sequence[float | None] = [1.0, None, 0.0, 1.0]
    last = SimpleNamespace(_watched=[1.0, 1.0, None])
    assert Problems.interval(last, 1.0) == tuple(wilson(1.0, 2))  # type: ignore[arg-type]
    assert Problems.interval(last, 2 / 3, scores) == tuple(wilson(2 / 3, 3))  # type: ignore[arg-type]
    assert Returns.interval(last, 2 / 3, scores) == tuple(mean_interval([1, 0, 1])[1])  # type: ignore[arg-type]
    none = SimpleNamespace(_watched=[None])
    assert Returns.interval(none, 0.5) == (0.5, 0.5)  # type: ignore[arg-type]
    games = SimpleNamespace(_watched=[0] * 5)
    assert MatchedGame.interval(games, 0.5) == tuple(wilson(0.5, 10))  # type: ignore[arg-type]


def test_the_table_of_hyperparameters_has_single_values(runs: Any, tmp_path: Path) -> None:
    cfg = {"seed": 1, "out": "x", "policy": {"rank": 8, "base": None, "on": True}, "updates": [4, 16]}
    values = {"seed": 1, "policy.rank": 8, "policy.on": "True", "updates": "[4, 16]"}
    assert hyperparameters.single_values(cfg) == values
    monitor = Monitor(tmp_path, {}, cfg)
    monitor.skill("selfplay", 1, 5, 0.5, (0.4, 0.6))
    monitor.close()
    events = tmp_path / "tensorboard" / "hparams"
    assert read(events)["scalar", "final/skill"] == [(5, 0.5)]
    known = EventAccumulator(str(events)).Reload().summary_metadata[hparams_metadata.SESSION_START_INFO_TAG]
    start = hparams_metadata.parse_session_start_info_plugin_data(known.plugin_data.content)
    assert {name: x.number_value or x.string_value for name, x in start.hparams.items()} == values
    scalars = [tag for kind, tag in runs["mirror"]["hparams"] if kind == "scalar"]
    assert scalars == ["final/skill"]  # what else there were would be a column


def test_the_pace_of_a_round_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    source, learner = SimpleNamespace(decisions=3, sampled=0), SimpleNamespace(tokens=5)
    clock = iter((0.0, 2.0, 3.0, 5.0, 5.5, 6.0))
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(clock))
    round_ = pace.Pace(source, learner)  # type: ignore[arg-type]
    round_.learning()
    learner.tokens += 10
    round_.collecting()
    source.decisions += 8
    round_.learning()
    round_.checking()
    assert round_.figures() == {
        "time/collect_seconds": 4.0,
        "time/learn_seconds": 1.5,
        "time/check_seconds": 0.5,
        "time/fps": 2.0,
        "time/learned_tokens_per_second": 10 / 1.5,
    }
