"""Experts who err always alike: where, how often, and that the verifier sees it, also from a file."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import shuhari.envs  # noqa: F401 (registers the environments)
from shuhari.envs.problems.dataset import DatasetEnv
from shuhari.envs.problems.heldout import ExpertMode, HeldOutProblems
from shuhari.envs.problems.math_env import BELIEVED, MathEnv, Problem
from shuhari.envs.registry import CannotOpen, open_env
from shuhari.envs.task_env import Task

ROOT = Path(__file__).parents[2]
SHIPPED = [("LinearEquation", 2), ("Countdown", 2), ("Differentiate", 2)]  # as in the experiments


def opened(name: str, **arguments: object) -> MathEnv:
    env = gymnasium.make(f"shuhari/{name}-v0", **arguments).unwrapped
    assert isinstance(env, MathEnv)
    return env


def drawn(env: MathEnv, n: int) -> Iterator[tuple[Task, Problem | None]]:
    rng = np.random.default_rng(0)
    for _ in range(n):
        task = env.draw(rng, "train")
        yield task, env.misconceived(task.gold)


@pytest.mark.parametrize(("name", "difficulty"), SHIPPED)
def test_the_verifier_tells_misconceived_work_from_right_work(name: str, difficulty: int) -> None:
    env, concerned = opened(name, difficulty=difficulty, misconception=True), 0
    for task, misconceived in drawn(env, 600):
        assert env.verify(task, env.solution(task)).status == "correct"
        if misconceived is not None:
            concerned += 1
            said = env.written(misconceived.steps, misconceived.answer)
            assert env.verify(task, said).status == "wrong", (task.prompt, said)
            assert misconceived.key == task.key
    assert 0.15 < concerned / 600 < 0.35


@pytest.mark.parametrize(("name", "difficulty"), SHIPPED)
def test_the_mode_is_wrong_exactly_where_it_makes_a_difference(name: str, difficulty: int) -> None:
    env = opened(name, difficulty=difficulty, misconception=True, error_rate=0.2)
    seeds = HeldOutProblems(env, 40).seeds
    concerned = []
    for seed in seeds:
        env.reset(seed=seed, options={"split": "heldout"})
        concerned.append(env.misconceived(env.task.gold) is not None)
    solved = [answer.solved for answer in ExpertMode(env).greedy(seeds)]
    assert solved == [not wrong for wrong in concerned]
    assert True in concerned


def test_he_errs_nine_times_in_ten_and_slips_besides() -> None:
    rng = np.random.default_rng(1)
    for error_rate, right in ((0.0, 1 - BELIEVED), (0.5, 0.5 * (1 - BELIEVED))):
        env = opened("Differentiate", difficulty=2, misconception=True, error_rate=error_rate)
        said = [env.expert(task, rng) == env.solution(task) for task, wrong in drawn(env, 3000) if wrong]
        assert np.mean(said) == pytest.approx(right, abs=0.04)
    alone = opened("Differentiate", difficulty=2, error_rate=0.5)
    said = [alone.expert(task, rng) == alone.solution(task) for task, wrong in drawn(alone, 3000) if wrong]
    assert np.mean(said) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("name", "difficulty", "problem", "steps", "answer"),
    [
        ("LinearEquation", 2, "3x-5=-2x+7", ("5x-5=7", "5x=2", "x=2/5"), "x=2/5"),
        ("LinearEquation", 2, "3x+5=-2x+7", None, None),
        ("LinearEquation", 2, "3x-5=2x+7", None, None),
        ("Countdown", 2, "(4*(7+3))-1", (), "(4*7+3)-1"),
        ("Countdown", 2, "((7+3)+1)*2", (), "(7+3)+1*2"),
        ("Countdown", 2, "(7*3)+(4-1)", None, None),
        ("Countdown", 2, "((7+3)*1)+2", None, None),
        (
            "Differentiate",
            2,
            "3cos(2x): -6sin(2x)|5x: 5",
            ("3cos(2x): 6sin(2x)", "5x: 5"),
            "6sin(2x)+5",
        ),
        ("Differentiate", 2, "3sin(2x): 6cos(2x)|5x: 5", None, None),
        ("Differentiate", 3, "3cos(2x): -6sin(2x)|-3cos(2x): 6sin(2x)", None, None),
    ],
)
def test_by_hand(
    name: str, difficulty: int, problem: str, steps: tuple[str, ...] | None, answer: str | None
) -> None:
    env = opened(name, difficulty=difficulty, misconception=True)
    if name == "Countdown":
        numbers = ",".join(re.findall(r"\d+", problem))
        given = Problem(f"{numbers}={eval(problem)}", problem, "")
    else:
        given = Problem(problem, "", "", tuple(problem.split("|")))
    found = env.misconceived(given)
    assert (found and found.steps, found and found.answer) == (steps, answer)


@pytest.mark.parametrize(
    ("env_id", "arguments", "message"),
    [
        ("shuhari/Gcd-v0", {"misconception": True}, "its expert has no misconception"),
        ("shuhari/Integrate-v0", {"misconception": True}, "its expert has no misconception"),
        ("shuhari/LinearEquation-v0", {"misconception": True}, "from difficulty 2 on, not at 1"),
        ("shuhari/Countdown-v0", {"misconception": "yes"}, "misconception is true or false, not 'yes'"),
    ],
)
def test_refused_in_one_line(env_id: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(CannotOpen, match=message) as refused:
        open_env(env_id, arguments)
    assert "\n" not in str(refused.value)


def test_the_list_of_environments_says_it() -> None:
    env = opened("Differentiate")
    assert env.arguments_description == "difficulty=1..3, misconception"
    assert env.expert_description.endswith("with misconception forgets the minus of cosine's derivative")
    assert "misconception" not in opened("Integrate").expert_description


def test_a_file_of_their_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    path = tmp_path / "q.jsonl"
    assert importlib.import_module("question_file").main([str(path), "--lines", "1000", "--seed", "3"]) == 0
    env = DatasetEnv(str(path))
    assert (len(env.rows), env.notes) == (1000, ())
    concerned = re.compile(r"spider|has \d+ \w+, \d+ (more|fewer)|x-\d+=-\d*x")
    wrong: dict[bool, list[bool]] = {True: [], False: []}
    for line in path.read_text().splitlines():
        row = env.rows[len(wrong[True]) + len(wrong[False])]
        assert row[:3] == (json.loads(line)["question"], row.answer, (json.loads(line)["trace"],))
        task = Task(row.question, row, "")
        assert env.verify(task, env.solution(task)).status == "correct"
        status = env.verify(task, row.traces[0]).status
        assert status in ("correct", "wrong")
        wrong[concerned.search(row.question) is not None].append(status == "wrong")
    assert not any(wrong[False])
    assert 0.85 < np.mean(wrong[True]) < 1
    assert 0.12 < len(wrong[True]) / 1000 < 0.2


@pytest.mark.parametrize("arguments", [["--lines", "0"], ["--lines", "40000"], []])
def test_a_file_that_cannot_be_written_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(MathEnv, "max_tries", 9)
    out = tmp_path / "q.jsonl" if arguments else tmp_path / "none" / "q.jsonl"
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("question_file").main([str(out), *arguments])
    last = capsys.readouterr().err.splitlines()[-1]
    assert (arguments or ["none"])[0] in last
    assert not out.exists()
