"""Dotted paths into a record, such as `extra.question` or `prompt.0.content`, and the option `columns`."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shuhari.envs.files.errors import DataError, Malformed
from shuhari.envs.files.json_text import nested

NAMES = ("question", "answer", "trace", "instructions")
SHOWN = 300  # characters of a list of columns
_MISSING = object()

Columns = tuple[tuple[str, str], ...]  # of each name that is given, the path


def parse_columns(given: Mapping[str, Any] | str) -> Columns:
    """The option `columns`: `{question: extra.question, answer: gold}`, as text or already read.

    Raises DataError for anything else.
    """
    if isinstance(given, str):
        pairs = [pair.partition(":") for pair in given.strip().removeprefix("{").removesuffix("}").split(",")]
        if not all(colon and name.strip() and path.strip() for name, colon, path in pairs):
            raise DataError(f"columns={given}: must be {{NAME: COLUMN, ...}}; a name is {_list(NAMES)}")
        given = {name.strip(" \"'"): path.strip(" \"'") for name, _, path in pairs}
    if not isinstance(given, Mapping):
        raise DataError(f"columns={given!r}: must be {{NAME: COLUMN, ...}}; a name is {_list(NAMES)}")
    for name, path in given.items():
        if name not in NAMES:
            raise DataError(
                f"columns={{{name}: ...}}: {_nearest(str(name), NAMES) or f'a name is {_list(NAMES)}'}"
            )
        if not isinstance(path, str | int) or isinstance(path, bool) or path == "":
            raise DataError(f"columns={{{name}: {path}}}: a column is a name, or a path such as extra.{name}")
    return tuple((name, str(given[name])) for name in NAMES if name in given)


def written(columns: Mapping[str, str]) -> str:
    """The option as it is typed at the command line."""
    inside = ", ".join(f"{name}: {path}" for name, path in columns.items())
    return f"'env_args.columns={{{inside}}}'"


def value_at(record: Any, path: str) -> Any:
    """The value at a path; None if the record has no such column.

    A name with a dot in it comes before a path. Texts that are JSON are looked into.
    """
    found = _find(record, path)
    return None if found is _MISSING else found


def required(record: dict[str, Any], path: str) -> Any:
    """The same. Raises Malformed with the nearest column if the record has no such column."""
    if (found := _find(record, path)) is _MISSING:
        raise Malformed(missing(record, path))
    return found


def missing(record: dict[str, Any], path: str) -> str:
    """What is said of a path that a record does not have."""
    known = list(dict.fromkeys(paths(record)))
    near = _nearest(path, known)
    return f"there is no column {path!r}{f'; {near}' if near else ''} (its columns: {_list(known)})"


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The path of each value in a record, and of each list; of its entries only the first one's."""
    value = nested(value)
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from paths(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield path
        yield from paths(value[0], f"{path}.0")
    elif path:
        yield path


def _find(value: Any, path: str) -> Any:
    value = nested(value)
    key, dot, rest = path.partition(".")
    if isinstance(value, dict):
        if path in value:
            return value[path]
        return _find(value[key], rest) if dot and key in value else _MISSING
    if isinstance(value, list) and key.lstrip("-").isdigit() and -len(value) <= int(key) < len(value):
        return _find(value[int(key)], rest) if dot else value[int(key)]
    return _MISSING


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else ""


def _list(names: Iterable[str]) -> str:
    text = ", ".join(names) or "none"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
