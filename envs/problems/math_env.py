"""`MathEnv`: problems with worked steps, a format of the answer, and an expert who errs.

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
BELIEVED = 0.9  # how often an expert works by his misconception, where an environment does not say otherwise
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

    `difficulty` goes from 1 to `levels`. The expert errs in two ways, at random and always alike:

    - `error_rate` is the share of his traces with a slip in right work: a number in the last step and in the
      answer is wrong. Slips differ, so his most frequent answer is right.
    - With `misconception` he works by a wrong belief nine times in ten (`BELIEVED`; `believed` of an object),
      so his most frequent answer is wrong wherever the belief matters. A subclass that has one says it in
      `misconception` and defines `misconceived`.
    """

    levels: ClassVar[int] = 3
    misconception: ClassVar[str] = ""  # what the expert does wrong, as in "forgets carries"; "": nothing
    misconception_from: ClassVar[int] = 1  # the least difficulty with problems where it matters
    expert_description = "worked steps, wrong at error_rate"
    kind: ClassVar[str] = "auto"
    form: ClassVar[str] = "any"
    task_text: ClassVar[str] = ""

    def __init__(
        self,
        difficulty: int = 1,
        error_rate: float = 0.0,
        answer: Answer = "tagged",
        misconception: bool = False,
    ) -> None:
        name = type(self).__name__
        if not 1 <= difficulty <= self.levels:
            raise ValueError(f"{name}: difficulty is 1 to {self.levels}, not {difficulty}")
        if not 0 <= error_rate <= 1:
            raise ValueError(f"{name}: error_rate is a share from 0 to 1, not {error_rate}")
        if answer not in get_args(Answer):
            raise ValueError(f"{name}: answer is {', '.join(get_args(Answer))}, not {answer!r}")
        if not isinstance(misconception, bool):
            raise ValueError(f"{name}: misconception is true or false, not {misconception!r}")
        if misconception and not self.misconception:
            raise ValueError(f"{name}: its expert has no misconception; error_rate makes him slip")
        if misconception and difficulty < self.misconception_from:
            least = self.misconception_from
            raise ValueError(f"{name}: misconception matters from difficulty {least} on, not at {difficulty}")
        super().__init__()
        self.difficulty, self.error_rate, self.answer = difficulty, error_rate, answer
        self.believed = BELIEVED if misconception else 0.0
        self.instructions = f"{self.task_text} {_FORMATS[answer]}"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        if "arguments_description" not in own:
            cls.arguments_description = (
                f"difficulty=1..{cls.levels}{', misconception' * bool(cls.misconception)}"
            )
        if cls.misconception and "expert_description" not in own:
            cls.expert_description = f"{MathEnv.expert_description}; with misconception {cls.misconception}"

    def problem(self, rng: np.random.Generator) -> Problem:
        """Draw one problem of this difficulty."""
        raise NotImplementedError

    def misconceived(self, problem: Problem) -> Problem | None:
        """The problem as worked by somebody with the misconception; None where that makes no difference."""
        return None

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
        if self.believed == 1 or (self.believed and rng.random() < self.believed):
            problem = self.misconceived(problem) or problem
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
