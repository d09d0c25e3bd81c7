"""`shuhari validate`: what is sound passes, and each fault of an environment is named."""

import json
import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from mistakes import mistake

from shuhari.envs import FreeText, Task, TaskEnv
from shuhari.envs.content_checker import RandomEpisode, pays
from shuhari.loops.cli.validate import _own_policy, main
from shuhari.rewards import Verdict


class Numbers(TaskEnv):
    """Says a number again. Each subclass has one fault."""

    instructions = "Say the number again."

    def generate(self, rng: np.random.Generator) -> Task:
        number = str(rng.integers(1000, 10000))
        return Task(f"{number}=", number, number)

    def verify(self, task: Task, completion: str) -> Verdict:
        return Verdict("correct" if completion == task.gold else "wrong")

    def solution(self, task: Task) -> str | None:
        return str(task.gold)

    def expert(self, task: Task, rng: np.random.Generator) -> str | None:
        return str(task.gold).replace("7", "1")


class Refused(Numbers):
    def verify(self, task: Task, completion: str) -> Verdict:
        return Verdict("correct" if completion == task.gold and "9" not in completion else "wrong")


class Unsolved(Numbers):
    def solution(self, task: Task) -> None:  # type: ignore[override]
        return None

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        return "?"


class TwoAnswers(Numbers):
    def generate(self, rng: np.random.Generator) -> Task:
        number = str(rng.integers(1000, 10000))
        return Task(f"{number[:2]}=", number, number[:2])


class Leaking(Numbers):
    def generate(self, rng: np.random.Generator) -> Task:
        return Task("1=", "1", str(rng.random()))


class Strange(Numbers):
    def generate(self, rng: np.random.Generator) -> Task:
        task = super().generate(rng)
        return Task(task.prompt, f"{task.gold}é", task.key)


class Raising(Numbers):
    def verify(self, task: Task, completion: str) -> Verdict:
        raise RuntimeError("the verifier fell over")


class Endless(gymnasium.Env[str, str]):
    """`unlisted`: names no legal actions either."""

    observation_space = action_space = FreeText()

    def __init__(self, unlisted: bool = False) -> None:
        self.unlisted = unlisted

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return "go", self.step("")[4]

    def step(self, action: str) -> Any:
        return "go", 0.0, False, False, {} if self.unlisted else {"legal_actions": ("on",)}


for _env in (Numbers, Refused, Unsolved, TwoAnswers, Leaking, Strange, Raising, Endless):
    gymnasium.register(f"validated/{_env.__name__}-v0", _env)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the contract, which tests/envs holds environments to."""
    monkeypatch.setattr("shuhari.loops.cli.validate.check_environment", lambda *_: [])


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and the findings by name."""
    status = main([*arguments, "--json"])
    return status, {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}


