"""Skill against the number of samples, by hand and by enumeration; the majority as a judge."""

import io
import itertools
import json
from dataclasses import replace
from math import log2
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from small_runs import NoExpert
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shuhari.envs import Episode, Step
from shuhari.envs.problems.heldout import Answered, HeldOutProblems
from shuhari.loops.collect.accepted_answers import AcceptedAnswers, best_answers
from shuhari.loops.collect.majority_judge import judged_by_majority
from shuhari.loops.collect.validation import Validation
from shuhari.loops.config import AcceptedAnswersConfig
from shuhari.loops.evaluate.evaluation import Evaluation
from shuhari.loops.evaluate.problems import PolicyAnswers, Problems
from shuhari.loops.evaluate.samples import curves, samples_to_reach, sizes
from shuhari.loops.report.monitor import write_curves
from shuhari.loops.report.report import Report
from shuhari.policy.policy import LEARNING
from shuhari.rewards import Verdict
from shuhari.rewards.expected_majority import majority_at
from shuhari.rewards.statistics import majority, wilson

A, NOT_A, B, SILENT, UNKNOWN = ("a", True), ("a", False), ("b", False), (None, False), ("b", None)


@pytest.mark.parametrize(
    "votes",
    [
        [A, A, B, ("c", False), B],
        [A, NOT_A, B, B, A, ("c", True)],  # one answer, right and wrong: what the verifier demands beside it
        [SILENT, B, A, SILENT, A],
        [UNKNOWN, B, A, A, UNKNOWN],
        [SILENT, SILENT],
    ],
)
def test_the_expected_majority_is_what_enumeration_gives(votes: list[tuple[str | None, bool | None]]) -> None:
    judged = [vote for vote in votes if vote[1] is not None]
    found = majority_at(votes, [*range(1, len(judged)), len(judged), 64])
    assert found is not None
    for k in range(1, len(judged)):
        draws = [majority(draw) for draw in itertools.permutations(judged, k)]
        assert found[k - 1] == pytest.approx(sum(map(bool, draws)) / len(draws))
    assert found[-2:] == [float(majority(votes) is True)] * 2  # all of them, in their own order
    assert majority_at([UNKNOWN], [1]) is None


def test_the_expected_majority_by_hand() -> None:
    """Two of three say a. Of pairs one is aa, and two are ab, in half of which a comes first."""
    assert majority_at([A, B, A], [1, 2, 3]) == pytest.approx([2 / 3, 2 / 3, 1])
    assert majority_at([B, A, A, B, A, B, A], [4]) == pytest.approx([(1 * 1 + 4 * 3 + 18 / 2) / 35])


def test_the_curves_by_hand() -> None:
    """Four samples; the second problem has one right of four, the third one verdict, the fourth none."""
    groups = [
        [Answered(True, "a")] * 4,
        [Answered(False, "b"), Answered(True, "a"), Answered(False, "b"), Answered(False, "c")],
        [Answered(True, "a"), *[Answered(None)] * 3],
        [Answered(None, "a")] * 4,
    ]
    found = curves(groups, 4)
    assert list(found) == ["best_of", "majority"]
    assert found["best_of"] == pytest.approx({1: 2.25 / 3, 2: 2.5 / 3, 4: 1.0}, abs=1e-4)
    # Of two samples of the second problem: in a half of the three pairs with a, it comes first.
    assert found["majority"] == pytest.approx({1: 2.25 / 3, 2: 2.25 / 3, 4: 2 / 3}, abs=1e-4)
    assert sizes(4) == [1, 2, 4]
    assert sizes(20) == [1, 2, 4, 8, 16, 20]
    assert sizes(200) == [1, 2, 4, 8, 16, 32, 64, 200]


