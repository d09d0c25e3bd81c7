"""Word problems of two steps, made from a few stories, and an expert who misreads one of them.

The misreading is the best known of those that people make: "Ben has 12 marbles, 5 fewer than Ann" names Ben's
number and lets one subtract where one must add (Lewis & Mayer 1987, "Students' miscomprehension of relational
statements in arithmetic word problems").
"""

import re
from collections.abc import Callable

import numpy as np

from shuhari.envs.problems.math_env import Answer, MathEnv, Problem, between

NAMES = ("Ann", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Henry")
THINGS = ("apples", "marbles", "stamps", "shells", "books", "coins")
MISREAD = 0.2  # share of the stories that the expert misreads
_COMPARED_WITH_ANOTHER = re.compile(r"has (\d+) \w+, (\d+) (more|fewer) than")


class WordProblemsEnv(MathEnv):
    """Two sums or products in words. In one problem of five the expert misreads a comparison, always alike:
    his most frequent answer to these is wrong, and to all others right."""

    levels = 1
    misconception = "misreads one comparison, in a fifth of the problems"
    arguments_description, expert_description = "", f"worked lines; {misconception}"
    kind, form = "integer", "evaluated"
    task_text = "Solve the word problem."

    def __init__(self, difficulty: int = 1, error_rate: float = 0.0, answer: Answer = "tagged") -> None:
        super().__init__(difficulty, error_rate, answer, misconception=True)
        self.believed = 1.0

    def problem(self, rng: np.random.Generator) -> Problem:
        if rng.random() < MISREAD:
            return _compared_with_another(rng)
        return STORIES[between(rng, 0, len(STORIES) - 1)](rng)

    def misconceived(self, problem: Problem) -> Problem | None:
        if not (found := _COMPARED_WITH_ANOTHER.search(problem.question)):
            return None
        n, k, word = found.groups()
        return _together(problem.question, int(n), "+" if word == "more" else "-", int(k))


def _story(question: str, steps: tuple[str, str]) -> Problem:
    """A story whose last step ends with the answer."""
    return Problem(question, steps[-1].rpartition("=")[2], question, steps)


def _together(question: str, n: int, sign: str, k: int) -> Problem:
    """The story of somebody with `n` things and another with `k` more or fewer, by `sign`."""
    other = n + k if sign == "+" else n - k
    return _story(question, (f"{n}{sign}{k}={other}", f"{n}+{other}={n + other}"))


def _who(rng: np.random.Generator) -> tuple[str, str, str]:
    """Two people, and what they have."""
    first, second = rng.choice(NAMES, 2, replace=False).tolist()
    return first, second, str(rng.choice(THINGS))


def _given_away(rng: np.random.Generator) -> Problem:
    a, b, things = _who(rng)
    n, k, m = between(rng, 10, 40), between(rng, 2, 9), between(rng, 2, 20)
    question = (
        f"{a} has {n} {things}. {a} gives {k} to {b} and finds {m} more. How many {things} has {a} now?"
    )
    return _story(question, (f"{n}-{k}={n - k}", f"{n - k}+{m}={n - k + m}"))


def _boxes(rng: np.random.Generator) -> Problem:
    a, _, things = _who(rng)
    n, k, m = between(rng, 2, 9), between(rng, 2, 9), between(rng, 2, 20)
    question = (
        f"{a} has {n} boxes with {k} {things} in each, and {m} {things} beside them. "
        f"How many {things} has {a}?"
    )
    return _story(question, (f"{n}*{k}={n * k}", f"{n * k}+{m}={n * k + m}"))


def _shared(rng: np.random.Generator) -> Problem:
    a, b, things = _who(rng)
    n, k, m = between(rng, 2, 9), between(rng, 2, 9), between(rng, 2, 20)
    question = (
        f"{a} shares {n * k} {things} equally among {k} friends. {b}, one of them, had {m} before. "
        f"How many {things} has {b} now?"
    )
    return _story(question, (f"{n * k}/{k}={n}", f"{n}+{m}={n + m}"))


def _compared(rng: np.random.Generator) -> Problem:
    """The comparison that is easy to read: it names the other's number by one's own."""
    a, b, things = _who(rng)
    n, k = between(rng, 12, 40), between(rng, 2, 10)
    more = rng.random() < 0.5
    question = (
        f"{a} has {n} {things}. {b} has {k} {'more' if more else 'fewer'} than {a}. "
        f"How many {things} have they together?"
    )
    return _together(question, n, "+" if more else "-", k)


def _compared_with_another(rng: np.random.Generator) -> Problem:
    """The comparison that is misread: "fewer" asks for a sum, and "more" for a difference."""
    a, b, things = _who(rng)
    n, k = between(rng, 12, 40), between(rng, 2, 10)
    more = rng.random() < 0.5
    question = (
        f"{a} has {n} {things}, {k} {'more' if more else 'fewer'} than {b}. "
        f"How many {things} have they together?"
    )
    return _together(question, n, "-" if more else "+", k)


STORIES: tuple[Callable[[np.random.Generator], Problem], ...] = (_given_away, _boxes, _shared, _compared)
