"""Trace files: one JSON object a line, `{"prompt": ..., "completion": ...}`; other keys are ignored.

Where the policy must remember, `"turns": [[observation, completion], ...]` holds what came before.
"""

import json
from pathlib import Path

from shuhari.envs.types import Trace


class TraceError(ValueError):
    """A trace file cannot be used; the message names the file and the line."""


def read_traces(path: Path) -> list[Trace]:
    """All traces of a file. Raises `TraceError` on a missing, empty or malformed one."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror})") from None
    traces = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise TraceError(f"{path}:{number}: not JSON ({error})") from None
        if not isinstance(record, dict):
            raise TraceError(f"{path}:{number}: a trace is an object with 'prompt' and 'completion'")
        for key in ("prompt", "completion"):
            if not isinstance(record.get(key), str) or not record[key]:
                raise TraceError(f"{path}:{number}: {key!r} is missing, empty or not a string")
        turns = record.get("turns", [])
        pairs = isinstance(turns, list) and all(isinstance(t, list) and len(t) == 2 for t in turns)
        if not pairs or not all(isinstance(text, str) for turn in turns for text in turn):
            raise TraceError(f"{path}:{number}: 'turns' is a list of pairs, [observation, completion]")
        traces.append(Trace(record["prompt"], record["completion"], tuple((o, c) for o, c in turns)))
    if not traces:
        raise TraceError(f'{path}: holds no traces; each line is {{"prompt": ..., "completion": ...}}')
    return traces
