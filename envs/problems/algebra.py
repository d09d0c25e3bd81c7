"""Algebra: linear equations and systems, expanding, factoring, simplifying."""

from collections.abc import Mapping
from fractions import Fraction
from math import gcd

import numpy as np

from shuhari.envs.problems.math_env import MathEnv, Problem, between, nonzero
from shuhari.rewards import Verdict
from shuhari.rewards.math.verify_without_gold import verify_unknowns

NAMES = "xyzw"


def polynomial(coefficients: list[int], name: str = "x") -> str:
    """The text of a polynomial. Coefficients begin with the constant term: [1, -2, 3] is `3x^2-2x+1`."""
    terms = []
    for power in reversed(range(len(coefficients))):
        c = coefficients[power]
        if c == 0:
            continue
        body = ("", name)[power] if power < 2 else f"{name}^{power}"
        size = "" if abs(c) == 1 and body else str(abs(c))
        terms.append(f"{'-' if c < 0 else '+'}{size}{body}")
    return "".join(terms).removeprefix("+") or "0"


def product(a: list[int], b: list[int]) -> list[int]:
    """Coefficients of the product of two polynomials."""
    result = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            result[i + j] += x * y
    return result


class LinearEquationEnv(MathEnv):
    """`ax+b=c`. From difficulty 2 on, x is on both sides; at difficulty 3, solutions are fractions.

    The misconception: of two negative terms that change sides, only the first changes its sign. `3x-5=-2x+7`
    becomes `5x-5=7`, and then `5x=2`. That a term keeps its sign is one of the known rules by which people go
    wrong (Payne & Squibb 1990, "Algebra mal-rules and cognitive accounts of error").
    """

    kind, task_text = "auto", "Solve for x."
    misconception = "moves a second negative term with its sign unchanged"
    misconception_from = 2

    def problem(self, rng: np.random.Generator) -> Problem:
        most = 9 if self.difficulty == 1 else 12
        while True:
            a, b = nonzero(rng, most), nonzero(rng, 2 * most)
            c = 0 if self.difficulty == 1 else nonzero(rng, most)
            if a != c:
                break
        d = (a - c) * between(rng, -most, most) + b if self.difficulty < 3 else nonzero(rng, 2 * most)
        return _solved((b, a), (d, c), d - b)

    def misconceived(self, problem: Problem) -> Problem | None:
        (b, a), (d, c) = (_line(side) for side in problem.question.split("="))
        return _solved((b, a), (d, c), d + b) if b < 0 and c < 0 else None

    def judge(self, problem: Problem, completion: str) -> Verdict:
        left, right = (_line(side) for side in problem.question.split("="))
        return verify_unknowns(completion, "x", lambda v: _at(left, v["x"]) == _at(right, v["x"]))


def _solved(left: tuple[int, int], right: tuple[int, int], moved: int) -> Problem:
    """The equation of two lines, worked with `moved` on the right side once b is there."""
    (b, a), (d, c) = left, right
    x = Fraction(moved, a - c)
    steps = [f"{polynomial([0, a - c])}={moved}", f"x={x}"]
    if c:
        steps.insert(0, f"{polynomial([b, a - c])}={d}")
    question = f"{polynomial([b, a])}={polynomial([d, c])}"
    return Problem(question, f"x={x}", question, tuple(steps))


def _line(text: str) -> tuple[int, int]:
    """Constant and coefficient of `ax+b`, as written by `polynomial`."""
    head, found, rest = text.partition("x")
    if not found:
        return int(text), 0
    slope = int(head) if head not in ("", "-") else int(f"{head}1")
    return int(rest or 0), slope


def _at(line: tuple[int, int], x: Fraction) -> Fraction:
    return line[0] + line[1] * x


class LinearSystemEnv(MathEnv):
    """`difficulty + 1` linear equations in as many unknowns, with whole solutions, solved by elimination."""

    kind, task_text = "auto", "Solve the system; answer as x=1, y=2."

    def problem(self, rng: np.random.Generator) -> Problem:
        n = self.difficulty + 1
        while True:
            rows = [[between(rng, -5, 5) for _ in range(n)] for _ in range(n)]
            values = [between(rng, -6, 6) for _ in range(n)]
            steps = _eliminate(rows, values)
            if steps is not None and all(any(row) for row in rows):
                break
        sums = [sum(a * v for a, v in zip(row, values, strict=True)) for row in rows]
        lines = [f"{_combination(row)}={total}" for row, total in zip(rows, sums, strict=True)]
        answer = ", ".join(f"{name}={value}" for name, value in zip(NAMES, values, strict=False))
        question = "; ".join(lines)
        return Problem(question, answer, "; ".join(sorted(lines)), (*steps, answer))

    def judge(self, problem: Problem, completion: str) -> Verdict:
        names = NAMES[: self.difficulty + 1]
        equations = [_terms(line) for line in problem.question.split("; ")]

        def holds(values: Mapping[str, Fraction]) -> bool:
            return all(sum(c * values[n] for n, c in terms) == total for terms, total in equations)

        return verify_unknowns(completion, names, holds)