def test_the_number_of_samples_that_reach_a_level() -> None:
    curve = {1: 0.2, 2: 0.4, 4: 0.5, 8: 0.9, 16: 0.85}
    assert samples_to_reach(0.1, curve) == (None, "< 1")
    assert samples_to_reach(0.2, curve) == (1.0, "1")
    assert samples_to_reach(0.4, curve) == (2.0, "2.0")
    assert samples_to_reach(0.7, curve) == (pytest.approx(2**2.5, abs=1e-4), "5.7")
    assert samples_to_reach(0.87, curve)[0] == pytest.approx(
        2 ** (2 + 0.37 / 0.4), abs=1e-4
    )  # the first time
    assert samples_to_reach(0.91, curve) == (None, "> 16")
    found, text = samples_to_reach(0.95, {1: 0.5, 32: 1.0})
    assert found is not None
    assert log2(found) == pytest.approx(0.9 * 5, abs=1e-4)
    assert text == "23"


class Says(PolicyAnswers):
    """Gives the samples of a problem their texts, "1" among them the right one."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def shown(self, episode: Episode) -> str:
        return episode.steps[0].text

    def episodes(self, seeds: Any, temperature: float) -> list[Episode]:
        texts = [self.texts[i % len(self.texts)] if temperature else self.texts[0] for i in range(len(seeds))]
        return [said(text, seed) for seed, text in zip(seeds, texts, strict=True)]


def said(text: str, seed: int = 0, stop: str = "done", verdict: str = "", seat: int = 0) -> Episode:
    """An episode that says so, of which the verifier thinks that 1 is right."""
    judged = Verdict(verdict or ("correct" if text == "1" else "wrong"))  # type: ignore[arg-type]
    step = Step(seat, (5,), tuple(map(ord, text)), (), text, judged.score, LEARNING)
    return Episode(seed, (step,), stop, (judged.score,), judged.counts, {"verdict": judged})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    """Of 32 samples imitation has 8 right, selfplay 24; imitation's majority is wrong."""
    problems = evaluation()
    players = {"imitation": (8, "0"), "selfplay": (24, "0"), "expert_mode": (32, "1"), "base": (0, "0")}
    return {
        name: problems.measure(name, Says(*["1"] * right, *[other] * (32 - right)))
        for name, (right, other) in players.items()
    }


def evaluation(samples: int = 32) -> Problems:
    env = NoExpert()
    rollouts: Any = SimpleNamespace(make=NoExpert)
    return Problems(rollouts, env, HeldOutProblems(env, 4), Validation(rollouts, True, 8), samples=samples)


def report_of(kind: Evaluation[Any], rows: dict[str, Any]) -> Report:
    worth = kind.samples_worth(rows, ["harder", "selfplay", "imitation"])
    data = {"experiment": "toy", "seed": 0, "skill": kind.metric, "players": rows, "samples_worth": worth}
    data |= {name: {} for name in ("evaluation", "policy", "hardware", "versions")}
    data |= {"notes": [], "phases": [], "seconds": 1.0, "measuring_seconds": 0.5}
    return Report(data, kind, {}, ["selfplay", "imitation"], {})


def test_a_row_has_both_curves_with_intervals(rows: dict[str, Any]) -> None:
    row = rows["imitation"]
    assert list(row["pass_at"]) == list(row["maj_at"]) == ["1", "2", "4", "8", "16", "32"]
    assert (row["pass_at"]["1"], row["pass_at"]["32"], row["maj_at"]["32"]) == (0.25, 1.0, 0.0)
    assert row["pass_at"]["2"] == pytest.approx(1 - 24 * 23 / (32 * 31), abs=1e-4)
    assert row["ci95"]["pass_at_2"] == wilson(row["pass_at"]["2"], 4)
    assert row["ci95"]["maj_at_16"] == wilson(row["maj_at"]["16"], 4)
    heads = [column.head for column in evaluation().columns]
    assert heads == ["greedy", "ci95", "pass@1", "pass@2", "pass@16", "maj@32", "fixed"]
    assert [column.head for column in evaluation(16).columns][4:6] == ["avg@16", "maj@16"]


