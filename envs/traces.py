"""Files of what somebody wrote or ranked: one JSON object a line; keys that are not named here are ignored.

A trace is `{"prompt": ..., "completion": ...}`; where the policy must remember, `"turns": [[observation,
completion], ...]` holds what came before. A ranked pair is `{"prompt": ..., "chosen": ..., "rejected": ...}`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shuhari.envs.jsonl import DataError as TraceError
from shuhari.envs.jsonl import Malformed, converted, flattened, kind_of, lines, parse
from shuhari.envs.types import RankedPair, Trace

__all__ = ["TraceError", "read_pairs", "read_traces"]


def _records(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object and where it stands. Raises `TraceError` on a missing, empty or malformed file."""
    form = f"an object with {', '.join(map(repr, keys))}"
    where = ""
    for number, _, line in lines(path):
        where = f"{path}:{number}"
        try:
            record = parse(line)
        except Malformed as error:
            how = f"; {converted(path, error.command)}" if error.command else ""
            raise TraceError(f"{where}: {error}{how}") from None
        if not isinstance(record, dict):
            raise TraceError(f"{where}: not {form}, but {kind_of(record)}")
        for key in keys:
            if not isinstance(value := record.get(key), str) or not value:
                found = f"{key!r} is missing, empty or not a string ({kind_of(value)})"
                talk = (
                    isinstance(value, list) and value and isinstance(value[0], dict) and "content" in value[0]
                )
                each = ", ".join(
                    f'"{k}": r["{k}"]' + '[-1]["content"]' * isinstance(record.get(k), list) for k in keys
                )
                how = converted(path, flattened(f"{{{each}}}")) if talk else f"a line is {form}"
                raise TraceError(f"{where}: {found}; {how}")
        yield where, record
    if not where:
        raise TraceError(f"{path}: is empty; each line is {form}")


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
