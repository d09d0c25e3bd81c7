"""The records of a file, each with its place: JSONL, a JSON array, CSV or TSV, or Parquet, packed or not.

Of lines, rows of CSV and Parquet only the places are kept in memory. A packed file is unpacked into memory,
and an array is read whole. The form is recognised by the file's beginning. Other encodings, and archives, are
refused with a command that converts them.
"""

import codecs
import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from shuhari.envs.files import conversation
from shuhari.envs.files.errors import DataError, Malformed
from shuhari.envs.files.json_text import error_line, is_json, json_kind, parse_json
from shuhari.envs.files.packed_file import PackedFile

HEAD = 65_536  # bytes at the beginning of a file, from which its form is recognised
WHOLE = 2**29  # size in bytes up to which an array is read
WIDE = dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32") | dict.fromkeys(
    (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16"
)
# Columns by which a table's first line is known, and by which an object is a record.
COLUMNS = {"question", "problem", "prompt", "instruction", "answer", "solution", "completion", "chosen"}
SIGNS = {"\t": "TSV", ",": "CSV", ";": "CSV"}  # what separates columns

Place = int | tuple[int, int]  # an offset in bytes or the number of an item; or a row group and a row in it


class Records:
    """The records of a file. A record is what JSON would give, and an object if the file is sound."""

    def __init__(self, content: PackedFile) -> None:
        self.path, self.content = content.path, content

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        """Of each record: its place in words, such as ":12", its place, and a function that returns it.

        The function raises Malformed for a record that cannot be read.
        """
        raise NotImplementedError

    def read(self, place: Any) -> Any:
        """The record at a place."""
        raise NotImplementedError

    def remedy(self, error: Malformed) -> str:
        """What to do about a file of such records; "" if nothing is known."""
        return self.content.conversion(error.command) if error.command else error.advice


def open_records(path: Path) -> Records:
    """The records of a file. Raises DataError if it cannot be read, or has a form that is not read."""
    try:
        content = PackedFile(path)
        with content.open() as file:
            head = file.read(HEAD)
            if content.suffix == ".parquet" or head.startswith(b"PAR1"):
                return ParquetRows(content)
            start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
            _refuse_other_encodings(content, head[start:])
            file.seek(start)
            first = next((text for line in file if (text := line.strip())), b"")
        if first[:1] in (b"{", b"["):
            return _records_of_one_value(content, first) or JsonLines(content, start)
        shown = first.decode(errors="replace")
        sign = max(SIGNS, key=shown.count)  # the first one where none is there
        names = {name.strip('" ').lower() for name in shown.split(sign)}
        if first and (content.suffix in (".csv", ".tsv") or names & COLUMNS):
            return CsvRows(content, start, sign)
        return JsonLines(content, start)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


class JsonLines(Records):
    """One object a line. Blank lines are skipped. `start`: behind a byte-order mark."""

    def __init__(self, content: PackedFile, start: int) -> None:
        super().__init__(content)
        self.start = start

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        with self.content.open() as file:
            offset = file.seek(self.start)
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f":{number}", offset, partial(parse_json, line)
                offset += len(line)

    def read(self, place: Any) -> Any:
        with self.content.open() as file:
            file.seek(place)
            return parse_json(file.readline())


class JsonArray(Records):
    """The objects of one array, in memory. `inside`: how the array is called in words, behind its items."""

    def __init__(self, content: PackedFile, items: list[Any], inside: str = "") -> None:
        super().__init__(content)
        self.items, self.inside = items, inside

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        for i in range(len(self.items)):
            yield f": item {i + 1}{self.inside}", i, partial(self.read, i)

    def read(self, place: Any) -> Any:
        return self.items[place]


class CsvRows(Records):
    """The rows of a table of text, whose first row names the columns. A quoted cell may hold line breaks.

    A row's place is the line in which it begins. Raises DataError for a header that cannot be used.
    """

    def __init__(self, content: PackedFile, start: int, sign: str) -> None:
        super().__init__(content)
        self.sign = sign
        csv.field_size_limit(max(csv.field_size_limit(), WHOLE))
        with content.open() as file:
            _, _, header = next(self._read(file, start, 1))
            self.header = [name.strip() for name in header]
        self.start = start
        twice = next((name for name in self.header if self.header.count(name) > 1), None)
        if twice is not None:
            named = f"two columns are called {twice!r}" if twice else "two columns have no name"
            raise DataError(f"{self.path}:1: {named}; rename one")

    def _read(self, file: BinaryIO, offset: int, number: int) -> Iterator[tuple[int, int, list[str]]]:
        """Of each row from `offset` on, where line `number` begins: its line, its offset and its cells."""
        file.seek(offset)

        def lines() -> Iterator[str]:
            nonlocal offset, number
            for line in file:
                offset, number = offset + len(line), number + 1
                try:
                    yield line.decode()
                except UnicodeDecodeError as error:
                    found = f"byte {line[error.start]:#04x} at column {error.start + 1} is not UTF-8"
                    how = self.content.conversion("iconv -f LATIN1 -t UTF-8 {file}", self.content.suffix)
                    raise DataError(f"{self.path}:{number - 1}: {found}; {how}") from None

        reader = csv.reader(lines(), delimiter=self.sign, strict=True)
        while True:
            at, begin = number, offset
            try:
                row = next(reader, None)
            except csv.Error as error:
                what = "a quote is opened and never closed" if "end of data" in str(error) else str(error)
                raise DataError(f"{self.path}:{at}: not {SIGNS[self.sign]} ({what}); mend this row") from None
            if row is None:
                return
            if row:
                yield at, begin, row

    def _record(self, cells: list[str]) -> dict[str, str]:
        if len(cells) != len(self.header):
            raise Malformed(f"has {len(cells)} columns, and the header {len(self.header)}")
        return dict(zip(self.header, cells, strict=True))

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        with self.content.open() as file:
            rows = self._read(file, self.start, 1)
            next(rows)
            for number, offset, cells in rows:
                yield f":{number}", offset, partial(self._record, cells)

    def read(self, place: Any) -> Any:
        with self.content.open() as file:
            return self._record(next(self._read(file, place, 1))[2])


