"""A file of questions with answers: an index of its usable lines, and warnings about the others."""

from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from shuhari.envs.files.columns import Columns, required, value_at
from shuhari.envs.files.errors import MALFORMED, DataError, LeftOutLines, Malformed
from shuhari.envs.files.question_record import Question, question_of
from shuhari.envs.files.records import Place, open_records
from shuhari.rewards import verify
from shuhari.rewards.math.extract import extract

NO_ANSWER = ("proof", "notfound")  # how NuminaMath-1.5 marks problems without an answer
WHY = {  # the reasons to leave a line out
    MALFORMED: "without a question and an answer",
    "unreadable": "with an answer that cannot be read (the argument kind=text compares words)",
    "repeated": "that repeat another",
    "contradicted": "whose question has two answers",
}
AS_WORDS = "the argument kind=text compares answers as words"
PROBE = "no answer"  # judged by every gold, to find out whether the gold can be read


@lru_cache(maxsize=8)
def open_questions(path: Path, kind: str, columns: Columns, changed: int, size: int) -> "QuestionFile":
    """The usable questions of a file. All callers share one object, but a changed file is read again."""
    return QuestionFile(path, kind, columns)


class QuestionFile:
    """The usable questions of a file. Only their places are kept in memory, not their texts.

    Some lines are named, counted and left out: lines without a question and an answer, answers that the
    verifier cannot read, repetitions, and questions with contradicting answers. `notes` counts them.
    """

    def __init__(self, path: Path, kind: str, columns: Columns = ()) -> None:
        self.path, self.kind, self.columns = path, kind, dict(columns)
        self.records = open_records(path)
        self.places: list[Place] = []
        wheres: list[str] = []
        self._first: dict[int, tuple[str, Place]] = {}  # the first place of each question, by its hash
        left = LeftOutLines(path, WHY, "an object of question and answer")
        hashes, contradicted, total = array("q"), set[int](), 0
        unseen = [name for name in ("trace", "instructions") if name in self.columns]
        for where, place, read in self.records:
            total += 1
            try:
                record = read()
                row = question_of(record, self.columns)
            except Malformed as error:
                left.add(MALFORMED, where, str(error), self.records.remedy(error))
                continue
            if unseen:
                unseen = [name for name in unseen if value_at(record, self.columns[name]) in (None, "", [])]
            number = hash(row.question.strip())
            if trouble := self._judge(row, number, where, place):
                left.add(trouble[0], where, trouble[1], AS_WORDS if trouble[0] == "unreadable" else "")
                if trouble[0] == "contradicted":
                    contradicted.add(number)
                continue
            hashes.append(number)
            self.places.append(place)
            wheres.append(where)
        kept = [i for i, number in enumerate(hashes) if number not in contradicted]
        left.counts["contradicted"] += len(self.places) - len(kept)
        self.places, self._wheres = [self.places[i] for i in kept], [wheres[i] for i in kept]
        del self._first
        self.notes = left.conclude(total)
        if unseen:
            raise self._nowhere(unseen[0])

    def _nowhere(self, name: str) -> DataError:
        """What is said if no line has what `columns` names."""
        path = self.columns[name]
        record = self.records.read(self.places[0])
        try:
            required(record, path)
        except Malformed as error:
            return DataError(f"{self.path}: columns={{{name}: {path}}}: {error}")
        return DataError(f"{self.path}: columns={{{name}: {path}}}: it is empty in every line")

    def _judge(self, row: Question, number: int, where: str, place: Place) -> tuple[str, str] | None:
        """The kind of trouble with a row, and a message; None if the row can be used."""
        answer = row.answer
        if answer.lower() in NO_ANSWER:
            return "unreadable", f"its answer is {answer!r}, by which nothing can be judged"
        verdict = verify(PROBE, answer, kind=self.kind)
        if verdict.status == "error":
            shown = answer if len(answer) <= 60 else f"…{answer[-60:]}"
            return (
                "unreadable",
                f"the verifier cannot read its answer {shown!r} ({verdict.reason.removeprefix('gold: ')})",
            )
        first, at = self._first.setdefault(number, (where.removeprefix(": "), place))
        if at == place:
            return None
        earlier = question_of(self.records.read(at), self.columns)
        if row == earlier:
            return "repeated", f"the same as {first}"
        if answer != earlier.answer and verify(answer, earlier.answer, kind=self.kind).status != "correct":
            other = f"{extract(earlier.answer)!r} in {first}, and here {extract(answer)!r}"
            return "contradicted", f"one question has two answers, {other}: both are left out; correct one"
        return None

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Question]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Question:
        row = question_of(self.records.read(self.places[index]), self.columns)
        return row._replace(where=f"{self.path}{self._wheres[index]}")
