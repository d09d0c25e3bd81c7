"""Countdown: make a target from given numbers, each used once, with + - * / and brackets."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from shuhari.envs.problems.math_env import MathEnv, Problem, between
from shuhari.rewards import Verdict
from shuhari.rewards.math.verify_without_gold import verify_countdown


class CountdownEnv(MathEnv):
    """`difficulty + 2` numbers. The target is made from a random expression, so there is a solution.

    The misconception: a sum that is multiplied or divided needs no brackets, because it is clear what was
    worked first, so `(3+4)*5` is written `3+4*5` (on children who see no use in brackets: Kieran 1979,
    "Children's operational thinking within the context of bracketing and the order of operations").
    """

    task_text = "Make the target of the numbers, each used once, with + - * / and brackets."
    misconception = "leaves out the brackets of a sum before or after * and /"

    def problem(self, rng: np.random.Generator) -> Problem:
        while True:
            numbers = [between(rng, 1, 9 + 5 * (self.difficulty - 1)) for _ in range(self.difficulty + 2)]
            made = _combine(rng, numbers)
            if made is not None:
                break
        text, value, steps = made
        question = f"{','.join(map(str, numbers))}={value}"
        key = f"{sorted(numbers)}={value}"
        return Problem(question, text, key, tuple(steps))

    def misconceived(self, problem: Problem) -> Problem | None:
        text = _without_needed_brackets(problem.answer)
        # Without brackets the value may be the same, as in (3+4)*1.
        return replace(problem, answer=text) if self.judge(problem, text).status == "wrong" else None

    def judge(self, problem: Problem, completion: str) -> Verdict:
        numbers, _, target = problem.question.partition("=")
        return verify_countdown(completion, [int(n) for n in numbers.split(",")], int(target))


def _without_needed_brackets(text: str) -> str:
    """An expression of `_combine` without the brackets of sums and differences that * and / need."""
    kept, opened = list(text), list[tuple[int, str]]()  # where brackets open, and what is done in them
    for i, char in enumerate(text):
        if char == "(":
            opened.append((i, ""))
        elif char == ")":
            start, operation = opened.pop()
            if operation in "+-" and {text[start - 1 : start], text[i + 1 : i + 2]} & {"*", "/"}:
                kept[start] = kept[i] = ""
        elif opened and not char.isdigit():
            opened[-1] = (opened[-1][0], char)
    return "".join(kept)


def _combine(rng: np.random.Generator, numbers: list[int]) -> tuple[str, int, list[str]] | None:
    """A random expression of all the numbers, its value and its steps.

    None if the value is not a whole number from 1 to 99, or an intermediate one is negative or above 500.
    """
    pool = [(str(n), Fraction(n)) for n in numbers]
    steps = []
    while len(pool) > 1:
        i, j = rng.choice(len(pool), 2, replace=False).tolist()
        (left, a), (right, b) = pool[i], pool[j]
        operation = "+-*/"[between(rng, 0, 3)]
        if operation == "/" and (b == 0 or (a / b).denominator != 1):
            operation = "-"
        value = {"+": a + b, "-": a - b, "*": a * b}.get(operation)
        value = a / b if value is None else value
        if value < 0 or value > 500:
            return None
        steps.append(f"{a}{operation}{b}={value}")
        pool = [p for k, p in enumerate(pool) if k not in (i, j)] + [(f"({left}{operation}{right})", value)]
    text, total = pool[0]
    return (text[1:-1], int(total), steps) if 1 <= total <= 99 else None