def test_problems_that_are_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shuhari/Addition-v0", "-n", "40", "--show", "2"]) == 0
    printed = capsys.readouterr().out
    findings, first, second = printed.split("\n\n")
    assert "FAIL" not in findings
    assert "ok   the reward resists attacks: " in findings  # of the contract
    assert "ok   problems can be solved: 80 of 80 right answers are rewarded" in findings
    assert "beyond the limit of 40\n" in findings  # its experiment's own limit
    assert "that math takes" in findings
    for problem in (first, second):
        prompt, right, expert = problem.strip().splitlines()
        assert prompt.startswith("problem: ")
        assert right.startswith("right, accepted: ")
        assert expert.startswith("expert, ")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("arguments", "name", "detail"),
    [
        (["Refused-v0"], "problems can be solved", "right answers are not rewarded, such as '"),
        (["Unsolved-v0"], "problems can be solved", "the expert solves none of 80 problems"),
        (["TwoAnswers-v0"], "problems differ", "is asked with two answers, '"),
        (["Leaking-v0"], "no question is on both sides", "1 questions are on both sides, such as '1='"),
        (["Strange-v0"], "the base can write the answers", "math has never written é"),
        (["Numbers-v0", "--max-new-tokens", "4"], "answers fit the limit", "max_new_tokens in a run) 5"),
        (["Numbers-v0", "--max-new-tokens", "253"], "prompts fit the base", "100.0% leave less than 253"),
        (["Raising-v0"], "problems or games can be drawn", "the verifier fell over"),
        (["Endless-v0"], "problems or games can be drawn", "has not ended after 5,000 steps"),
        (["Endless-v0", "unlisted=true"], "problems or games can be drawn", "lists no legal actions"),
    ],
)
def test_a_fault_is_named(
    arguments: list[str], name: str, detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, findings = said(capsys, f"validated/{arguments[0]}", "-n", "40", *arguments[1:])
    assert status == 1
    assert [found for found, finding in findings.items() if not finding["ok"]] == [name]
    assert detail in findings[name]["detail"]


@pytest.mark.usefixtures("quick")
def test_what_is_no_fault_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    status, findings = said(capsys, "validated/Numbers-v0", "-n", "300")
    assert status == 0
    share = float(findings["the expert is right"]["detail"].partition("%")[0])
    assert share == pytest.approx(100 * 8 / 9 * 0.9**3, abs=8)  # without a 7
    differ, frequent = findings["problems differ"]["detail"].split(" of 300 differ")
    assert 270 < int(differ) <= 300
    assert not frequent or 2000 < float(frequent.split()[7].replace(",", "")) < 50_000
    assert findings["prompts fit the base"]["detail"].startswith("5 to 5 tokens, 5.0 on average; 0.0% leave")
    assert findings["answers fit the limit"]["detail"].startswith("5 to 5 tokens")  # its end included


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("arguments", "phase", "paid"),
    [
        (["TicTacToe-v0"], "tree search: shuhari train experiment=board_game", "zero-sum; mean return +"),
        (["KuhnPoker-v0"], "fictitious play: ", "zero-sum; "),
        (["OpenSpiel-v0", "game=kuhn_poker(players=3)"], "none: kuhn_poker(players=3): has 3 seats", "zero"),
        (
            ["OpenSpiel-v0", "game=catch"],
            "its rewards: shuhari train experiment=returns env=shuhari/OpenSpiel-v0 env_args.game=catch",
            "mean return",
        ),
        (["FrozenLake-v0"], "its rewards: ", "mean return +0"),
    ],
)
def test_games_end_pay_and_have_their_phase(
    arguments: list[str], phase: str, paid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, findings = said(capsys, f"shuhari/{arguments[0]}", "-n", "30", *arguments[1:])
    assert status == 0
    assert findings["phase 2"]["detail"].startswith(phase)
    assert findings["what it pays"]["detail"].startswith(paid)
    if arguments == ["TicTacToe-v0"]:
        told = findings["episodes end"]["detail"]
        assert re.fullmatch(r"5 to 9 steps of random actions, [78]\.\d on .*; at most 9 legal actions", told)
        assert "at most about 12 tokens, an action of 1" in findings["positions fit the base"]["detail"]


def test_a_game_that_is_called_zero_sum_and_is_not() -> None:
    games = [
        RandomEpisode(1, 1, returns, ("",), frozenset("a"))
        for returns in ((1.0, -1.0), (1.0, 1.0), (0.0, 0.0))
    ]
    with pytest.raises(ValueError, match="called zero-sum, and in 1 of 3 games it pays 2"):
        pays(games, zero_sum=True)
    assert pays(games, zero_sum=False) == "mean return +0.67, +0.00 with random actions"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shuhari/Additio-v0"], "Addition"),
        (["shuhari/Addition-v0", "digits"], "'digits': arguments are key=value"),
        (["shuhari/Addition-v0", "digits=0"], "digits"),
        (["shuhari/Addition-v0", "-n", "1"], "-n 1: a number from 2"),
        (["shuhari/Addition-v0", "--max-new-tokens", "0"], "--max-new-tokens 0: a number from 1"),
        (["shuhari/Addition-v0", "--base", "nobody"], "--base nobody: neither shipped"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in mistake(main, arguments, capsys)


def test_an_experiment_counts_for_its_own_game_alone() -> None:
    hex_game = "hex(board_size=5)"
    assert _own_policy("shuhari/OpenSpiel-v0", {"game": hex_game})["base"] == "boards"
    assert _own_policy("shuhari/OpenSpiel-v0", {"game": "kuhn_poker"}) == {}
    assert _own_policy("shuhari/Countdown-v0", {"difficulty": 2})["base"] == "algebra"
