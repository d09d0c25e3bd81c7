import numpy as np
import pytest

from shuhari.envs.problems.addition import AdditionEnv, worked


def test_worked_by_hand() -> None:
    assert worked(347, 85, 3) == "752c 483c 304n=0432"
    assert worked(58, 7, 2, frozenset()) == "875c 506n=065"
    # 5 + 7 = 12: this expert forgets that carry
    assert worked(45, 17, 2, frozenset({12})) == "572n 415n=052"


def test_the_env_accepts_right_work_and_refuses_wrong() -> None:
    env = AdditionEnv()
    task = env.problem(85, 347)
    assert task.prompt == "085+347="
    assert task.key == env.problem(347, 85).key
    assert env.verify(task, worked(85, 347, 3)).status == "correct"
    assert env.verify(task, "432").status == "wrong"  # no =
    assert env.verify(task, "=0432").reason == "right answer, wrong work"
    assert env.verify(task, "752n 483c 304n=0432").reason == "right answer, wrong work"
    assert env.verify(task, "=431").status == "wrong"
    assert env.verify(task, task.prompt).status == "wrong"  # the prompt, copied


def test_the_expert_errs_systematically() -> None:
    env, rng = AdditionEnv(), np.random.default_rng(0)
    tasks = [env.draw(rng, "train") for _ in range(2000)]
    solved = [env.verify(task, env.expert(task, rng)).score for task in tasks]
    assert 0.5 < np.mean(solved) < 0.8
    runs = [[env.expert(task, np.random.default_rng(seed)) for seed in range(3)] for task in tasks[:50]]
    assert all(len(set(run)) == 1 for run in runs)  # asking again does not help: its mode errs too


def test_digits() -> None:
    env, rng = AdditionEnv(digits=5, min_digits=5), np.random.default_rng(0)
    for _ in range(200):
        task = env.generate(rng)
        assert len(str(max(task.gold))) == 5
        assert len(task.prompt) == 12
    with pytest.raises(ValueError, match="min_digits"):
        AdditionEnv(digits=2, min_digits=3)


def test_only_single_digit_documents_are_reliably_true() -> None:
    env, rng = AdditionEnv(), np.random.default_rng(0)
    true: dict[int, list[float]] = {}
    for _ in range(2000):
        prompt, continuation = env.document(rng)
        a, b = prompt.rstrip("=").split("+")
        true.setdefault(len(a), []).append(env.verify(env.problem(int(a), int(b)), continuation).score)
    assert np.mean(true[1]) == 1
    assert np.mean(true[4]) < 0.01
