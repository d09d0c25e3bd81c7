"""Your own problems: a local JSONL or Parquet file of questions with answers.

A line needs a `question` (or `problem`, `prompt`) and an `answer` (or `gold`; or `solution` alone). GSM8K's
answers (work, then `#### 72`) and MATH's solutions (work with a `\\boxed{}`) are read as they are: the work
is the trace, and so is a `solution` beside the answer. A `trace` of its own wins over both.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np

from shuhari.envs.jsonl import DataError
from shuhari.envs.mathematics import scrambled
from shuhari.envs.questions import questions
from shuhari.envs.text import Task, TaskEnv
from shuhari.rewards import Verdict, verify
from shuhari.rewards.extract import extract

__all__ = ["DataError", "DatasetEnv"]

SAMPLE = Path(__file__).parent / "data" / "sample.jsonl"


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
        for split in ("train", "heldout"):
            if not any(self.split_of(self.rows[i]["question"]) == split for i in range(len(self.rows))):
                raise DataError(f"{self.path}: too few questions: none falls on the {split} side; add some")

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
