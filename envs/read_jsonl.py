"""Read files of one JSON object a line, and refuse files of any other form with a command that converts them.

Other forms are compressed files, one large array or object, CSV, and other encodings. None is read by
guessing.
"""

import codecs
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD = 65_536  # bytes at the beginning of a file, from which its form is recognised
WHOLE = 2**28  # size in bytes up to which a file is read whole to recognise its form
DECOMPRESS = {
    b"\x1f\x8b": "gunzip -c",
    b"BZh": "bunzip2 -c",
    b"\xfd7zXZ": "unxz -c",
    b"\x28\xb5\x2f\xfd": "unzstd -c",
    b"PK\x03\x04": "unzip -p",
}
WIDE = dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32") | dict.fromkeys(
    (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16"
)
COLUMNS = {b"question", b"problem", b"prompt", b"answer", b"solution", b"completion"}
_LAST_COMMA = re.compile(rb",(\s*[}\]])")
_EACH = "for r in map(json.loads, filter(str.strip, sys.stdin))"


class DataError(ValueError):
    """A file cannot be used. The message names the file, the line and the remedy."""


class Malformed(ValueError):
    """A line is not what it should be. `command`, if any, converts {file}; see `conversion`."""

    def __init__(self, found: str, command: str = "") -> None:
        super().__init__(found)
        self.command = command


def conversion(path: Path, command: str) -> str:
    """The advice to convert a file by a command that contains {file}, into a new file."""
    file, new = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".flat.jsonl")))
    return f"convert it: {command.replace('{file}', file)} > {new}"


def flatten_command(each: str, rows: str = "") -> str:
    """A command that writes the Python expression `each` for every record r of {file}."""
    source = rows or _EACH
    code = f"import {'csv,' if 'csv.' in source else ''}json,sys; [print(json.dumps({each})) {source}]"
    return f"python3 -c {shlex.quote(code)} < {{file}}"


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """The number (from 1), offset and content of each line that is not blank. A byte-order mark is skipped.

    Raises DataError if the file cannot be read, or has another form.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            offset = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
            _refuse_other_forms(path, head[offset:])
            file.seek(offset)
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, offset, line
                offset += len(line)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def parse_line(line: bytes) -> Any:
    """The value of a line. Raises Malformed with the reason if it is not JSON."""
    try:
        return json.loads(line)
    except UnicodeDecodeError as error:
        found = f"not JSON: byte {line[error.start]:#04x} at column {error.start + 1} is not UTF-8"
        raise Malformed(found, "iconv -f LATIN1 -t UTF-8 {file}") from None
    except RecursionError:
        raise Malformed("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = f"not JSON ({error.msg}, column {error.colno})"
    text = line.strip()
    if _is_json(text.removesuffix(b",")):
        raise Malformed("not JSON: a comma after the object; take it away", "sed 's/,[[:space:]]*$//' {file}")
    if _is_json(_LAST_COMMA.sub(rb"\1", text)):
        raise Malformed("not JSON: a comma before a closing bracket; take it away")
    if re.match(rb"\{\s*'", text):
        code = "import ast,json,sys; [print(json.dumps(ast.literal_eval(l))) for l in sys.stdin if l.strip()]"
        found = "not JSON: single quotes, as Python prints; JSON has double ones"
        raise Malformed(found, f"python3 -c {shlex.quote(code)} < {{file}}")
    raise Malformed(reason)


def json_kind(value: Any) -> str:
    """A value of JSON in a few words, such as `a list of 2 objects`."""
    if isinstance(value, dict):
        return f"an object of {', '.join(map(repr, list(value)[:4])) or 'nothing'}"
    if isinstance(value, list):
        inner = "objects" if value and isinstance(value[0], dict) else "values"
        return f"a list of {len(value)} {inner}"
    return "missing" if value is None else f"{json.dumps(value)[:40]}"


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_other_forms(path: Path, head: bytes) -> None:
    """Raise DataError for a file that is not lines of JSON."""
    for magic, command in DECOMPRESS.items():
        if head.startswith(magic):
            raise DataError(f"{path}:1: is compressed; {conversion(path, f'{command} {{file}}')}")
    if wide := _wide_encoding(head):
        how = conversion(path, f"iconv -f {wide} -t UTF-8 {{file}}")
        raise DataError(f"{path}:1: is {wide}, not UTF-8; {how}")
    if b"\x00" in head:
        raise DataError(f"{path}:1: is not text; each line is one JSON object")
    first = next((line.strip() for line in head.split(b"\n") if line.strip()), b"")
    if not first:
        return
    if first[:1] in (b"{", b"["):
        if not _is_json(first) or first[:1] == b"[" or len(first) + 2 >= path.stat().st_size:
            _refuse_one_value(path, first)
        return
    sign = b"\t" if b"\t" in first else b","
    columns = {column.strip(b'" ').lower() for column in first.split(sign)}
    if path.suffix in (".csv", ".tsv") or columns & COLUMNS:
        arguments = 'sys.stdin, delimiter="\\t"' if sign == b"\t" else "sys.stdin"
        how = conversion(path, flatten_command("r", f"for r in csv.DictReader({arguments})"))
        shown = first[:40].decode(errors="replace")
        kind = "CSV" if sign == b"," else "TSV"
        raise DataError(f"{path}:1: is {kind} ({shown!r}), not JSON; {how}")


def _wide_encoding(head: bytes) -> str:
    """The name of an encoding with two or four bytes a character, as iconv calls it, or ""."""
    for mark, name in WIDE.items():
        if head.startswith(mark):
            return name
    ends = {"UTF-16LE": head[1:64:2], "UTF-16BE": head[:64:2]}  # these bytes are 0 in ASCII text
    return next((name for name, part in ends.items() if part and part.count(0) > 0.9 * len(part)), "")


def _refuse_one_value(path: Path, first: bytes) -> None:
    """Raise DataError for a file that is a single array or object, on any number of lines."""
    if path.stat().st_size > WHOLE:
        return
    try:
        whole = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        if first in (b"{", b"["):
            found = f"not JSON: {first.decode()!r} alone; each line is one whole object"
            raise DataError(f"{path}:1: {found}; {conversion(path, 'jq -c . {file}')}") from None
        return
    if isinstance(whole, list) and whole and isinstance(whole[0], dict):
        found, rows = f"one array of {len(whole):,} objects", "for r in json.load(sys.stdin)"
    elif isinstance(whole, dict):
        inner = [k for k, v in whole.items() if isinstance(v, list) and v and isinstance(v[0], dict)]
        # A list of messages belongs to one question.
        inner = [k for k in inner if not {"role", "from"} & whole[k][0].keys()]
        if not inner and _is_json(first):
            return
        found = f"one object{f', with a list {inner[0]!r}' if inner else ''}"
        of = f"json.load(sys.stdin)[{json.dumps(inner[0])}]" if inner else "[json.load(sys.stdin)]"
        rows = f"for r in {of}"
    else:
        return
    raise DataError(
        f"{path}:1: is {found}, not one object a line; {conversion(path, flatten_command('r', rows))}"
    )
