"""Your own problems: a local JSONL or Parquet file of questions with answers.

A line needs a `question` (or `problem`, `prompt`) and an `answer` (or `gold`; or `solution` alone). GSM8K's
answers (work, then `#### 72`) and MATH's solutions (work with a `\\boxed{}`) are read as they are: the work
is the trace, and so is a `solution` beside the answer. A `trace` of its own wins over both.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from shuhari.envs.base import Split, Task, TaskEnv
from shuhari.envs.jsonl import DataError
from shuhari.envs.problems.mathematics import scrambled
from shuhari.envs.problems.questions import questions
from shuhari.rewards import Verdict, verify
from shuhari.rewards.math.extract import extract

__all__ = ["DataError", "DatasetEnv"]

SAMPLE = Path(__file__).parent.parent / "data" / "sample.jsonl"
SIDES: tuple[tuple[Split, Callable[..., str]], ...] = (("train", max), ("heldout", min))  # of a hash


class DatasetEnv(TaskEnv):
    """Questions of a file, judged by the verifier. A line that cannot be used is named and left out."""

    heldout_share: ClassVar[float] = 0.2
    max_tries = 100_000
    knob, teacher = "path", "the file's traces"
    instructions = "Answer the question. Work line by line; end with #### and the answer."

    def __init__(self, path: str = "", kind: str = "auto", form: str = "any") -> None:
        super().__init__()
        self.path, self.kind, self.form = Path(path) if path else SAMPLE, kind, form
        try:
            state = self.path.stat()
            # A run makes an environment for every episode that runs at once.
            self.rows = questions(self.path, kind, state.st_mtime_ns, state.st_size)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None
        self.notes = self.rows.notes
        # Of few questions the hash may leave a side empty, which then gets the one that is nearest to it.
        self._moved: dict[str, Split] = {}
        for side, nearest in SIDES:
            if not any(self.split_of(row["question"]) == side for row in self.rows):
                asked = {row["question"] for row in self.rows}
                if len(asked) < 2:
                    raise DataError(
                        f"{self.path}: too few questions: none falls on the {side} side; add some"
                    )
                self._moved[nearest(asked, key=lambda key: zlib.crc32(key.encode()))] = side

    def split_of(self, key: str) -> Split:  # type: ignore[override]
        return self._moved.get(key) or super().split_of(key)

    def generate(self, rng: np.random.Generator) -> Task:
        row = self.rows[int(rng.integers(len(self.rows)))]
        return Task(f"{row['question']}\n", row, row["question"])

    def verify(self, task: Task, completion: str) -> Verdict:
        row = task.gold
        return verify(completion, row["answer"], kind=self.kind, form=self.form, prompt=row["question"])

    def solution(self, task: Task) -> str:
        return f"#### {extract(task.gold['answer'])}"

    def expert(self, task: Task, rng: np.random.Generator) -> str | None:
        return task.gold["trace"] or None

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A question and its work, with numbers drawn at random: words and form, but no answers."""
        task = self.draw(rng, "train")
        return scrambled(task.prompt, rng), scrambled(self.expert(task, rng) or self.solution(task), rng)
