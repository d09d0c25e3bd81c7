"""Files of what a person has compared: lines are appended whole, and the last ones can be taken back."""

import json
import os
from pathlib import Path
from typing import Any

from shuhari.envs.files.trace_files import read_pairs


class AppendedLines:
    """A JSONL file that grows. Each line is in the file, on disk, before `add` returns.

    added: lines since it was opened
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: list[int] = []  # the file's size before each line that was added

    @property
    def added(self) -> int:
        return len(self._ends)

    def add(self, row: dict[str, Any]) -> None:
        """Raises OSError."""
        line = f"{json.dumps(row, ensure_ascii=False)}\n".encode()
        with self.path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # somebody else's last line
                    line = b"\n" + line
            file.write(line)  # in one piece, also where Ctrl-C comes in between: closing the file writes it
            file.flush()
            os.fsync(file.fileno())
        self._ends.append(size)

    def take_back(self) -> None:
        """Remove the line that was added last."""
        os.truncate(self.path, self._ends.pop())


class ComparedPairs:
    """The ranked pairs in one file, which the phase `ranked_pairs` reads, and ties in another beside it.

    Raises ValueError where a file has something else, and OSError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.pairs, self.ties = AppendedLines(path), AppendedLines(path.with_suffix(".ties.jsonl"))
        self.prompts: set[str] = set()  # of what has been compared before, without the space around them
        if path.exists() and path.stat().st_size:
            self.prompts |= {pair.task.strip() for pair in read_pairs(path)}
        if self.ties.path.exists():
            self.prompts |= {prompt.strip() for prompt in _tied(self.ties.path)}
        begun = path.exists()
        with path.open("ab"):  # so that it is known before a person has judged anything
            pass
        if not begun:
            path.unlink()


def _tied(path: Path) -> list[str]:
    """The prompts of ties."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(str(json.loads(line)["task"]))
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}:{number}: no tie; move the file away") from None
    return found
