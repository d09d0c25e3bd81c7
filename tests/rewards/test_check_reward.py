"""The check of a reward passes sound verifiers and environments, and catches unsound ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from shuhari.envs.problems.addition import AdditionEnv
from shuhari.rewards import Verdict, check_reward, verify
from shuhari.rewards.math.verify_integer import verify_integer


def test_sound_rewards_pass() -> None:
    report = check_reward(verify, ["5", "-\\frac{3}{4}", "x^2+1", "(1,2)", "\\{1,2\\}", "\\sqrt{2}"])
    assert report.passed, str(report)
    report = check_reward(AdditionEnv(digits=2))
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("unsound", "caught"),
    [
        (lambda a, g: Verdict("correct" if a in g else "wrong"), "empty"),
        (lambda a, g: Verdict("correct" if g in a else "wrong"), "all candidates"),
        (lambda a, g: Verdict("correct"), "constant"),
        (lambda a, g: Verdict("wrong"), "gold"),
        (lambda a, g: verify_integer(a, int(g) + 1) if a != g else Verdict("correct"), "perturbed gold"),
        (lambda a, g: 1 / 0, "gold"),
    ],
)
def test_unsound_verifiers_are_caught(unsound: object, caught: str) -> None:
    report = check_reward(unsound, ["512", "37"])
    assert caught in [check.name for check in report.checks if check.failed]
    assert f"FAIL {caught}" in str(report)


def test_an_environment_that_rewards_an_echo_is_caught() -> None:
    class Echo(AdditionEnv):
        def verify(self, task: object, completion: str) -> Verdict:
            right = super().verify(task, completion)  # type: ignore[arg-type]
            return Verdict("correct") if completion.startswith(self.task.prompt[:1]) else right

    failed = [check.name for check in check_reward(Echo(digits=2)).checks if check.failed]
    assert "prompt echo" in failed


def test_the_example_in_the_documentation_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "verifier.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ok   gold: 2/2")
    assert "FAIL" not in done.stdout
    assert "refused=0, accepted=0, undecided=0" in done.stdout
