"""Read files of traces and of ranked pairs: one JSON object a line.

A trace is `{"prompt": ..., "completion": ...}`. If the policy must remember the episode, `"turns":
[[observation, completion], ...]` is what came before. A ranked pair is `{"prompt": ..., "chosen": ...,
"rejected": ...}`. Other keys are ignored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shuhari.envs.read_jsonl import (
    DataError,
    Malformed,
    conversion,
    flatten_command,
    json_kind,
    parse_line,
    read_lines,
)
from shuhari.envs.types import RankedPair, Trace


def _records(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object and its place. Raises DataError for a missing, empty or malformed file."""
    form = f"an object with {', '.join(map(repr, keys))}"
    where = ""
    for number, _, line in read_lines(path):
        where = f"{path}:{number}"
        try:
            record = parse_line(line)
        except Malformed as error:
            how = f"; {conversion(path, error.command)}" if error.command else ""
            raise DataError(f"{where}: {error}{how}") from None
        if not isinstance(record, dict):
            raise DataError(f"{where}: not {form}, but {json_kind(record)}")
        for key in keys:
            if not isinstance(value := record.get(key), str) or not value:
                found = f"{key!r} is missing, empty or not a string ({json_kind(value)})"
                talk = (
                    isinstance(value, list) and value and isinstance(value[0], dict) and "content" in value[0]
                )
                each = ", ".join(
                    f'"{k}": r["{k}"]' + '[-1]["content"]' * isinstance(record.get(k), list) for k in keys
                )
                how = conversion(path, flatten_command(f"{{{each}}}")) if talk else f"a line is {form}"
                raise DataError(f"{where}: {found}; {how}")
        yield where, record
    if not where:
        raise DataError(f"{path}: is empty; each line is {form}")


def read_traces(path: Path) -> list[Trace]:
    """All traces of a file. Raises DataError."""
    traces = []
    for where, record in _records(path, ("prompt", "completion")):
        turns = record.get("turns", [])
        pairs = isinstance(turns, list) and all(isinstance(t, list) and len(t) == 2 for t in turns)
        if not pairs or not all(isinstance(text, str) for turn in turns for text in turn):
            raise DataError(f"{where}: 'turns' is a list of pairs, [observation, completion]")
        traces.append(Trace(record["prompt"], record["completion"], tuple((o, c) for o, c in turns)))
    return traces


def read_pairs(path: Path) -> list[RankedPair]:
    """All ranked pairs of a file. Raises DataError, also for a pair whose sides are equal."""
    pairs = []
    for where, record in _records(path, ("prompt", "chosen", "rejected")):
        if record["chosen"] == record["rejected"]:
            raise DataError(f"{where}: 'chosen' and 'rejected' are the same")
        pairs.append(RankedPair(record["prompt"], record["chosen"], record["rejected"]))
    return pairs
