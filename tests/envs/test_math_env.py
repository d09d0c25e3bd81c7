"""Problems with worked steps, experts that slip at the stated rate, checks that take every right answer."""

import gymnasium
import numpy as np
import pytest

import shuhari.envs
from shuhari.envs.problems.math_env import MathEnv
from shuhari.rewards.math.node import Unparsable
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.verify_without_gold import verify_antiderivative, verify_countdown, verify_unknowns

assert shuhari.envs
MATH = sorted(
    i
    for i, spec in gymnasium.registry.items()
    if spec.namespace == "shuhari" and isinstance(gymnasium.make(i).unwrapped, MathEnv)
)


def levels() -> list[tuple[str, int]]:
    return [(i, d) for i in MATH for d in range(1, gymnasium.make(i).unwrapped.levels + 1)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("env_id", "difficulty"), levels())
def test_worked_solutions_are_right_and_slips_are_wrong(env_id: str, difficulty: int) -> None:
    env = gymnasium.make(env_id, difficulty=difficulty, error_rate=1.0).unwrapped
    assert isinstance(env, MathEnv)
    for seed in range(40):
        env.reset(seed=seed)
        assert env.step(env.solution(env.task))[1] == 1.0, env.task
        wrong = env.expert(env.task, np.random.default_rng(seed))
        assert env.step(wrong)[4]["verdict"].status == "wrong", (env.task, wrong)


def test_the_error_rate_is_kept() -> None:
    env = gymnasium.make("shuhari/Multiplication-v0", difficulty=3, error_rate=0.3).unwrapped
    assert isinstance(env, MathEnv)
    right = 0
    for seed in range(1000):
        env.reset(seed=seed)
        right += env.step(env.expert(env.task, np.random.default_rng(seed)))[1]
    assert 0.65 < right / 1000 < 0.75


@pytest.mark.parametrize("answer", ["tagged", "boxed", "plain"])
def test_answer_formats(answer: str) -> None:
    env = gymnasium.make("shuhari/Gcd-v0", answer=answer).unwrapped
    assert isinstance(env, MathEnv)
    env.reset(seed=1)
    solution = env.solution(env.task)
    assert env.step(solution)[1] == 1.0
    for other in {"tagged", "boxed", "plain"} - {answer}:
        foreign = gymnasium.make("shuhari/Gcd-v0", answer=other).unwrapped
        assert isinstance(foreign, MathEnv)
        foreign.reset(seed=1)
        assert foreign.step(solution)[1] == 0.0


def test_bad_arguments_are_named() -> None:
    for arguments, message in (
        ({"difficulty": 9}, "difficulty is 1 to 4"),
        ({"error_rate": 2}, "error_rate"),
        ({"answer": "xml"}, "tagged, boxed, plain"),
    ):
        with pytest.raises(ValueError, match=message):
            gymnasium.make("shuhari/Gcd-v0", **arguments)  # type: ignore[arg-type]


def test_substitution_takes_values_in_any_order() -> None:
    def holds(v: object) -> bool:
        return v["x"] + v["y"] == 5 and v["x"] - v["y"] == 1  # type: ignore[index, no-any-return]

    for right in ("x=3, y=2", "y=2, x=3", "(3,2)", "#### x=3, y=\\frac{4}{2}"):
        assert verify_unknowns(right, "xy", holds).status == "correct"
    for wrong in ("x=2, y=3", "(2,3)", "x=3", "3, 2, 1", "x=3, x=2", "x=3, y=y", "", "x=y=3", "x+y=5, x-y=1"):
        assert verify_unknowns(wrong, "xy", holds).status == "wrong", wrong


def test_antiderivatives_may_differ_by_a_constant_and_by_form() -> None:
    for right in ("x^3/3", "\\frac{x^3}{3}+7", "x^3/3+C", "F(x)=x^3/3", "(2x^3-4)/6"):
        assert verify_antiderivative(right, "x^2").status == "correct", right
    for wrong in ("x^3", "x^2", "2x", "5", "x^3/3+x", "\\int x^2 dx", ""):
        assert verify_antiderivative(wrong, "x^2").status == "wrong", wrong
    assert verify_antiderivative("e^(2x)*x", "e^(2x)+2x*e^(2x)").status == "correct"
    assert verify_antiderivative("x\\ln(x)-x", "\\ln(x)").status == "correct"
    assert verify_antiderivative("\\arctan(x)", "1/(1+x^2)").status == "correct"


def test_countdown_uses_every_number_once() -> None:
    assert verify_countdown("(6-2)*5", [2, 5, 6], 20).status == "correct"
    assert verify_countdown("5*(6-2)=20", [2, 5, 6], 20).status == "correct"
    for wrong in ("20", "4*5", "(6-2)*5+0", "(6-2)*5*1", "2*5+6+4", "(6-2)*6", "6!/36", "52-26", "5^2-6+1"):
        assert verify_countdown(wrong, [2, 5, 6], 20).status == "wrong", wrong
    assert verify_countdown("2*5", [2, 2, 5], 10).status == "wrong"  # each as often as it is given
    assert verify_countdown("2/2*5", [2, 2, 5], 5).status == "correct"


def test_an_unknown_derivative_is_refused() -> None:
    from shuhari.rewards.math.derivative import derivative

    with pytest.raises(Unparsable, match="floor"):
        derivative(parse("floor(x)"), "x")
