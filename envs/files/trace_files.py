"""Read files of traces and of ranked pairs, whose shapes `trace_record.py` knows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from shuhari.envs.files.errors import MALFORMED, DataError, LeftOutLines, Malformed
from shuhari.envs.files.json_text import json_kind
from shuhari.envs.files.records import open_records
from shuhari.envs.files.trace_record import TURNS, pair_of, traces_of
from shuhari.envs.types import RankedPair, Trace

TRACE_FORM = "an object of 'prompt' and 'completion', of 'messages', or of 'question' and 'answer'"
PAIR_FORM = "an object of 'prompt', 'chosen' and 'rejected'"
Item = TypeVar("Item", Trace, RankedPair)
Note = Callable[[str], None]


def read_traces(path: Path, turns: str = "all", note: Note | None = None) -> list[Trace]:
    """All traces of a file. Lines without one are named and left out.

    turns: "all" that the assistant has in a conversation, each with those before it, or the "last" one
    note: takes how many lines are left out
    Raises DataError for a file that cannot be read, and where half of its lines are left out.
    """
    if turns not in TURNS:
        raise DataError(f"turns={turns}: must be {' or '.join(TURNS)}")
    return _read(path, lambda record: traces_of(record, turns), TRACE_FORM, note)


def read_pairs(path: Path, note: Note | None = None) -> list[RankedPair]:
    """All ranked pairs of a file. Lines without one, or whose sides are equal, are named and left out.

    note: takes how many lines are left out
    Raises DataError for a file that cannot be read, and where half of its lines are left out.
    """
    return _read(path, lambda record: [pair_of(record)], PAIR_FORM, note)


def _read(path: Path, items_of: Callable[[Any], list[Item]], form: str, note: Note | None) -> list[Item]:
    records, items, total = open_records(path), list[Item](), 0
    left = LeftOutLines(path, {MALFORMED: f"that are not {form}"}, form)
    for where, _, read in records:
        total += 1
        try:
            record = read()
            if not isinstance(record, dict):
                raise Malformed(f"not {form}, but {json_kind(record)}")
            items += [replace(item, where=f"{path}{where}") for item in items_of(record)]
        except Malformed as error:
            left.add(MALFORMED, where, str(error), records.remedy(error))
    for text in left.conclude(total):
        if note is not None:
            note(text)
    return items
