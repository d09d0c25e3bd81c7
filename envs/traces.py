"""Files of what somebody wrote or ranked: one JSON object a line; keys that are not named here are ignored.

A trace is `{"prompt": ..., "completion": ...}`; where the policy must remember, `"turns": [[observation,
completion], ...]` holds what came before. A ranked pair is `{"prompt": ..., "chosen": ..., "rejected": ...}`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shuhari.envs.types import RankedPair, Trace


class TraceError(ValueError):
    """A file cannot be used; the message names the file and the line."""


def _records(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object and where it stands. Raises `TraceError` on a missing, empty or malformed file."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror})") from None
    form = f"an object with {', '.join(map(repr, keys))}"
    if not any(line.strip() for line in lines):
        raise TraceError(f"{path}: is empty; each line is {form}")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise TraceError(f"{where}: not JSON ({error})") from None
        if not isinstance(record, dict):
            raise TraceError(f"{where}: not {form}")
        for key in keys:
            if not isinstance(record.get(key), str) or not record[key]:
                raise TraceError(f"{where}: {key!r} is missing, empty or not a string; a line is {form}")
        yield where, record


def read_traces(path: Path) -> list[Trace]:
    """All traces of a file. Raises `TraceError`."""
    traces = []
    for where, record in _records(path, ("prompt", "completion")):
        turns = record.get("turns", [])
        pairs = isinstance(turns, list) and all(isinstance(t, list) and len(t) == 2 for t in turns)
        if not pairs or not all(isinstance(text, str) for turn in turns for text in turn):
            raise TraceError(f"{where}: 'turns' is a list of pairs, [observation, completion]")
        traces.append(Trace(record["prompt"], record["completion"], tuple((o, c) for o, c in turns)))
    return traces


def read_pairs(path: Path) -> list[RankedPair]:
    """All ranked pairs of a file. Raises `TraceError`, also for a pair whose sides are equal."""
    pairs = []
    for where, record in _records(path, ("prompt", "chosen", "rejected")):
        if record["chosen"] == record["rejected"]:
            raise TraceError(f"{where}: 'chosen' and 'rejected' are the same")
        pairs.append(RankedPair(record["prompt"], record["chosen"], record["rejected"]))
    return pairs
