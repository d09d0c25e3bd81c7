"""A kind of evaluation is one class; a report shows it at any width; solved is what the verdict says."""

import io
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from rich.console import Console

from shuhari.envs import Episode, Task, TaskEnv
from shuhari.envs.player import Player
from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row
from shuhari.loops.evaluate.problems import PolicyAnswers, Problems, solved
from shuhari.loops.measured import Measured
from shuhari.loops.report.report import Report
from shuhari.loops.scoreboard import Scoreboard
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer
from shuhari.rewards import Verdict
from shuhari.rewards.statistics import mean_interval


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
    made = Scoreboard(policy, AdapterNorm(policy), {}, Measured(tmp_path, {}))
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
    evaluation = Problems(rollouts, env, HeldOutProblems(env, 8), samples=4)

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