class ParquetRows(Records):
    """The rows of a Parquet file. One row group at a time is in memory."""

    def __init__(self, content: PackedFile) -> None:
        super().__init__(content)
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise DataError(f"{self.path}: reading Parquet needs pyarrow: pip install pyarrow") from None
        try:
            self.file = parquet.ParquetFile(content.open() if content.is_packed else self.path)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read ({str(error).splitlines()[0]})") from None
        self._group = -1
        self._records: list[dict[str, Any]] = []

    def _read(self, group: int) -> list[dict[str, Any]]:
        if group != self._group:
            self._group, self._records = group, self.file.read_row_group(group).to_pylist()
        return self._records

    def __iter__(self) -> Iterator[tuple[str, Place, Callable[[], Any]]]:
        number = 0
        for group in range(self.file.num_row_groups):
            for i in range(len(self._read(group))):
                number += 1
                yield f": row {number}", (group, i), partial(self.read, (group, i))

    def read(self, place: Any) -> Any:
        group, i = place
        return self._read(group)[i]


def _refuse_other_encodings(content: PackedFile, head: bytes) -> None:
    """Raise DataError for what is not text in UTF-8."""
    if wide := _wide_encoding(head):
        how = content.conversion(f"iconv -f {wide} -t UTF-8 {{file}}", content.suffix)
        raise DataError(f"{content.path}:1: is {wide}, not UTF-8; {how}")
    if b"\x00" in head:
        raise DataError(f"{content.path}:1: is not text; each line is one JSON object")


def _wide_encoding(head: bytes) -> str:
    """The name of an encoding with two or four bytes a character, as iconv calls it, or ""."""
    for mark, name in WIDE.items():
        if head.startswith(mark):
            return name
    ends = {"UTF-16LE": head[1:64:2], "UTF-16BE": head[:64:2]}  # these bytes are 0 in ASCII text
    return next((name for name, part in ends.items() if part and part.count(0) > 0.9 * len(part)), "")


def _records_of_one_value(content: PackedFile, first: bytes) -> Records | None:
    """The records of a file that is a single array or object, on any number of lines; None if it is not.

    first: its first line
    Raises DataError for one that is broken, or too large.
    """
    alone = is_json(first)
    if alone and first[:1] == b"{" and len(first) + 2 < content.size:
        return None  # other lines follow
    if content.size > WHOLE:
        if alone or first[:1] == b"{":
            return None
        how = content.conversion("jq -c '.[]' {file}")
        raise DataError(f"{content.path}: is one array of more than {WHOLE // 2**10:,} KiB; {how}")
    text = content.read()
    try:
        whole = parse_json(text.removeprefix(codecs.BOM_UTF8))
    except Malformed as error:
        if first == b"{":
            found = f"not JSON: {first.decode()!r} alone; each line is one whole object"
            raise DataError(f"{content.path}:1: {found}; {content.conversion('jq -c . {file}')}") from None
        if first[:1] == b"[" and not alone and first.strip(b"[ \t\r\n")[:1] in (b"", b"{"):
            how = f"; {content.conversion(error.command, content.suffix)}" if error.command else ""
            raise DataError(f"{content.path}:{error_line(text)}: {error}{how}") from None
        return None
    if isinstance(whole, list):
        return JsonArray(content, whole) if any(isinstance(item, dict) for item in whole) else None
    inner = [k for k, v in whole.items() if isinstance(v, list) and v and isinstance(v[0], dict)]
    if not inner or whole.keys() & {*COLUMNS, *conversation.COLUMNS}:
        return None if alone else JsonArray(content, [whole])
    if len(inner) > 1:
        how = content.conversion(f"jq -c '.{inner[0]}[]' {{file}}")
        raise DataError(f"{content.path}:1: is {json_kind(whole)} with {len(inner)} lists of objects; {how}")
    return JsonArray(content, whole[inner[0]], f" of {inner[0]!r}")
