"""A conversation with a tool: calls in both syntaxes, mistakes as observations, a budget."""

import gymnasium
import pytest

import shuhari.envs
from shuhari.envs.tools.calculator import calculate

assert shuhari.envs


@pytest.mark.parametrize("syntax", ["plain", "json"])
def test_ask_then_answer(syntax: str) -> None:
    env = gymnasium.make("shuhari/Calculator-v0", syntax=syntax)
    prompt, _ = env.reset(seed=0)
    value = calculate(prompt)
    shown, reward, terminated, truncated, info = env.step(env.unwrapped.call(prompt.strip()))  # type: ignore[attr-defined]
    assert value in shown
    assert info == {"malformed": False}
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert env.step(f"#### {value}")[1:3] == (1.0, True)


def test_mistakes_are_observations_and_the_budget_ends() -> None:
    env = gymnasium.make("shuhari/Calculator-v0", budget=6)
    env.reset(seed=0)
    for message, word in (
        ("hello", "neither a call"),
        ("calc: 1/0", "division by zero"),
        ("calc: __import__('os')", "error"),
        ('<tool_call>{"name": "shell", "arguments": {"expression": "1"}}</tool_call>', "no tool"),
        ("<tool_call>{broken</tool_call>", "a call is"),
    ):
        shown, reward, terminated, truncated, info = env.step(message)
        assert word in shown
        assert info == {"malformed": True}
        assert (reward, terminated, truncated) == (0.0, False, False)
    _, reward, _, truncated, info = env.step("calc: 2")
    assert truncated
    assert info["verdict"].status == "wrong"


def test_copying_the_question_is_no_answer() -> None:
    env = gymnasium.make("shuhari/Calculator-v0")
    prompt, _ = env.reset(seed=0)
    assert env.step(f"#### {prompt.strip()}")[1] == 0.0


def test_the_calculator() -> None:
    assert calculate("1/3+1/6") == "1/2"
    assert calculate("2^10-4") == "1020"
    assert calculate("\\int_0^1 x^2 dx") == "1/3"
    for bad, reason in (
        ("", "empty"),
        ("9^9^9^9", "a power of more than"),
        ("1/0", "division by zero"),
        ("import os", "a structure within arithmetic"),
        ("\u0665", "not ASCII"),
    ):
        with pytest.raises(ValueError, match=reason):
            calculate(bad)
