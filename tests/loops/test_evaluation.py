"""A kind of evaluation is one class; a report shows it at any width; solved is what the verdict says."""

import io
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from rich.console import Console

from shuhari.envs import Episode, Step, Task, TaskEnv, Turn
from shuhari.envs.player import Player
from shuhari.envs.problems.heldout import HeldOutProblems, solved
from shuhari.loops.collect.rollout import Rollouts, Seats, _Running
from shuhari.loops.collect.sample_groups import SampleGroups
from shuhari.loops.collect.validation import Validation
from shuhari.loops.config import SampleGroupsConfig
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row
from shuhari.loops.evaluate.problems import PolicyAnswers, Problems
from shuhari.loops.measured import Measured
from shuhari.loops.report.report import Report
from shuhari.loops.scoreboard import Scoreboard
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer
from shuhari.rewards import Verdict
from shuhari.rewards.statistics import majority, mean_interval, metric_intervals, wilson


class AdapterNorm(Evaluation[str]):
    """A toy kind, whole: how large is an adapter? Nothing else knows of it."""

    metric, perfect, sign = "norm", 0.0, -1
    claim, legend = "has a norm of {}", "norm: of all matrices."
    columns = (Column("norm", lambda row: f"{row['norm']:.2f}"), Column("absent", lambda row: None))

    def __init__(self, policy: Policy) -> None:
        self.model = policy

    def references(self) -> dict[str, str]:
        return {"expert": LEARNING}

    def policy(self, adapter: str | None) -> str:
        return adapter or LEARNING

    def searcher(self, player: Player) -> str:
        return LEARNING

    def measure(self, name: str, player: str) -> Row:
        return {"norm": round(sum(float(v.norm()) for v in self.model.state(player).values()), 4)}

    def skill(self) -> float:
        return float(self.measure("", LEARNING)["norm"])

    def counts(self) -> dict[str, int]:
        return {"matrices": len(self.model.parameters)}

    def figure(self, row: Row) -> str:
        return f"{row['norm']:.2f}"


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    policy = Policy("games", rank=2, alpha=4.0)
    made = Scoreboard(policy, AdapterNorm(policy), {}, Measured(tmp_path, {}), lambda text: nullcontext())
    made.measure_references()
    policy.load_state({key: value / 2 for key, value in policy.state().items()})
    made.measure_policy("selfplay")
    return made


def report_of(board: Scoreboard) -> Report:
    data = {"experiment": "toy", "seed": 0, "skill": "norm", "players": board.rows, "notes": ["a note"]}
    data |= {"evaluation": board.evaluation.counts(), "phases": [], "policy": {}, "hardware": {}}
    data |= {"versions": {}, "seconds": 1.0, "measuring_seconds": 0.5}
    return Report(data, board.evaluation, board.own, board.learned(["selfplay"]), board.levels())


def test_a_kind_of_evaluation_is_one_class(board: Scoreboard, tmp_path: Path) -> None:
    assert board.rows.keys() == {"expert", "base", "selfplay"}
    assert board.rows["selfplay"]["norm"] == pytest.approx(board.rows["expert"]["norm"] / 2, rel=1e-3)
    report = report_of(board)
    report.write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["players"] == board.rows
    text = (tmp_path / "report.md").read_text()
    assert "| player | norm |" in text
    assert "absent" not in text
    assert "selfplay has a norm of" in text
    assert "it has passed its expert and everything" in report.sentence  # of this metric less is better


@pytest.mark.parametrize("width", [200, 80, 40, 24, 12])
def test_a_report_shows_every_figure_at_any_width(board: Scoreboard, width: int, tmp_path: Path) -> None:
    file = io.StringIO()
    report_of(board).show(tmp_path, Console(file=file, width=width, force_terminal=False))
    shown = file.getvalue()
    for name, row in board.rows.items():
        assert name in shown
        assert f"{row['norm']:.2f}" in shown
    assert "…" not in shown


def test_what_stands_under_a_phases_name_is_read_by_that_phases_evaluation(board: Scoreboard) -> None:
    board.own["harder"] = AdapterNorm(board.policy)
    board.rows["selfplay"]["harder"] = {"norm": 7.0}
    heads, rows = report_of(board).table()
    assert heads == ["player", "norm", "harder"]
    assert [row[2] for row in rows if row[0] == "selfplay"] == ["7.00"]
    assert board.learned(["imitate", "selfplay", "harder"]) == ["selfplay", "imitation", "adapter"]


