"""Your own problems: a local JSONL or Parquet file of questions with answers.

A line needs a `question` (or `problem`, `prompt`) and an `answer` (or `solution`, `gold`). GSM8K's answers
(work, then `#### 72`) and MATH's solutions (work with a `\\boxed{}`) are read as they are: the work is the
trace. A `trace` of its own wins over that. Lines are indexed once and read when they are asked for.
"""

import json
import warnings
from array import array
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shuhari.envs.mathematics import scrambled
from shuhari.envs.text import Task, TaskEnv
from shuhari.rewards import Verdict, verify
from shuhari.rewards.extract import extract
from shuhari.rewards.node import Unparsable

SAMPLE = Path(__file__).parent / "data" / "sample.jsonl"
QUESTION, ANSWER, TRACE = ("question", "problem", "prompt"), ("answer", "solution", "gold"), ("trace",)
MAX_WARNINGS = 5  # lines named one by one; the rest are counted


class DataError(ValueError):
    """A data file cannot be used; the message names the file, and the line."""


class DatasetEnv(TaskEnv):
    """Questions of a file, judged by the verifier. A line that cannot be used is named and left out."""

    heldout_share: ClassVar[float] = 0.2
    max_tries = 100_000
    knob, teacher = "path", "the file's traces"
    instructions = "Answer the question. Work line by line; end with #### and the answer."

    def __init__(self, path: str = "", kind: str = "auto", form: str = "any") -> None:
        super().__init__()
        self.path, self.kind, self.form = Path(path) if path else SAMPLE, kind, form
        self.rows = _Parquet(self.path) if self.path.suffix == ".parquet" else _Lines(self.path)
        if not len(self.rows):
            raise DataError(f"{self.path}: no line of it can be used; each needs a question and an answer")
        for split in ("train", "heldout"):
            if not any(self.split_of(self.rows[i]["question"]) == split for i in range(len(self.rows))):
                raise DataError(f"{self.path}: too few questions: none falls on the {split} side")

    def generate(self, rng: np.random.Generator) -> Task:
        row = self.rows[int(rng.integers(len(self.rows)))]
        return Task(f"{row['question']}\n", row, row["question"])

    def verify(self, task: Task, completion: str) -> Verdict:
        row = task.gold
        return verify(completion, row["answer"], kind=self.kind, form=self.form, prompt=row["question"])

    def solution(self, task: Task) -> str:
        return task.gold["trace"] or f"#### {extract(task.gold['answer'])}"

    def expert(self, task: Task, rng: np.random.Generator) -> str | None:
        return task.gold["trace"] or None

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A question and its work, with numbers drawn at random: words and form, but no answers."""
        task = self.draw(rng, "train")
        return scrambled(task.prompt, rng), scrambled(self.solution(task), rng)


def _row(record: Any) -> dict[str, str]:
    """Question, answer and trace of one record. Raises ValueError with what is wrong with it."""
    if not isinstance(record, dict):
        raise ValueError("not an object with a question and an answer")
    found: dict[str, str] = {}
    for name, keys in (("question", QUESTION), ("answer", ANSWER), ("trace", TRACE)):
        key = next((key for key in keys if record.get(key) not in (None, "")), None)
        if key is None:
            if name != "trace":
                raise ValueError(f"no {' or '.join(map(repr, keys))}")
            found[name] = ""
            continue
        value = record[key]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError(f"{key!r} is not a string")
        found[name] = value
    worked = "\n#### " in found["answer"] or "\\boxed" in found["answer"]
    if worked and not found["trace"]:
        found["trace"] = found["answer"]
    try:
        extract(found["answer"])
    except Unparsable as error:
        raise ValueError(f"its answer: {error}") from None
    return found


class _Lines:
    """The usable lines of a JSONL file, by their offsets: the file itself is not kept in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets = array("q")
        troubles = []
        try:
            with path.open("rb") as file:
                offset = 0
                for number, line in enumerate(file, 1):
                    if line.strip():
                        try:
                            _row(json.loads(line))
                            self.offsets.append(offset)
                        except ValueError as error:
                            troubles.append(f"{path}:{number}: left out: {error}")
                    offset += len(line)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        _warn(path, troubles)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> dict[str, str]:
        with self.path.open("rb") as file:
            file.seek(self.offsets[index])
            return _row(json.loads(file.readline()))


class _Parquet:
    """The usable rows of a Parquet file, a row group in memory at a time."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise DataError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
        try:
            self.file = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
        self.places: list[tuple[int, int]] = []
        self._group = -1
        self._records: list[dict[str, Any]] = []
        troubles = []
        number = 0
        for group in range(self.file.num_row_groups):
            for i, record in enumerate(self._read(group)):
                number += 1
                try:
                    _row(record)
                    self.places.append((group, i))
                except ValueError as error:
                    troubles.append(f"{path}: row {number}: left out: {error}")
        _warn(path, troubles)

    def _read(self, group: int) -> list[dict[str, Any]]:
        if group != self._group:
            self._group, self._records = group, self.file.read_row_group(group).to_pylist()
        return self._records

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, str]:
        group, i = self.places[index]
        return _row(self._read(group)[i])


def _warn(path: Path, troubles: list[str]) -> None:
    for trouble in troubles[:MAX_WARNINGS]:
        warnings.warn(trouble, stacklevel=4)
    if len(troubles) > MAX_WARNINGS:
        warnings.warn(f"{path}: {len(troubles) - MAX_WARNINGS} more lines left out", stacklevel=4)
