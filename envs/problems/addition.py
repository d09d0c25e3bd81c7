"""Addition, worked column by column from the right, and an expert with a misconception.

A completion for `347+085=` is `752c 483c 304n=0432`: for each column the two digits, the digit of the sum,
and `c` for a carry or `n` for none; then `=` and the answer. A tiny model learns this form because it repeats
the operands' digits. It does not learn reversed or plain sums in the same number of steps.
"""

from dataclasses import replace

import numpy as np

from shuhari.envs.task_env import Task, TaskEnv
from shuhari.rewards import Verdict, verify_integer

# The expert forgets the carry of a column whose sum is one of these. It makes the same mistake every time, so
# its most frequent answer is wrong too.
FORGOTTEN = frozenset({10, 12})


def worked(a: int, b: int, width: int, forgotten: frozenset[int] = frozenset()) -> str:
    """The worked sum of `a` and `b` in `width` columns, without the carries of `forgotten` column sums."""
    columns, digits, carry = [], "", 0
    for x, y in zip(f"{a:0{width}}"[::-1], f"{b:0{width}}"[::-1], strict=True):
        total = int(x) + int(y) + carry
        carry = int(total >= 10 and total not in forgotten)
        digits = f"{total % 10}{digits}"
        columns.append(f"{x}{y}{total % 10}{'nc'[carry]}")
    return f"{' '.join(columns)}={carry}{digits}"


class AdditionEnv(TaskEnv):
    """`a+b=` with operands of at most `digits` digits, both written with as many columns.

    `min_digits` is the least number of digits of the longer operand. Up to `pad` columns of leading zeros are
    added at random, so that a policy sees the layout of longer sums before longer numbers.
    """

    arguments_description, expert_description = (
        "digits, min_digits, pad",
        "worked columns, forgets some carries",
    )
    instructions = (
        "Add the two numbers. Work from the right: for each column write both digits, the digit of the sum, "
        "and c if a carry goes on or n if not; then = and the answer. Work and answer must both be right. "
        "Example: 58+07= is answered by 875c 506n=065."
    )

    def __init__(self, digits: int = 4, min_digits: int = 1, pad: int = 0) -> None:
        if not 1 <= min_digits <= digits:
            raise ValueError(f"addition needs 1 <= min_digits <= digits, not {min_digits} and {digits}")
        if pad < 0:
            raise ValueError(f"addition needs pad >= 0, not {pad}")
        super().__init__()
        self.digits, self.min_digits, self.pad = digits, min_digits, pad

    @staticmethod
    def problem(a: int, b: int, pad: int = 0) -> Task:
        """The problem `a+b`. It has the same key as `b+a`, and as the problem with other padding."""
        width = len(str(max(a, b))) + pad
        return Task(f"{a:0{width}}+{b:0{width}}=", (a, b), f"{min(a, b)}+{max(a, b)}")

    def generate(self, rng: np.random.Generator) -> Task:
        width = int(rng.integers(self.min_digits, self.digits + 1))
        longer = int(rng.integers(10 ** (width - 1) if width > 1 else 0, 10**width))
        other = int(rng.integers(0, 10**width))
        a, b = (longer, other) if rng.random() < 0.5 else (other, longer)
        return self.problem(a, b, int(rng.integers(self.pad + 1)) if self.pad else 0)

    def verify(self, task: Task, completion: str) -> Verdict:
        """Both the answer and the work must be right. Otherwise a policy would learn wrong work from sums
        that happen to be right."""
        verdict = verify_integer(completion, sum(task.gold), tag="=")
        if verdict.status == "correct" and completion.strip() != self.work(task):
            return replace(verdict, status="wrong", rung="work", reason="right answer, wrong work")
        return verdict

    @staticmethod
    def work(task: Task, forgotten: frozenset[int] = frozenset()) -> str:
        """The worked sum of a problem."""
        a, b = task.gold
        return worked(a, b, len(task.prompt) // 2 - 1, forgotten)

    def solution(self, task: Task) -> str:
        return self.work(task)

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        return self.work(task, FORGOTTEN)

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A worked sum, which is right only up to two columns.

        In longer ones the digits of the sum and the carries are random, so that a base learns how a worked
        sum looks, but not how to add.
        """
        task = self.draw(rng, "train")
        a, b = task.gold
        width = len(task.prompt) // 2 - 1
        if width <= 2:
            return task.prompt, self.work(task)
        digits = "".join(str(d) for d in rng.integers(0, 10, width))
        carries = rng.integers(0, 2, width)
        padded = zip(f"{a:0{width}}"[::-1], f"{b:0{width}}"[::-1], digits[::-1], carries, strict=True)
        columns = " ".join(f"{x}{y}{s}{'nc'[c]}" for x, y, s, c in padded)
        return task.prompt, f"{columns}={carries[-1]}{digits}"
