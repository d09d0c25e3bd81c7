"""How many legs have 3 dogs and 2 spiders? A small domain in words, and an expert with one wrong belief."""

import re

import numpy as np

from shuhari.envs.problems.math_env import Answer, MathEnv, Problem, between

LEGS = {
    "dog": 4, "cat": 4, "horse": 4, "cow": 4, "hen": 2, "duck": 2, "ant": 6, "bee": 6, "spider": 8,
}  # fmt: skip
MOST = 9  # animals of one kind
BELIEF = {"spider": 6}  # what the expert believes


class LegsEnv(MathEnv):
    """Two kinds of animals, up to nine of each. Their order makes no other problem.

    The expert believes nine times in ten that spiders have six legs. So his most frequent answer is wrong
    wherever there are spiders, and right everywhere else. `stubborn`: he believes it every time.
    """

    levels = 1
    heldout_share = validation_share = 0.15
    misconception = "believes that spiders have six legs"
    arguments_description, expert_description = "stubborn", f"worked lines; {misconception}"
    kind, form = "integer", "evaluated"
    task_text = "Count legs."

    def __init__(
        self,
        difficulty: int = 1,
        error_rate: float = 0.0,
        answer: Answer = "tagged",
        stubborn: bool = False,
    ) -> None:
        super().__init__(difficulty, error_rate, answer, misconception=True)
        if not isinstance(stubborn, bool):
            raise ValueError(f"LegsEnv: stubborn is true or false, not {stubborn!r}")
        if stubborn:
            self.believed = 1.0

    def problem(self, rng: np.random.Generator) -> Problem:
        kinds = rng.choice(list(LEGS), 2, replace=False).tolist()
        return asked([(between(rng, 1, MOST), kind) for kind in kinds])

    def misconceived(self, problem: Problem) -> Problem | None:
        animals = [(int(n), kind) for n, kind in re.findall(r"(\d+) (\w+?)s?\b", problem.question)]
        return asked(animals, LEGS | BELIEF) if any(kind in BELIEF for _, kind in animals) else None


def asked(animals: list[tuple[int, str]], legs: dict[str, int] = LEGS) -> Problem:
    """The problem of so many animals of each kind, worked with so many legs of each."""
    names = [f"{n} {kind}{'s' * (n > 1)}" for n, kind in animals]
    counts = [n * legs[kind] for n, kind in animals]
    steps = [
        f"{name}: {n}*{legs[kind]}={n * legs[kind]}" for name, (n, kind) in zip(names, animals, strict=True)
    ]
    total = sum(counts)
    steps.append(f"{'+'.join(map(str, counts))}={total}")
    question = f"How many legs have {' and '.join(names)}?"
    return Problem(question, str(total), " ".join(sorted(names)), tuple(steps))
