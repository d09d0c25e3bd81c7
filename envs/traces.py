"""Trace files: one JSON object a line, `{"prompt": ..., "completion": ...}`; other keys are ignored."""

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
        traces.append(Trace(record["prompt"], record["completion"]))
    if not traces:
        raise TraceError(f'{path}: holds no traces; each line is {{"prompt": ..., "completion": ...}}')
    return traces
