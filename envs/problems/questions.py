"""Questions with answers: what is read of a record, and what is said of a line, or a file, that is left out.

Lines are indexed once a process, and read when they are asked for.
"""

import json
import re
import shlex
import sys
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from shuhari.envs.jsonl import DataError, Malformed, converted, flattened, kind_of, lines, parse
from shuhari.rewards import verify
from shuhari.rewards.math.extract import extract

QUESTION, ANSWER, TRACE = ("question", "problem", "prompt"), ("answer", "solution", "gold"), ("trace",)
TALKS = ("messages", "conversations", "generations")  # columns whose lists hold what a trace would be
NO_ANSWER = ("proof", "notfound")  # what NuminaMath-1.5 has where a problem has no answer
WHY = {  # lines are left out
    "malformed": "that are no question with an answer",
    "unreadable": "with an answer that cannot be read (env_args.kind=text compares words)",
    "repeated": "that repeat another",
    "contradicted": "whose question has two answers",
}
MAX_WARNINGS = 5  # lines named one by one; the rest are counted
PROBE = "no answer"  # judged by every gold, to know whether the gold can be read
_MARK = re.compile(r"\\f?boxed\b|<answer>|^####", re.MULTILINE | re.IGNORECASE)

Row = dict[str, str]  # question, answer, trace ("" where there is none)
Place = int | tuple[int, int]  # a line's offset, or a row group and the row in it


def _row(record: Any) -> Row:
    """Question, answer and trace of one record. Raises `Malformed` with what is wrong with it."""
    if not isinstance(record, dict):
        raise Malformed(f"not an object with a question and an answer, but {kind_of(record)}")
    trace = next((record[key] for key in TRACE if isinstance(record.get(key), str)), "")
    for key in TALKS if not trace else ():
        if isinstance(value := record.get(key), list) and value:
            raise Malformed(f"{key!r} is {kind_of(value)}: its text would be lost", _flat(record))
    found = {name: _text(record, keys) for name, keys in (("question", QUESTION), ("answer", ANSWER))}
    work = record.get("solution")
    if not trace and isinstance(work, str) and work:
        trace = work if _MARK.search(work) else f"{work}\n#### {found['answer']}"
    if not trace and ("\n#### " in found["answer"] or "\\boxed" in found["answer"]):
        trace = found["answer"]
    return found | {"trace": trace}


