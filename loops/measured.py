"""Rows of players that need no training, kept on disk: the next run of the same measure reads them.

A row is found under a digest of what it rests on: the environment with its arguments, the files they name and
the code beside it, the base, how prompts are written, how much is measured, this program's code, and the
versions of what it stands on. An environment whose code is in no file is measured in every run. Whoever
doubts a row removes the folder.
"""

import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from shuhari.loops.distributed import SINGLE_PROCESS, Ranks
from shuhari.loops.evaluate.evaluation import Row

PACKAGE = Path(__file__).parent.parent


class Measured:
    """Rows in a folder. `facts`: what all of them rest on; None: nobody knows, so that no row is kept. Of
    several ranks the first reads and writes."""

    def __init__(self, folder: Path, facts: dict[str, Any] | None, ranks: Ranks = SINGLE_PROCESS) -> None:
        self.folder, self.facts, self.ranks = folder, facts, ranks
        self.found: dict[str, str] = {}  # players whose rows were read, with the day when they were measured

    def row(self, phase: str, name: str, measure: Callable[[], Row]) -> Row:
        """The row of a player in the run's evaluation or in a phase's own: read, or measured and kept."""
        if self.facts is None:
            return measure()
        text = json.dumps([self.facts, phase, name], sort_keys=True, default=str)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
        known = self.ranks.gather(_read(path) if self.ranks.first else None)[0]
        if known is not None:
            self.found[name] = known["measured"]
            row: Row = known["row"]
            return row
        row = measure()
        if self.ranks.first:
            _write(
                path, {"player": name, "measured": time.strftime("%Y-%m-%d"), "row": row, "facts": self.facts}
            )
        return row

    @property
    def notes(self) -> list[str]:
        """What a reader of a report must know of rows that were not measured in this run."""
        if not self.found:
            return []
        days = sorted(set(self.found.values()))
        names, when = ", ".join(self.found), " and ".join(days)
        return [f"{names}: measured on {when} by the same code and settings, and read from {self.folder}"]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if {"row", "measured"} <= known.keys() else None
    except (OSError, ValueError, AttributeError):  # there is none, or a crash has cut it off: measure anew
        return None


def _write(path: Path, known: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(known, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(partial, path)


def facts_of(env: Any, env_args: dict[str, Any]) -> dict[str, Any] | None:
    """What an environment's problems rest on: its arguments, the files that they name, and the code beside
    it. None where its code is in no file, as what is typed at a prompt."""
    files = [Path(str(value)) for value in env_args.values() if os.path.isfile(str(value))]
    try:
        code = {Path(inspect.getfile(part)).parent for part in code_of(env.unwrapped)}
    except (OSError, TypeError):  # so `inspect` says of what has no file, a `functools.partial` included
        return None
    return {
        "env": type(env.unwrapped).__qualname__,
        "env_args": env_args,
        "files": _digest(files),
        "code": _digest(path for folder in sorted(code) for path in sorted(folder.glob("*.py"))),
        "program": _program(),
    }


def code_of(env: Any) -> list[Any]:
    """The class of an environment or, where it was made of functions, these."""
    return [part for part in getattr(env, "functions", ()) if part is not None] or [type(env)]


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


@lru_cache(maxsize=1)
def _program() -> str:
    """A digest of this package's code, whose folders may be links."""
    folders = [path.resolve() for path in sorted(PACKAGE.iterdir()) if path.is_dir()]
    return _digest(path for folder in folders for path in sorted(folder.rglob("*.py")))
