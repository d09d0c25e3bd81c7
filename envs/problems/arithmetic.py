"""Arithmetic: subtraction, multiplication, remainders, greatest common divisors, fractions."""

from fractions import Fraction
from math import gcd

import numpy as np

from shuhari.envs.problems.math_env import MathEnv, Problem, between, nonzero


class SubtractionEnv(MathEnv):
    """`a-b` with up to `difficulty + 1` digits, column by column from the right with borrows.

    From difficulty 3 on, the result may be negative.
    """

    levels = 5
    kind, form, task_text = "integer", "evaluated", "Subtract."

    def problem(self, rng: np.random.Generator) -> Problem:
        most = 10 ** (self.difficulty + 1) - 1
        a, b = between(rng, 0, most), between(rng, 0, most)
        if self.difficulty < 3 and a < b:
            a, b = b, a
        return Problem(f"{a}-{b}", str(a - b), f"{a}-{b}", columns(a, b))


def columns(a: int, b: int) -> tuple[str, ...]:
    """The columns of a subtraction from the right, such as `7-9+10=8 borrow`."""
    if a < b:
        return (f"{a}<{b}: -({b}-{a})", *columns(b, a), f"{a}-{b}={a - b}")
    steps, borrow = [], 0
    for x, y in zip(str(a)[::-1], str(b).rjust(len(str(a)), "0")[::-1], strict=True):
        left = int(x) - int(y) - borrow
        minus = f"{x}-{y}{'-1' if borrow else ''}"
        borrow = int(left < 0)
        steps.append(f"{minus}+10={left + 10} borrow" if borrow else f"{minus}={left}")
    return tuple(steps)


class MultiplicationEnv(MathEnv):
    """`a*b` by a partial product for each digit of b, and their running sum."""

    levels = 6
    kind, form, task_text = "integer", "evaluated", "Multiply."

    def problem(self, rng: np.random.Generator) -> Problem:
        digits = (self.difficulty + 2) // 2, (self.difficulty + 1) // 2
        a, b = (between(rng, 10 ** (n - 1) if n > 1 else 0, 10**n - 1) for n in digits)
        parts = [a * int(digit) * 10**place for place, digit in enumerate(reversed(str(b)))]
        steps = [f"{a}*{part // a if a else 0}={part}" for part in parts]
        total = parts[0]
        for part in parts[1:]:
            steps.append(f"{total}+{part}={total + part}")
            total += part
        low, high = sorted((a, b))
        return Problem(f"{a}*{b}", str(a * b), f"{low}*{high}", tuple(steps))


class ModularEnv(MathEnv):
    """`a+b`, `a*b` or `a^b` modulo m."""

    levels = 4
    kind, form, task_text = "integer", "evaluated", "Find the remainder."

    def problem(self, rng: np.random.Generator) -> Problem:
        most = 10 ** min(self.difficulty, 3)
        m = between(rng, 2, 9 + 10 * (self.difficulty - 1))
        operation = "+*^"[between(rng, 0, 2 if self.difficulty > 2 else 1)]
        a, b = between(rng, 1, most), between(rng, 1, most)
        if operation == "^":
            a, b = between(rng, 2, 9), between(rng, 2, 3 * self.difficulty)
        value = {"+": a + b, "*": a * b, "^": a**b}[operation]
        question = f"{a}{operation}{b} mod {m}"
        steps = (f"{a}{operation}{b}={value}", f"{value}-{value // m}*{m}={value % m}")
        return Problem(question, str(value % m), question, steps)


class GcdEnv(MathEnv):
    """The greatest common divisor, by Euclid's algorithm."""

    levels = 4
    kind, form, task_text = "integer", "evaluated", "Find the greatest common divisor."

    def problem(self, rng: np.random.Generator) -> Problem:
        most = 10 ** ((self.difficulty + 1) // 2)
        common = between(rng, 1, most)
        a, b = (common * between(rng, 1, 10 * self.difficulty) for _ in range(2))
        steps, x, y = [], max(a, b), min(a, b)
        while y:
            steps.append(f"{x}-{x // y}*{y}={x % y}")
            x, y = y, x % y
        low, high = sorted((a, b))
        return Problem(f"gcd({a},{b})", str(gcd(a, b)), f"gcd({low},{high})", tuple(steps))


class FractionsEnv(MathEnv):
    """Sums, differences, products and quotients of two fractions, in lowest terms."""

    levels = 4
    kind, form, task_text = "number", "reduced", "Compute, in lowest terms."

    def problem(self, rng: np.random.Generator) -> Problem:
        most = 5 * self.difficulty
        (a, b), (c, d) = ((nonzero(rng, most), between(rng, 2, most + 1)) for _ in range(2))
        operation = "+-*/"[between(rng, 0, 1 if self.difficulty == 1 else 3)]
        first, second = Fraction(a, b), Fraction(c, d)
        if operation in "+-":
            top = a * d + c * b if operation == "+" else a * d - c * b
            value = Fraction(top, b * d)
            steps = (f"({a * d}{operation}({c * b}))/{b * d}", f"{top}/{b * d}={value}")
        else:
            flipped = (c, d) if operation == "*" else (d, c)
            value = first * second if operation == "*" else first / second
            top, bottom = a * flipped[0], b * flipped[1]
            steps = (f"({a}*({flipped[0]}))/({b}*({flipped[1]}))", f"{top}/({bottom})={value}")
        question = f"{a}/{b}{operation}({c}/{d})"
        return Problem(question, str(value), f"{first}{operation}{second}", steps)
