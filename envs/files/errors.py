"""What is said of files, and of lines in them, that cannot be used."""

import shlex
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

MAX_WARNINGS = 5  # lines that are named one by one; the others are only counted
MALFORMED = "malformed"  # the kind of a line that has not the form at all


class DataError(ValueError):
    """A file cannot be used. The message names the file, the line and the remedy."""


class Malformed(ValueError):
    """A line is not what it should be.

    command: converts {file}, if any does; see `conversion`
    advice: what else helps, if every line is like this one
    """

    def __init__(self, found: str, command: str = "", advice: str = "") -> None:
        super().__init__(found)
        self.command, self.advice = command, advice


class LeftOut(UserWarning):
    """Some lines of a file are not used."""


def conversion(path: Path, command: str, suffix: str = ".jsonl") -> str:
    """The advice to convert a file by a command that contains {file}, into a new file with that suffix."""
    file, new = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(f".flat{suffix}")))
    return f"convert it: {command.replace('{file}', file)} > {new}"


class LeftOutLines:
    """The lines of a file that are not used. The first ones are named, and all are counted.

    kinds: by kind of trouble, how its count is worded
    form: what each line must be
    """

    def __init__(self, path: Path, kinds: Mapping[str, str], form: str) -> None:
        self.path, self.kinds, self.form = path, kinds, form
        self.counts = Counter[str]()
        self._added = 0
        self._said: list[tuple[str, str, str, str]] = []  # kind, place, message, remedy

    def add(self, kind: str, where: str, message: str, remedy: str = "") -> None:
        """`where`: the line's place in the file, such as ":12". `remedy`: for a file of such lines."""
        self.counts[kind] += 1
        self._added += 1
        if len(self._said) <= MAX_WARNINGS or kind not in {said[0] for said in self._said}:
            self._said.append((kind, where, message, remedy))

    def conclude(self, total: int) -> tuple[str, ...]:
        """Warn of the first lines that are left out, and return a note that counts all of them.

        total: the lines of the file
        Raises DataError if no line can be used, or if half of them have not the form.
        """
        left = sum(self.counts.values())
        if not total:
            raise DataError(f"{self.path}: is empty: no line of it can be used; each is {self.form}")
        if left == total or 2 * self.counts[MALFORMED] >= total:
            wrong = [said for said in self._said if said[0] == MALFORMED] or self._said
            _, where, message, remedy = wrong[0]
            none = "no line of it can be used"
            some = none if left == total else f"{left:,} of its {total:,} lines cannot be used"
            how = f"; {remedy}" if remedy else ""
            raise DataError(f"{self.path}{where}: {message} ({some}){how}")
        if not left:
            return ()
        for _, where, message, _ in self._said[:MAX_WARNINGS]:
            warnings.warn(f"{self.path}{where}: left out: {message}", LeftOut, stacklevel=3)
        counted = ", ".join(
            f"{self.counts[kind]:,} {why}" for kind, why in self.kinds.items() if self.counts[kind]
        )
        note = f"{self.path}: {total - left:,} of {total:,} lines are used; left out: {counted}"
        if self._added > MAX_WARNINGS:
            warnings.warn(note, LeftOut, stacklevel=3)
        return (note,)