def _combination(row: list[int]) -> str:
    parts = [polynomial([0, a], name) for a, name in zip(row, NAMES, strict=False) if a]
    return "+".join(parts).replace("+-", "-") or "0"


def _terms(line: str) -> tuple[list[tuple[str, int]], int]:
    """The names with their coefficients, and the right side, of a line written by `_combination`."""
    left, _, total = line.partition("=")
    terms, number = [], ""
    for char in left:
        if char.isalpha():
            terms.append((char, int(number) if number not in ("", "+", "-") else int(f"{number}1")))
            number = ""
        else:
            number += char
    return terms, int(total)


def _eliminate(rows: list[list[int]], values: list[int]) -> tuple[str, ...] | None:
    """The lines of a Gaussian elimination, or None if a pivot is missing."""
    n, steps = len(rows), []
    work = [
        [*map(Fraction, row), Fraction(sum(a * v for a, v in zip(row, values, strict=True)))] for row in rows
    ]
    for i in range(n):
        pivot = next((k for k in range(i, n) if work[k][i]), None)
        if pivot is None:
            return None
        work[i], work[pivot] = work[pivot], work[i]
        for k in range(i + 1, n):
            if work[k][i]:
                ratio = work[k][i] / work[i][i]
                row = [a - ratio * b for a, b in zip(work[k], work[i], strict=True)]
                scale = Fraction(1)
                for a in row:
                    scale = scale * a.denominator / gcd(int(scale), a.denominator)
                work[k] = [a * scale for a in row]
                whole = [int(a) for a in work[k]]
                steps.append(f"{_combination(whole[:-1])}={whole[-1]}")
    return tuple(steps)


class ExpandEnv(MathEnv):
    """Products of `difficulty + 1` linear factors, multiplied out."""

    kind, form, task_text = "expression", "expanded", "Expand."

    def problem(self, rng: np.random.Generator) -> Problem:
        most = 5 if self.difficulty < 3 else 3
        factors = [[nonzero(rng, 2 * most), nonzero(rng, most)] for _ in range(self.difficulty + 1)]
        steps, done = [], factors[0]
        for factor in factors[1:]:
            done = product(done, factor)
            steps.append(polynomial(done))
        question = "".join(f"({polynomial(f)})" for f in factors)
        return Problem(question, polynomial(done), "".join(sorted(map(str, factors))), tuple(steps))


class FactorEnv(MathEnv):
    """Find the `difficulty + 1` linear factors of a product, which has a common factor at difficulty 2."""

    kind, form, task_text = "expression", "factored", "Factor completely."
    levels = 2

    def problem(self, rng: np.random.Generator) -> Problem:
        factors: list[list[int]] = []
        while len(factors) < self.difficulty + 1:
            factor = [nonzero(rng, 9), between(rng, 1, self.difficulty)]
            if gcd(*factor) == 1:
                factors.append(factor)
        common = between(rng, 1, 4) if self.difficulty > 1 else 1
        done = [common]
        for factor in factors:
            done = product(done, factor)
        factors.sort()
        text = "".join(f"({polynomial(f)})" for f in factors)
        answer = text if common == 1 else f"{common}{text}"
        steps = [f"{common}({polynomial([c // common for c in done])})"] if common > 1 else []
        steps.append("zeros " + ", ".join(str(Fraction(-f[0], f[1])) for f in factors))
        return Problem(polynomial(done), answer, str(done), tuple(steps))


class SimplifyEnv(MathEnv):
    """Simplify `a(bx+c)+d(ex+f)` to `mx+n`, and at difficulty 2 also quotients that cancel."""

    kind, form, task_text = "expression", "expanded", "Simplify."
    levels = 2

    def problem(self, rng: np.random.Generator) -> Problem:
        most = 5 * self.difficulty
        if self.difficulty == 2 and between(rng, 0, 1):
            root, other, scale = nonzero(rng, most), nonzero(rng, most), between(rng, 1, 4)
            top = product([-root, 1], [scale * other, scale])
            question = f"({polynomial(top)})/({polynomial([-root, 1])})"
            step = f"({polynomial([-root, 1])})({polynomial([scale * other, scale])})"
            step = f"{step}/({polynomial([-root, 1])})"
            return Problem(question, polynomial([scale * other, scale]), question, (step,))
        a, b, c, d, e, f = (nonzero(rng, most) for _ in range(6))
        question = f"{a}({polynomial([c, b])})+({d})({polynomial([f, e])})"
        steps = (f"{polynomial([a * c, a * b])}+({polynomial([d * f, d * e])})",)
        return Problem(question, polynomial([a * c + d * f, a * b + d * e]), question, steps)