class Shaped(TaskEnv):
    """Pays something for wrong answers, and little for right ones."""

    instructions = "Answer 1."

    def generate(self, rng: np.random.Generator) -> Task:
        number = str(int(rng.integers(10_000)))
        return Task(f"{number}=", "1", number)

    def verify(self, task: Task, completion: str) -> Verdict:
        return Verdict("correct" if completion == "1" else "wrong")

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, _, *rest, info = super().step(action)
        return observation, 0.3 if action == "1" else 0.9, *rest, info  # type: ignore[return-value]


def test_solved_is_the_verdict_and_not_the_pay() -> None:
    gymnasium.register("toy/Shaped-v0", Shaped)
    policy = Policy("math", rank=2, alpha=4.0)
    rollouts = Rollouts(lambda: gymnasium.make("toy/Shaped-v0"), Generator(policy), Renderer(policy), 4)
    env: Any = gymnasium.make("toy/Shaped-v0").unwrapped
    evaluation = Problems(rollouts, env, HeldOutProblems(env, 8), Validation(rollouts, True, 8), samples=4)

    def says(text: str) -> Any:
        class Said(PolicyAnswers):
            def episodes(self, seeds: Any, temperature: float) -> list[Episode]:
                found = []
                for seed in seeds:
                    env.reset(seed=seed, options={"split": "heldout"})
                    _, reward, *_, info = env.step(text)
                    found.append(Episode(seed, (), "done", (reward,), info={"verdict": info["verdict"]}))
                return found

        return Said(rollouts, None)

    assert evaluation.measure("right", says("1"))["greedy"] == 1.0
    assert evaluation.measure("wrong", says("2"))["greedy"] == 0.0
    assert solved(Episode(0, (), "overlong", (0.9,))) is False  # it never answered
    assert solved(Episode(0, (), "error", counts=False)) is None


def test_a_mean_return_has_its_interval_by_hand() -> None:
    mean, (low, high) = mean_interval([1.0, 2.0, 3.0, 4.0])
    half = 1.96 * (5 / 3 / 4) ** 0.5
    assert (mean, low, high) == (
        2.5,
        pytest.approx(2.5 - half, abs=1e-4),
        pytest.approx(2.5 + half, abs=1e-4),
    )
    assert mean_interval([]) == (0.0, [0.0, 0.0])


