"""A file of questions with answers: an index of its usable lines, and warnings about the others."""

import shlex
import sys
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from shuhari.envs.problems.question_record import Row, question_of
from shuhari.envs.read_jsonl import DataError, Malformed, conversion, parse_line, read_lines
from shuhari.rewards import verify
from shuhari.rewards.math.extract import extract

NO_ANSWER = ("proof", "notfound")  # how NuminaMath-1.5 marks problems without an answer
WHY = {  # the reasons to leave a line out
    "malformed": "without a question and an answer",
    "unreadable": "with an answer that cannot be read (the argument kind=text compares words)",
    "repeated": "that repeat another",
    "contradicted": "whose question has two answers",
}
MAX_WARNINGS = 5  # lines that are named one by one; the others are only counted
PROBE = "no answer"  # judged by every gold, to find out whether the gold can be read

Place = int | tuple[int, int]  # the offset of a line, or a row group and a row in it


@lru_cache(maxsize=8)
def open_questions(path: Path, kind: str, changed: int, size: int) -> "QuestionFile":
    """The usable questions of a file. All callers share one object, but a changed file is read again."""
    with path.open("rb") as file:
        parquet = path.suffix == ".parquet" or file.read(4) == b"PAR1"
    return QuestionFile(path, _Parquet(path) if parquet else _Lines(path), kind)


class QuestionFile:
    """The usable questions of a file. Only their places are kept in memory, not their texts.

    Some lines are named, counted and left out: lines without a question and an answer, answers that the
    verifier cannot read, repetitions, and questions with contradicting answers. `notes` counts them.
    """

    def __init__(self, path: Path, source: "_Lines | _Parquet", kind: str) -> None:
        self.path, self.source, self.kind = path, source, kind
        self.places: list[Place] = []
        self._first: dict[int, tuple[str, Place]] = {}  # the first place of each question, by its hash
        self._troubles: list[tuple[str, str, str]] = []  # kind, place, message
        hashes, contradicted, command = array("q"), set[int](), ""
        total = 0
        for where, place, read in source:
            total += 1
            try:
                row = question_of(read())
            except Malformed as error:
                self._troubles.append(("malformed", where, str(error)))
                command = command or error.command
                continue
            number = hash(row["question"].strip())
            if trouble := self._judge(row, number, where, place):
                self._troubles.append((trouble[0], where, trouble[1]))
                if trouble[0] == "contradicted":
                    contradicted.add(number)
                continue
            hashes.append(number)
            self.places.append(place)
        kept = [p for p, h in zip(self.places, hashes, strict=True) if h not in contradicted]
        lost, self.places = len(self.places) - len(kept), kept
        del self._first
        self.notes = self._say(total, lost, command)

    def _judge(self, row: Row, number: int, where: str, place: Place) -> tuple[str, str] | None:
        """The kind of trouble with a row, and a message; None if the row can be used."""
        answer = row["answer"]
        if answer.lower() in NO_ANSWER:
            return "unreadable", f"its answer is {answer!r}, by which nothing can be judged"
        verdict = verify(PROBE, answer, kind=self.kind)
        if verdict.status == "error":
            shown = answer if len(answer) <= 60 else f"…{answer[-60:]}"
            return (
                "unreadable",
                f"the verifier cannot read its answer {shown!r} ({verdict.reason.removeprefix('gold: ')})",
            )
        first, at = self._first.setdefault(number, (where, place))
        if at == place:
            return None
        earlier = question_of(self.source.read(at))
        if row == earlier:
            return "repeated", f"the same as {first}"
        if (
            answer != earlier["answer"]
            and verify(answer, earlier["answer"], kind=self.kind).status != "correct"
        ):
            other = f"{extract(earlier['answer'])!r} in {first}, and here {extract(answer)!r}"
            return "contradicted", f"one question has two answers, {other}: both are left out; correct one"
        return None

    def _say(self, total: int, contradicted: int, command: str) -> tuple[str, ...]:
        """Warn of the first lines that are left out, and return a note that counts all of them.

        Raises DataError if no line can be used, or if half of them have no question and answer.
        """
        counts = Counter(kind for kind, _, _ in self._troubles)
        counts["contradicted"] += contradicted
        left = sum(counts.values())
        if left == total or 2 * counts["malformed"] >= total:
            if not total:
                raise DataError(
                    f"{self.path}: is empty: no line of it can be used; each is an object of question, answer"
                )
            wrong = [t for t in self._troubles if t[0] == "malformed"] or self._troubles
            how = f"; {self.source.conversion(command)}" if command else ""
            if not counts["malformed"] and counts["unreadable"]:
                how = "; the argument kind=text compares answers as words"
            none = left == total
            some = "no line of it can be used" if none else f"{left:,} of its {total:,} lines cannot be used"
            raise DataError(f"{self.path}{wrong[0][1]}: {wrong[0][2]} ({some}){how}")
        if not left:
            return ()
        for _, where, what in self._troubles[:MAX_WARNINGS]:
            warnings.warn(f"{self.path}{where}: left out: {what}", LeftOut, stacklevel=6)
        kinds = ", ".join(f"{counts[kind]:,} {why}" for kind, why in WHY.items() if counts[kind])
        note = f"{self.path}: {total - left:,} of {total:,} lines are used; left out: {kinds}"
        if len(self._troubles) > MAX_WARNINGS:
            warnings.warn(note, LeftOut, stacklevel=6)
        return (note,)

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Row]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Row:
        return question_of(self.source.read(self.places[index]))


class LeftOut(UserWarning):
    """Some lines of a file are not used."""


class _Lines:
    """The lines of a JSONL file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        for number, offset, line in read_lines(self.path):
            yield f":{number}", offset, partial(parse_line, line)

    def read(self, place: Any) -> Any:
        with self.path.open("rb") as file:
            file.seek(place)
            return parse_line(file.readline())

    def conversion(self, command: str) -> str:
        return conversion(self.path, command)


class _Parquet:
    """The rows of a Parquet file. One row group at a time is in memory."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise DataError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
        try:
            self.path, self.file = path, parquet.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
        self._group = -1
        self._records: list[dict[str, Any]] = []

    def _read(self, group: int) -> list[dict[str, Any]]:
        if group != self._group:
            self._group, self._records = group, self.file.read_row_group(group).to_pylist()
        return self._records

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        number = 0
        for group in range(self.file.num_row_groups):
            for i in range(len(self._read(group))):
                number += 1
                yield f": row {number}", (group, i), partial(self.read, (group, i))

    def read(self, place: Any) -> Any:
        group, i = place
        return self._read(group)[i]

    def conversion(self, command: str) -> str:
        rows = "read_table(sys.argv[1]).to_pylist()"
        code = (
            f"import json,sys; from pyarrow.parquet import read_table; [print(json.dumps(r)) for r in {rows}]"
        )
        return conversion(
            self.path,
            f"{shlex.quote(sys.executable)} -c '{code}' {{file}} | {command.removesuffix(' < {file}')}",
        )
