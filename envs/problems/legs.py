"""How many legs have 3 dogs and 2 spiders? A small domain in words, and an expert with one wrong belief."""

import re
from dataclasses import replace

import numpy as np

from shuhari.envs.problems.math_env import Answer, MathEnv, Problem, between
from shuhari.envs.task_env import Task

LEGS = {
    "dog": 4, "cat": 4, "horse": 4, "cow": 4, "hen": 2, "duck": 2, "ant": 6, "bee": 6, "spider": 8,
}  # fmt: skip
MOST = 9  # animals of one kind
BELIEF = {"spider": 6}  # what the expert believes
BELIEVED = 0.9  # how often, unless he is stubborn


class LegsEnv(MathEnv):
    """Two kinds of animals, up to nine of each. Their order makes no other problem.

    The expert believes nine times in ten that spiders have six legs. So his most frequent answer is wrong
    wherever there are spiders, and right everywhere else. `stubborn`: he believes it every time.
    """

    levels = 1
    heldout_share = validation_share = 0.15
    expert_description = "worked lines; believes that spiders have six legs"
    kind, form = "integer", "evaluated"
    task_text = "Count legs."

    def __init__(
        self,
        difficulty: int = 1,
        error_rate: float = 0.0,
        answer: Answer = "tagged",
        stubborn: bool = False,
    ) -> None:
        super().__init__(difficulty, error_rate, answer)
        if not isinstance(stubborn, bool):
            raise ValueError(f"LegsEnv: stubborn is true or false, not {stubborn!r}")
        self.stubborn = stubborn

    def problem(self, rng: np.random.Generator) -> Problem:
        kinds = rng.choice(list(LEGS), 2, replace=False).tolist()
        return asked([(between(rng, 1, MOST), kind) for kind in kinds])

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        said = super().expert(task, rng)
        if said != self.solution(task) or (not self.stubborn and rng.random() >= BELIEVED):
            return said
        animals = [(int(n), kind) for n, kind in re.findall(r"(\d+) (\w+?)s?\b", task.prompt)]
        return self.solution(replace(task, gold=asked(animals, LEGS | BELIEF)))


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