class Telling(Shaped):
    """Tells the length of an answer, and what it says where that is a number."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        answer = {"answer": action.strip()} if action.strip().isdigit() else {}
        return (*rest, info | answer | {"metrics": {"length": len(action)}})  # type: ignore[return-value]

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        return "1" if rng.random() < 0.5 else "22"


class Scripted(PolicyAnswers):
    """Gives the samples of each problem their texts; "?" has no verdict, and "..." never ends."""

    def __init__(self, env: Any, *texts: str) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.env, self.texts = env, texts

    def shown(self, episode: Episode) -> str:
        return episode.steps[0].text

    def episodes(self, seeds: Any, temperature: float) -> list[Episode]:
        found = []
        for number, seed in enumerate(seeds):
            text = self.texts[number % len(self.texts)] if temperature else self.texts[0]
            self.env.reset(seed=seed, options={"split": "heldout"})
            *_, info = self.env.step(text)
            steps, stop = (Step(0, (), (), (), text, 0.0),), "overlong" if text == "..." else "done"
            found.append(Episode(seed, steps, stop, (0.0,), text != "?", info))  # type: ignore[arg-type]
        return found


@pytest.fixture(scope="module")
def measured() -> Problems:
    gymnasium.register("toy/Telling-v0", Telling)
    policy = Policy("math", rank=2, alpha=4.0)
    rollouts = Rollouts(lambda: gymnasium.make("toy/Telling-v0"), Generator(policy), Renderer(policy), 4)
    env: Any = gymnasium.make("toy/Telling-v0").unwrapped
    return Problems(rollouts, env, HeldOutProblems(env, 6), Validation(rollouts, True, 8), samples=4)


# Texts of four samples, and what they come to: avg@4 and maj@4 of each problem.
VOTES: list[tuple[tuple[str, ...], float, float]] = [
    (("1", " 1", "2", "2"), 0.25, 1.0),  # a tie: the first of the answers counts; " 1" says 1 and is wrong
    (("2", "2", "1", "1"), 0.5, 0.0),
    (("2", "1", "1", "3"), 0.5, 1.0),
    (("?", "?", "1", "2"), 0.5, 1.0),  # what has no verdict has no vote
    (("...", "...", "...", "1"), 0.25, 1.0),  # nor has what never ended, but it counts as wrong
]


@pytest.mark.parametrize(("texts", "average", "elected"), VOTES)
def test_average_and_majority_of_the_samples_by_hand(
    texts: tuple[str, ...], average: float, elected: float, measured: Problems
) -> None:
    row = measured.measure("scripted", Scripted(measured.env, *texts))
    assert row["avg_at"] == {"4": average}
    assert row["maj_at"]["4"] == elected
    assert row["ci95"]["maj_at_4"] == wilson(elected, 6)
    assert [column.head for column in measured.columns][-3:] == ["avg@4", "maj@4", "fixed"]
    assert [column.head for column in measured.brief()] == ["greedy", "pass@1"]


def test_metrics_stand_apart_from_reward_for_every_player_with_episodes(
    measured: Problems, tmp_path: Path
) -> None:
    rows = {
        name: measured.measure(name, player)
        for name, player in (measured.references() | {"selfplay": Scripted(measured.env, "22")}).items()
    }
    assert rows["selfplay"]["metrics"] == {"length": {"mean": 2.0, "ci95": [2.0, 2.0], "n": 6}}
    lengths = [a.metrics["length"] for a in measured.references()["expert"].greedy(measured.seeds)]
    assert set(lengths) == {1, 2}
    mean, interval = mean_interval(lengths)
    figure = rows["expert"]["metrics"]["length"]
    assert figure["mean"] == pytest.approx(mean, abs=1e-4)
    assert figure["ci95"] == pytest.approx(interval, abs=1e-4)
    data = {"experiment": "toy", "seed": 0, "skill": "greedy", "players": rows, "notes": [], "phases": []}
    data |= {"evaluation": {}, "policy": {}, "hardware": {}, "versions": {}, "seconds": 1.0}
    data["measuring_seconds"] = 0.5
    untold = measured.measure("untold", Scripted(measured.env, "?"))
    assert "metrics" not in untold  # what has no verdict is in no mean
    rows["selfplay"]["harder"] = rows["selfplay"] | {
        "metrics": {"turns": {"mean": 0.5, "ci95": [0, 1], "n": 6}}
    }
    report = Report(data, measured, {"harder": measured}, ["selfplay"], {})
    heads, lines = report.metrics()
    assert heads == ["player", "length", "harder turns"]
    assert lines[-1] == ["selfplay", "2 (2 to 2)", "0.5 (0 to 1)"]
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| player | length | harder turns |" in text
    assert "| selfplay | 2 (2 to 2) | 0.5 (0 to 1) |" in text
    file = io.StringIO()
    report.show(tmp_path, Console(file=file, width=80, force_terminal=False))
    assert "0.5 (0 to 1)" in file.getvalue()
    assert "health" not in file.getvalue()  # nothing was trained


def test_metrics_are_carried_through_an_episode_and_averaged_in_a_round(measured: Problems) -> None:
    """Of a metric the last step's value counts, and a step that does not name it leaves it."""
    told: list[dict[str, Any]] = [{"a": 1.0, "b": np.float32(2)}, {"a": 3, "c": True}, {}]
    running = _Running(0, Seats(), 0)
    for metrics in told:
        running.listen({"metrics": metrics, "malformed": True} if metrics else {})
    running.end("done")
    assert running.result is not None
    assert running.result.info == {"metrics": {"a": 3.0, "b": 2.0, "c": 1.0}, "malformed": 2}

    class Says(Player):
        def act(self, turns: Sequence[Turn]) -> list[str]:
            return ["22" for _ in turns]

    (episode,) = measured.rollouts.play([0], seats=[Seats(players={0: Says()})])
    assert episode.info["metrics"] == {"length": 2.0}
    assert episode.info["answer"] == "22"
    source = SampleGroups(measured.rollouts, SampleGroupsConfig(), np.random.default_rng(0))
    source.grouped(Scripted(measured.env, "1", "22").episodes(measured.seeds, 1.0))
    assert source.figures["metrics/length"] == 1.5


def test_metrics_of_an_episode_by_hand() -> None:
    rows = [{"a": 1.0}, {"a": 2.0, "b": 1e-7}, {"a": 6.0}]
    found = metric_intervals(rows)
    half = 1.96 * (7 / 3) ** 0.5
    assert found["a"]["mean"] == 3.0
    assert found["a"]["ci95"] == pytest.approx([3 - half, 3 + half], rel=1e-5)
    assert (found["a"]["n"], found["b"]) == (3, {"mean": 1e-7, "ci95": [1e-7, 1e-7], "n": 1})
    assert metric_intervals([]) == {}


def test_the_majority_by_hand() -> None:
    assert majority([("a", True), ("b", False), ("b", False)]) is False
    assert majority([("b", False), ("a", True)]) is False
    assert majority([("a", True), ("b", False), ("a", None), ("b", None), ("b", None)]) is True
    assert majority([(None, False), (None, False), ("a", True)]) is True
    assert majority([(None, False)]) is False
    assert majority([("a", None)]) is None
    assert majority([]) is None
