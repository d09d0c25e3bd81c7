"""Calculus: derivatives, and antiderivatives, which are judged by differentiating them."""

from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np

from shuhari.envs.problems.algebra import polynomial
from shuhari.envs.problems.math_env import Answer, MathEnv, Problem, between, nonzero
from shuhari.rewards import Verdict
from shuhari.rewards.math.verify_without_gold import verify_antiderivative

Direction = Literal["backward", "forward"]


def _signed(terms: list[str]) -> str:
    return "+".join(terms).replace("+-", "-")


def _negative(term: str) -> str:
    return term[1:] if term[0] == "-" else f"-{term}"


def _piece(rng: np.random.Generator, difficulty: int) -> tuple[str, str]:
    """A function of x and its derivative, as text."""
    c, a = nonzero(rng, 6), between(rng, 2, 7)
    if difficulty == 1:
        n = between(rng, 1, 5)
        up, down = [0] * n + [c], [0] * (n - 1) + [c * n]
        return polynomial(up), polynomial(down)
    kinds = {
        "sin": (f"{c}sin({a}x)", f"{c * a}cos({a}x)"),
        "cos": (f"{c}cos({a}x)", f"{-c * a}sin({a}x)"),
        "exp": (f"{c}e^({a}x)", f"{c * a}e^({a}x)"),
        "ln": (f"{c}ln(x^2+{a})", f"{2 * c}x/(x^2+{a})"),
        "power": (f"{c}(x+{a})^{a}", f"{c * a}(x+{a})^{a - 1}" if a > 2 else f"{2 * c}(x+2)"),
        "product": (f"{c}x*e^x", f"{c}e^x+({c}x*e^x)"),
        "xsin": (f"{c}x*sin(x)", f"{c}sin(x)+({c}x*cos(x))"),
    }
    names = list(kinds)
    return kinds[names[between(rng, 0, 4 if difficulty == 2 else len(names) - 1)]]


def _function(rng: np.random.Generator, difficulty: int) -> tuple[list[str], list[str]]:
    """The terms of a function and of its derivative, at least two."""
    pieces: dict[str, str] = {}
    while len(pieces) < 2:
        function, slope = _piece(rng, difficulty if not pieces else max(1, difficulty - 1))
        pieces[function] = slope
    return list(pieces), list(pieces.values())


class DifferentiateEnv(MathEnv):
    """Differentiate term by term.

    Difficulty 1 has powers; 2 has sines, exponentials, logarithms and chains; 3 has products.

    The misconception: the derivative of cos is sin, as that of sin is cos (on errors of this kind: Siyepu
    2015, "Analysis of errors in derivatives of trigonometric functions").
    """

    kind, form, task_text = "expression", "any", "Differentiate with respect to x."
    misconception = "forgets the minus of cosine's derivative"
    misconception_from = 2

    def problem(self, rng: np.random.Generator) -> Problem:
        terms, slopes = _function(rng, self.difficulty)
        steps = [f"{term}: {slope}" for term, slope in zip(terms, slopes, strict=True)]
        return Problem(f"d/dx {_signed(terms)}", _signed(slopes), " ".join(sorted(terms)), tuple(steps))

    def misconceived(self, problem: Problem) -> Problem | None:
        terms, slopes = zip(*(step.split(": ") for step in problem.steps), strict=True)
        wrong = [_negative(s) if "cos" in t else s for t, s in zip(terms, slopes, strict=True)]
        if wrong == list(slopes) or terms[0] == _negative(terms[1]):  # cosines that cancel
            return None
        steps = tuple(f"{term}: {slope}" for term, slope in zip(terms, wrong, strict=True))
        return replace(problem, answer=_signed(wrong), steps=steps)


class IntegrateEnv(MathEnv):
    """Find an antiderivative.

    `backward` problems are derivatives of random functions. `forward` problems are random polynomials, whose
    antiderivatives have fractions. These are different distributions (Lample and Charton 2020), so results on
    one say little about the other.
    """

    kind, form, task_text = "expression", "any", "Find an antiderivative with respect to x."

    def __init__(
        self,
        difficulty: int = 1,
        error_rate: float = 0.0,
        answer: Answer = "tagged",
        direction: Direction = "backward",
        misconception: bool = False,
    ) -> None:
        super().__init__(difficulty, error_rate, answer, misconception)
        if direction not in ("backward", "forward"):
            raise ValueError(f"IntegrateEnv: direction is backward or forward, not {direction!r}")
        self.direction = direction

    def problem(self, rng: np.random.Generator) -> Problem:
        if self.direction == "backward":
            terms, slopes = _function(rng, self.difficulty)
        else:
            slopes, terms = [], []
            for power in rng.permutation(2 + self.difficulty)[: 1 + self.difficulty].tolist():
                c = nonzero(rng, 3 * self.difficulty)
                up = Fraction(c, power + 1)
                slopes.append(polynomial([0] * power + [c]))
                body = "x" if power == 0 else f"x^{power + 1}"
                terms.append(f"{up.numerator}{body}" + (f"/{up.denominator}" if up.denominator > 1 else ""))
        steps = [f"{slope}: {term}" for term, slope in zip(terms, slopes, strict=True)]
        integrand = _signed(slopes)
        return Problem(f"int {integrand} dx", _signed(terms), " ".join(sorted(slopes)), tuple(steps))

    def judge(self, problem: Problem, completion: str) -> Verdict:
        return verify_antiderivative(completion, problem.question.removeprefix("int ").removesuffix(" dx"))