def _text(record: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The first of these columns that is not empty; a solution, which may be work, where no other is."""
    order = sorted(keys, key="solution".__eq__)
    key = next((key for key in order if record.get(key) not in (None, "")), None)
    if key is None:
        columns = ", ".join(map(repr, record)) or "none"
        names = "; name them question, answer and trace" if not (command := _flat(record)) else ""
        raise Malformed(
            f"no {' or '.join(map(repr, keys))} among its columns ({columns[:200]}){names}", command
        )
    value = record[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Malformed(f"{key!r} is not a string, but {kind_of(value)}", _flat(record))
    return value


def _leaves(value: Any, path: str = "r", name: str = "") -> Iterator[tuple[str, str, str]]:
    """The texts in a record: the key, or the role of who says it; in Python, how to get it; and what it is.

    Of a list only texts and what somebody says: objects of another kind may be more than one question.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield name.lower(), path, str(value)
    elif isinstance(value, dict):
        said = next((key for key in ("content", "value") if isinstance(value.get(key), str)), None)
        if said is not None:
            yield str(value.get("role", value.get("from"))), f'{path}["{said}"]', value[said]
        for key, inner in value.items() if said is None else ():
            yield from _leaves(inner, f"{path}[{json.dumps(key)}]", key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if isinstance(inner, str) or (isinstance(inner, dict) and {"content", "value"} & inner.keys()):
                yield from _leaves(inner, f"{path}[{i}]", name)


def _flat(record: dict[str, Any]) -> str:
    """A command that writes question, answer and trace of such records as texts; "" where none is found."""
    leaves = sorted(_leaves(record), key=lambda leaf: leaf[1].count("["))  # what lies on top first

    def find(*names: str) -> str:
        return next((path for name in names for key, path, _ in leaves if key == name), "")

    said = next((path for key, path, _ in reversed(leaves) if key in ("assistant", "gpt")), "")
    on_top = next((path for key, path, _ in leaves if key in QUESTION and path.count("[") == 1), "")
    question = on_top or find("user", "human", *QUESTION, "instruction", "query", "input")
    gold = find("ground_truth", *ANSWER, "final_answer", "expected_answer", "target", "output", "response")
    answer = gold or said
    worked = [path for _, path, text in leaves if _MARK.search(text) and path not in (question, answer)]
    trace = find("generations") or said or find("solution") or next(iter(worked), "")
    if not question or not answer:
        return ""
    texts = {"question": question, "answer": answer} | ({"trace": trace} if trace not in ("", answer) else {})
    return flattened("{" + ", ".join(f'"{name}": {path}' for name, path in texts.items()) + "}")


@lru_cache(maxsize=8)
def questions(path: Path, kind: str, changed: int, size: int) -> "Questions":
    """The usable questions of a file, one object for all who read them; a changed file is read anew."""
    with path.open("rb") as file:
        parquet = path.suffix == ".parquet" or file.read(4) == b"PAR1"
    return Questions(path, _Parquet(path) if parquet else _Lines(path), kind)


class Questions:
    """The usable lines of a file, by their places: the file itself is not kept in memory.

    Left out, named and counted are lines that are no question with an answer, answers that the verifier
    cannot read, repetitions, and questions with answers that contradict each other.
    """

    def __init__(self, path: Path, source: "_Lines | _Parquet", kind: str) -> None:
        self.path, self.source, self.kind = path, source, kind
        self.places: list[Place] = []
        self._first: dict[int, tuple[str, Place]] = {}  # where each question, by its hash, came first
        self._troubles: list[tuple[str, str, str]] = []  # kind, where, what
        hashes, contradicted, command = array("q"), set[int](), ""
        total = 0
        for where, place, read in source:
            total += 1
            try:
                row = _row(read())
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
        """The kind of trouble with a row, and what it is."""
        answer = row["answer"]
        if answer.lower() in NO_ANSWER:
            return "unreadable", f"its answer is {answer!r}: there is nothing to judge by"
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
        earlier = _row(self.source.read(at))
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
        """Name the first lines that are left out and count all, with those that a later one contradicts.

        Raises DataError where no line is left, or half of them are no questions with answers.
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
            how = f"; {self.source.converted(command)}" if command else ""
            if not counts["malformed"] and counts["unreadable"]:
                how = "; env_args.kind=text compares answers as words"
            some = "no line of it" if left == total else f"{left:,} of its {total:,} lines"
            some += " cannot be used" if left < total else " can be used"
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
        return _row(self.source.read(self.places[index]))


class LeftOut(UserWarning):
    """Lines of a file are not used."""


class _Lines:
    """The lines of a JSONL file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        for number, offset, line in lines(self.path):
            yield f":{number}", offset, partial(parse, line)

    def read(self, place: Any) -> Any:
        with self.path.open("rb") as file:
            file.seek(place)
            return parse(file.readline())

    def converted(self, command: str) -> str:
        return converted(self.path, command)


class _Parquet:
    """The rows of a Parquet file, a row group in memory at a time."""

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

    def converted(self, command: str) -> str:
        rows = "read_table(sys.argv[1]).to_pylist()"
        code = (
            f"import json,sys; from pyarrow.parquet import read_table; [print(json.dumps(r)) for r in {rows}]"
        )
        return converted(
            self.path,
            f"{shlex.quote(sys.executable)} -c '{code}' {{file}} | {command.removesuffix(' < {file}')}",
        )
