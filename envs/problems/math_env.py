"""`MathEnv`: problems with worked steps, a format of the answer, and an expert who makes mistakes.

A completion is the work, line by line, and then the answer in the demanded format: `tagged` (a last line
`#### answer`, the default), `boxed` (`\\boxed{answer}`) or `plain` (the answer and nothing else).
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import numpy as np

from shuhari.envs.task_env import Task, TaskEnv
from shuhari.rewards import Verdict, verify

Answer = Literal["tagged", "boxed", "plain"]
_FORMATS = {
    "tagged": "Work line by line; the last line is #### and the answer.",
    "boxed": "Work line by line; end with the answer in \\boxed{}.",
    "plain": "Write the answer and nothing else.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, its answer, the steps to it, and a key: problems with one key are the same problem."""

    question: str
    answer: str
    key: str
    steps: tuple[str, ...] = field(default=())


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return int(rng.integers(low, high + 1))


def nonzero(rng: np.random.Generator, most: int) -> int:
    """A whole number from `-most` to `most`, other than 0."""
    return between(rng, 1, most) * (1 - 2 * between(rng, 0, 1))


class MathEnv(TaskEnv):
    """A subclass defines `problem`. The verifier takes `kind` and `form`.

    `difficulty` goes from 1 to `levels`. `error_rate` is the share of the expert's traces with a mistake: a
    number in the last step and in the answer is wrong.
    """

    levels: ClassVar[int] = 3
    expert_description = "worked steps, wrong at error_rate"
    kind: ClassVar[str] = "auto"
    form: ClassVar[str] = "any"
    task_text: ClassVar[str] = ""

    def __init__(self, difficulty: int = 1, error_rate: float = 0.0, answer: Answer = "tagged") -> None:
        name = type(self).__name__
        if not 1 <= difficulty <= self.levels:
            raise ValueError(f"{name}: difficulty is 1 to {self.levels}, not {difficulty}")
        if not 0 <= error_rate <= 1:
            raise ValueError(f"{name}: error_rate is a share from 0 to 1, not {error_rate}")
        if answer not in get_args(Answer):
            raise ValueError(f"{name}: answer is {', '.join(get_args(Answer))}, not {answer!r}")
        super().__init__()
        self.difficulty, self.error_rate, self.answer = difficulty, error_rate, answer
        self.instructions = f"{self.task_text} {_FORMATS[answer]}"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.arguments_description = f"difficulty=1..{cls.levels}"

    def problem(self, rng: np.random.Generator) -> Problem:
        """Draw one problem of this difficulty."""
        raise NotImplementedError

    def generate(self, rng: np.random.Generator) -> Task:
        problem = self.problem(rng)
        return Task(f"{problem.question}\n", problem, problem.key)

    def verify(self, task: Task, completion: str) -> Verdict:
        problem = task.gold
        if self.answer == "plain" and "\n" in completion.strip():
            return Verdict("wrong", "more than the answer", "extract")
        if self.answer != "plain" and ("####" if self.answer == "tagged" else "\\boxed") not in completion:
            return Verdict("wrong", "no answer in the demanded format", "extract")
        return self.judge(problem, completion)

    def judge(self, problem: Problem, completion: str) -> Verdict:
        """The verdict by the problem's answer. A subclass may judge in another way, as by substitution."""
        return verify(completion, problem.answer, kind=self.kind, form=self.form, prompt=problem.question)

    def written(self, steps: tuple[str, ...], answer: str) -> str:
        """A completion in the demanded format."""
        if self.answer == "plain":
            return answer
        last = f"#### {answer}" if self.answer == "tagged" else f"\\boxed{{{answer}}}"
        return "\n".join([*steps, last])

    def solution(self, task: Task) -> str:
        return self.written(task.gold.steps, task.gold.answer)

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        problem: Problem = task.gold
        if self.error_rate and rng.random() < self.error_rate:
            wrong = with_mistake(problem.answer, rng)
            steps = problem.steps
            if steps and steps[-1].endswith(problem.answer):
                steps = (*steps[:-1], steps[-1].removesuffix(problem.answer) + wrong)
            return self.written(steps, wrong)
        return self.written(problem.steps, problem.answer)

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A problem with its solution; above difficulty 1, the digits of the solution are random."""
        task = self.draw(rng, "train")
        completion = self.solution(task)
        return task.prompt, completion if self.difficulty == 1 else scrambled(completion, rng)


def scrambled(text: str, rng: np.random.Generator) -> str:
    """The text with random digits: its form without its mathematics."""
    digits = iter(rng.integers(0, 10, len(text)))
    return re.sub("[0-9]", lambda _: str(next(digits)), text)


def with_mistake(answer: str, rng: np.random.Generator) -> str:
    """The answer with one of its numbers raised by one or two; if it has none, twice the answer."""
    numbers = list(re.finditer("[0-9]+", answer))
    if not numbers:
        return f"2{answer}"
    found = numbers[between(rng, 0, len(numbers) - 1)]
    value = int(found.group()) + between(rng, 1, 2)
    return f"{answer[: found.start()]}{value}{answer[found.end() :]}"
