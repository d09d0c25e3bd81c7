"""The forms of files: most are read, to the same records; others are refused with a command that is run."""

import bz2
import gzip
import json
import lzma
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shuhari.envs.files import packed_file, records
from shuhari.envs.files.errors import DataError
from shuhari.envs.files.records import open_records
from shuhari.envs.files.trace_files import read_pairs, read_traces
from shuhari.envs.problems.dataset import DatasetEnv

ROWS = [{"question": f"What is {n}+1, {n % 3}?", "answer": str(n + 1)} for n in range(40)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS, indent=2)


def csv(sign: str) -> bytes:
    rows = [f'"{row["question"]}"{sign}{row["answer"]}' for row in ROWS]
    return "\n".join([f"question{sign}answer", *rows]).encode()


def zipped(text: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("d.jsonl", text)
    return path.read_bytes()


def parquet(rows: list[Any], path: Path) -> bytes:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=7)
    return path.read_bytes()


READ: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "d.jsonl": (":1", lambda _: LINES.encode()),
    "d.jsonl.gz": (":1", lambda _: gzip.compress(LINES.encode())),
    "d.bz2": (":1", lambda _: bz2.compress(LINES.encode())),
    "named.jsonl": (":1", lambda _: lzma.compress(LINES.encode())),
    "a b.csv": (":2", lambda _: csv(",")),
    "d.csv.gz": (":2", lambda _: gzip.compress(csv(","))),
    "d.tsv": (":2", lambda _: csv("\t")),
    "excel.csv": (":3", lambda _: b"\xef\xbb\xbf" + csv(";").replace(b"\n", b"\r\n\r\n")),
    "table.jsonl": (":2", lambda _: csv(",")),
    "array.json": (": item 1", lambda _: b"\xef\xbb\xbf" + ARRAY.encode()),
    "line.json": (": item 1", lambda _: json.dumps(ROWS).encode()),
    "array.json.gz": (": item 1", lambda _: gzip.compress(ARRAY.encode())),
    "data.json": (": item 1 of 'data'", lambda _: json.dumps({"v": 1, "data": ROWS}).encode()),
    "nested.json": (': item 1 of "it\'s"', lambda _: json.dumps({"it's": ROWS}, indent=1).encode()),
    "d.parquet": (": row 1", lambda folder: parquet(ROWS, folder / "x")),
    "d.parquet.gz": (": row 1", lambda folder: gzip.compress(parquet(ROWS, folder / "x"))),
}


@pytest.mark.parametrize("name", READ)
def test_a_form_is_read_by_place_and_by_both_readers(name: str, tmp_path: Path) -> None:
    first, content = READ[name]
    path = tmp_path / name
    path.write_bytes(content(tmp_path))
    found = open_records(path)
    assert [read() for _, _, read in found] == ROWS
    places = [(where, place) for where, place, _ in found]
    assert places[0][0] == first
    assert [found.read(place) for _, place in reversed(places)] == ROWS[::-1]  # in any order
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = DatasetEnv(str(path))
    assert [row.answer for row in env.rows] == [row["answer"] for row in ROWS]
    assert [(t.prompt, t.completion) for t in read_traces(path)] == [
        (f"{row['question']}\n", row["answer"]) for row in ROWS
    ]