def test_the_report_shows_skill_against_samples_and_what_one_sample_is_worth(
    rows: dict[str, Any], tmp_path: Path
) -> None:
    report = report_of(evaluation(), rows)
    heads, lines = report.samples()
    assert heads == ["player", "1", "2", "4", "8", "16", "32"]
    assert [line[0] for line in lines] == [
        f"{player}, {kind}"
        for player in ("base", "imitation", "selfplay")
        for kind in ("best of", "majority")
    ]
    assert lines[2][1:3] == ["25.0", "44.3"]
    assert lines[4][-1] == lines[5][-1] == "100.0"
    # Imitation's best of 4 solves 70.4% and of 8 93.0%; selfplay's one sample 75%.
    worth = report.data["samples_worth"]
    low, high = rows["imitation"]["pass_at"]["4"], rows["imitation"]["pass_at"]["8"]
    assert worth["best_of"]["k"] == pytest.approx(2 ** (2 + (0.75 - low) / (high - low)), abs=1e-3)
    assert worth["majority"] == {"k": None, "text": "> 32"}
    sentence = (
        "One sample of selfplay (75.0%) equals the best of 4.6 samples of imitation by the verifier, and a "
        "majority of more than 32."
    )
    assert worth["sentence"] == sentence
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| player | 1 | 2 | 4 | 8 | 16 | 32 |" in text
    assert sentence in text
    assert json.loads((tmp_path / "report.json").read_text())["samples_worth"]["best_of"]["text"] == "4.6"
    file = io.StringIO()
    report.show(tmp_path, Console(file=file, width=80, force_terminal=False))
    shown = file.getvalue()
    assert "imitation, best of" in shown
    assert sentence in " ".join(shown.split())
    table = [line for line in shown.splitlines() if line.startswith(" player")]
    assert len(table) == 2  # neither is a list: both fit 80 columns
    write_curves(tmp_path, "samples", report.curves)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "imitation")).Reload()
    assert [event.step for event in events.Scalars("samples/best_of")] == [1, 2, 4, 8, 16, 32]
    assert events.Scalars("samples/majority")[-1].value == 0.0


def test_no_table_where_curves_are_short_and_no_sentence_without_two_players(
    rows: dict[str, Any], tmp_path: Path
) -> None:
    short = {
        name: row | {key: {k: row[key][k] for k in ("1", "2")} for key in ("pass_at", "maj_at")}
        for name, row in rows.items()
    }
    assert report_of(evaluation(), short).samples()[1] == []
    alone = report_of(evaluation(), {"imitation": short["imitation"]})
    assert alone.data["samples_worth"] is None
    alone.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "skill against samples" not in text
    assert "One sample of" not in text


def test_the_most_frequent_answer_is_right_whatever_the_verifier_says() -> None:
    """0 and 0.0 are one answer, and wrong. What is unknown votes, and what broke does not."""
    group = [said("1"), said("0"), said("0.0"), said("0.0", verdict="unknown"), said("1")]
    group += [said("1", stop="overlong"), replace(said("1"), stop="error", counts=False)]
    assert best_answers([episode for episode in group if episode.counts]) == [[((5,), (ord("1"),))]]
    found = judged_by_majority([*group, said("1", seed=7)])
    assert [e.returns for e in found] == [(0.0,), (1.0,), (1.0,), (1.0,), (0.0,), (0.0,), (0.0,), (1.0,)]
    assert [e.counts for e in found] == [True] * 6 + [False, True]
    assert best_answers([e for e in found[:7] if e.counts]) == [[((5,), tuple(map(ord, "0.0")))]]
    assert best_answers(judged_by_majority([said("1", stop="overlong")])) == []  # nothing was said


@pytest.mark.parametrize(("judge", "learned"), [("verifier", "1"), ("majority", "0")])
def test_what_is_accepted_is_what_is_learned(judge: str, learned: str) -> None:
    class Played:
        def play(self, seeds: list[int], **_: Any) -> list[Episode]:
            return [said("1" if i % 4 == 3 else "0", seed) for i, seed in enumerate(seeds)]

        def legal_mass(self, episodes: list[Episode]) -> None:
            return None

    cfg = AcceptedAnswersConfig(problems=2, samples=4, updates=[1, 1], batch=4, judge=judge, hard=0.9)
    source = AcceptedAnswers(Played(), cfg, np.random.default_rng(0))  # type: ignore[arg-type]
    (batch,) = source.batches(0)
    assert {tuple(completion) for completion in batch.completions} == {(ord(learned),)}
    assert bool(source.hard) == (judge == "verifier")  # by a vote no problem is hard
