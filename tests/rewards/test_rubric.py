"""Rubrics, the registry, and the self-test that catches unsound rewards."""

import subprocess
import sys
from pathlib import Path

import pytest

from shuhari.envs.problems.addition import AdditionEnv
from shuhari.rewards import Rubric, Verdict, get_reward, reward, selftest, verify
from shuhari.rewards.math.integer import verify_integer


def test_a_bonus_counts_only_once_the_answer_is_right() -> None:
    rubric = Rubric(get_reward("math"), {get_reward("boxed"): 0.5})
    assert rubric("\\boxed{5}", gold="5")[1] == 1.0
    assert rubric("5", gold="5")[1] == pytest.approx(1 / 1.5)
    assert rubric("\\boxed{6}", gold="5")[1] == 0.0
    # Repeating the format earns nothing more.
    assert rubric("\\boxed{5}\\boxed{5}", gold="5")[1] == pytest.approx(1 / 1.5)


def test_none_is_not_applicable_and_an_exception_is_nobodys_zero() -> None:
    rubric = Rubric(lambda completion: True, {lambda completion: None: 3.0})
    assert rubric("x")[1] == 1.0
    verdict, score = Rubric(lambda completion: 1 / 0)("x")
    assert (verdict.status, score) == ("error", 0.0)
    assert not verdict.counts
    assert Rubric(lambda completion: True, {lambda c: 2.0: 1.0})("x")[0].status == "error"


def test_names_are_unique_and_a_wrong_one_is_answered_with_the_nearest() -> None:
    @reward("test_only")
    def mine(completion: str, gold: str) -> bool:
        return completion == gold

    assert get_reward("test_only") is mine
    with pytest.raises(ValueError, match="registered already"):
        reward("test_only")(lambda completion: True)
    with pytest.raises(ValueError, match="did you mean 'math'"):
        get_reward("maht")


def test_selftest_passes_what_is_sound() -> None:
    report = selftest(verify, ["5", "-\\frac{3}{4}", "x^2+1", "(1,2)", "\\{1,2\\}", "\\sqrt{2}"])
    assert report.passed, str(report)
    report = selftest(AdditionEnv(digits=2))
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("unsound", "caught"),
    [
        (lambda a, g: Verdict("correct" if a in g else "wrong"), "empty"),
        (lambda a, g: Verdict("correct" if g in a else "wrong"), "all candidates"),
        (lambda a, g: Verdict("correct"), "constant"),
        (lambda a, g: Verdict("wrong"), "gold"),
        (lambda a, g: verify_integer(a, int(g) // 10 * 10) if a != g else Verdict("correct"), ""),
        (lambda a, g: 1 / 0, "gold"),
    ],
)
def test_selftest_catches_what_is_not(unsound: object, caught: str) -> None:
    report = selftest(unsound, ["512", "37"])
    if caught:
        assert caught in [check.name for check in report.checks if check.failed]
        assert f"FAIL {caught}" in str(report)


def test_selftest_catches_an_environment_that_pays_for_an_echo() -> None:
    class Echo(AdditionEnv):
        def verify(self, task: object, completion: str) -> Verdict:
            right = super().verify(task, completion)  # type: ignore[arg-type]
            return Verdict("correct") if completion.startswith(self.task.prompt[:1]) else right

    failed = [check.name for check in selftest(Echo(digits=2)).checks if check.failed]
    assert "prompt echo" in failed


def test_the_example_in_the_documentation_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "verifier.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1.0 ok   gold: 2/2")
    assert "FAIL" not in done.stdout