def test_a_row_of_csv_may_have_several_lines_and_is_named_by_its_first(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    good = [f'"What is\n\n{n}+1, ""you""?","work\n#### {n + 1}"' for n in range(9)]
    path.write_text("\n".join(["question,answer", *good, "a,b,c", "", "alone", *good[:1], '"q","1"']))
    with pytest.warns(UserWarning, match="left out") as caught:
        env = DatasetEnv(str(path))
    assert [str(w.message).removeprefix(str(path)) for w in caught] == [
        ":38: left out: has 3 columns, and the header 2",
        ":40: left out: has 1 columns, and the header 2",
        ":41: left out: the same as :2",
    ]
    assert env.rows[0][:3] == ('What is\n\n0+1, "you"?', "work\n#### 1", ("work\n#### 1",))
    assert len(env.rows) == 10


def test_cells_may_hold_json(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    talk = json.dumps([{"role": "user", "content": "2?"}, {"role": "assistant", "content": "3"}])
    rows = [f'"{talk.replace(chr(34), chr(34) * 2)}",[{n}]' for n in range(2)]
    path.write_text("\n".join(["messages,n", *rows]))
    assert [(t.prompt, t.completion) for t in read_traces(path)] == [("2?\n", "3")] * 2
    path.write_text('prompt,completion\n"[1, 2]","[""a""]"\n{},{}\n')
    assert [(t.prompt, t.completion) for t in read_traces(path)] == [("[1, 2]", '["a"]'), ("{}", "{}")]


REFUSED: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "packed.jsonl": ("is compressed; unpack it: ", lambda folder: zipped(LINES.encode(), folder / "z.zip")),
    "wide.jsonl": ("is UTF-16, not UTF-8", lambda _: LINES.encode("utf-16")),
    "wide-le.jsonl": ("is UTF-16LE", lambda _: LINES.encode("utf-16-le")),
    "wide-be.csv": ("is UTF-16BE", lambda _: csv(",").decode().encode("utf-16-be")),
    "widest.jsonl": ("is UTF-32", lambda _: LINES.encode("utf-32")),
    "latin.jsonl": ("byte 0xe9 at column", lambda _: LINES.replace("What", "Qu\u00e9").encode("latin-1")),
    "latin.json": (
        "byte 0xe9 at column 20 is",
        lambda _: ARRAY.replace("What", "Qu\u00e9").encode("latin-1"),
    ),
    "latin.csv": ("byte 0xe9 at column", lambda _: csv(",").replace(b"What", b"Qu\xe9")),
    "commas.jsonl": ("a comma after the object", lambda _: LINES.replace("}\n", "}, \n").encode()),
    "python.jsonl": ("single quotes", lambda _: "\n".join(map(str, ROWS)).encode()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_form_is_converted_by_the_command(name: str, tmp_path: Path) -> None:
    message, content = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content(tmp_path))
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as refusal:
        DatasetEnv(str(path))
    said = str(refusal.value)
    line = {"latin.json": 3, "latin.csv": 2}.get(name, 1)
    assert said.startswith(f"{path}:{line}: ")
    assert message in said
    command = said.partition("convert it: ")[2] or said.partition("unpack it: ")[2]
    before = path.read_bytes()
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert path.read_bytes() == before
    env = DatasetEnv(str(path.with_suffix(f".flat{path.suffix}")))
    assert [row.answer for row in env.rows] == [row["answer"] for row in ROWS]


BROKEN_ARRAY = ARRAY.replace("}\n]", "},\n]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": is empty: no line of it can be used"),
        (b" \n\r\n\n", ": is empty"),
        (LINES.replace('"}', '",}').encode(), ":1: not JSON: a comma before a closing bracket; take it away"),
        (b"\n\n" + LINES.replace("{", "").encode(), ":3: not JSON (Extra data, column 11)"),
        (
            json.dumps(ROWS[0], indent=1).encode() * 3,
            ":1: not JSON: '{' alone; each line is one whole object",
        ),
        (b"%PDF-1.4 \x00\x01\x02" + LINES.encode(), ":1: is not text"),
        (b'["What?", "5"]\n' * 20, ":1: not an object with a question and an answer, but a list of 2 values"),
        (b"17\n" * 20, ":1: not an object with a question and an answer, but 17"),
        (("[" * 100_000 + "\n").encode() * 2, ":1: not JSON: nested too deeply"),
        (BROKEN_ARRAY.encode(), f":{ARRAY.count(chr(10)) + 1}: not JSON: a comma before a closing bracket"),
        (ARRAY[:200].encode(), ":15: not JSON (Unterminated string"),
        (b'{"a": [{"x": 1}], "b": [{"y": 1}]}', "with 2 lists of objects; convert it: jq -c '.a[]'"),
        (b'question,question\n"q","a"\n', ":1: two columns are called 'question'; rename one"),
        (b'question,answer\nq,a\n"q,a\n\nr,a\n', ":3: not CSV (a quote is opened and never closed)"),
        (b'question,answer\n"q" or not,a\n', ":2: not CSV ("),
        (gzip.compress(LINES.encode())[:-20], ": cannot be unpacked ("),
        (gzip.compress(LINES.encode("utf-16")), ":1: is UTF-16, not UTF-8; unpack it: gunzip -c "),
        (b"BZhnothing", ": cannot be read (Invalid data stream)"),
        (b"PAR1 no", ": cannot be read ("),
    ],
)
def test_what_cannot_be_converted_is_said(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as refusal:
        DatasetEnv(str(path))
    assert str(refusal.value).startswith(str(path))
    assert message in str(refusal.value)


def test_what_is_too_large_for_memory_is_refused_with_a_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    array, packed = tmp_path / "d.json", tmp_path / "d.jsonl.gz"
    array.write_text(ARRAY)
    packed.write_bytes(gzip.compress(LINES.encode()))
    monkeypatch.setattr(records, "WHOLE", 2**10)
    monkeypatch.setattr(packed_file, "LARGEST", 2**10)
    with pytest.raises(DataError, match=r"is one array of more than 1 KiB; convert it: jq -c '.\[\]'"):
        open_records(array)
    with pytest.raises(DataError, match=r"is more than 1 KiB unpacked; unpack it: gunzip -c "):
        open_records(packed)


def test_a_mark_blank_lines_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n\r\n").encode())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = DatasetEnv(str(path))
    assert [row.answer for row in env.rows] == [row["answer"] for row in ROWS]


def test_pretty_printed_records_of_one_file(tmp_path: Path) -> None:
    """One object is one record, also where it has a list of objects of its own."""
    path = tmp_path / "d.json"
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "votes": [{"by": "x"}]}
    path.write_text(json.dumps(row, indent=1))
    assert read_pairs(path)[0].chosen == "a"
