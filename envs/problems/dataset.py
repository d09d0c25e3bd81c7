"""Problems from a file with a question and an answer in each line: JSONL, a JSON array, CSV, TSV, Parquet.

A line needs a `question` (or `problem`, `prompt`) and an `answer` (or `gold`; or only a `solution`), or
`messages`. Answers of GSM8K (work, then `#### 72`) and solutions of MATH (work with a `\\boxed{}`) are read
as they are: the work is the trace, and so are a `solution`, `generations` or an assistant's message beside an
answer. A `trace` takes precedence over all. A question may be a list of messages, whose system turn is the
task's own instructions: `reset` gives them as `info["instructions"]`.
"""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shuhari.envs import validation
from shuhari.envs.files.columns import parse_columns
from shuhari.envs.files.errors import DataError
from shuhari.envs.problems.math_env import scrambled
from shuhari.envs.problems.question_file import open_questions
from shuhari.envs.progress import counted
from shuhari.envs.task_env import Split, Task, TaskEnv
from shuhari.envs.types import Trace
from shuhari.rewards import Verdict, verify
from shuhari.rewards.math.extract import extract

SAMPLE = Path(__file__).parent.parent / "data" / "sample.jsonl"
# Keys with a small hash are held out: the key with the smallest one is the nearest to that side.
NEEDED: tuple[tuple[Split, Callable[..., str]], ...] = (("train", max), ("heldout", min))


class DatasetEnv(TaskEnv):
    """Questions of a file, judged by the verifier. Lines that cannot be used are named and left out.

    columns: where question, answer, trace and instructions lie, as in {question: extra.question}
    """

    heldout_share: ClassVar[float] = 0.2
    validation_share: ClassVar[float] = 0.15
    max_tries = 100_000
    arguments_description, expert_description = "path, columns", "the file's traces"
    instructions = "Answer the question. Work line by line; end with #### and the answer."

    def __init__(
        self, path: str = "", kind: str = "auto", form: str = "any", columns: Mapping[str, Any] | str = ""
    ) -> None:
        super().__init__()
        self.path, self.kind, self.form = Path(path) if path else SAMPLE, kind, form
        places = parse_columns(columns) if columns else ()
        try:
            state = self.path.stat()
            # Cached, because a run makes many environments of one file.
            self.rows = open_questions(self.path, kind, places, state.st_mtime_ns, state.st_size)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None
        self.notes = self.rows.notes
        # If the hash leaves a side empty, as it may with few questions, the nearest question moves there.
        self._moved: dict[str, Split] = {}
        for side, nearest in NEEDED:
            if not any(self.split_of(row.question) == side for row in self.rows):
                asked = {row.question for row in self.rows}
                if len(asked) < 2:
                    raise DataError(
                        f"{self.path}: too few questions: none falls on the {side} side; add some"
                    )
                self._moved[nearest(asked, key=lambda key: zlib.crc32(key.encode()))] = side

    def split_of(self, key: str) -> Split:  # type: ignore[override]
        return self._moved.get(key) or super().split_of(key)

    def generate(self, rng: np.random.Generator) -> Task:
        row = self.rows[int(rng.integers(len(self.rows)))]
        return Task(f"{row.question}\n", row, row.question)

    def verify(self, task: Task, completion: str) -> Verdict:
        row = task.gold
        return verify(completion, row.answer, kind=self.kind, form=self.form, prompt=row.question)

    def solution(self, task: Task) -> str:
        return f"#### {extract(task.gold.answer)}"

    def expert(self, task: Task, rng: np.random.Generator) -> str | None:
        works = task.gold.traces
        return works[int(rng.integers(len(works))) if len(works) > 1 else 0] if works else None

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        tasks = (self.draw(rng, "train") for _ in counted("traces", range(n)))
        answers = ((task, validation.expert_answer(self, task, rng)) for task in tasks)
        return [
            Trace(task.prompt, answer, instructions=task.gold.instructions, where=task.gold.where)
            for task, answer in answers
            if answer is not None
        ]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        prompt, info = super().reset(seed=seed, options=options)
        row, info = self.task.gold, info | {"where": self.task.gold.where}
        return prompt, info if row.instructions is None else info | {"instructions": row.instructions}

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A question and its work, with random digits: a base learns words and form, but no answers."""
        task = self.draw(rng, "train")
        return scrambled(task.prompt, rng), scrambled(self.expert(task, rng) or self.solution(task), rng)
