"""Files of another form are refused with a command that converts them; the command is run."""

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

from shuhari.envs.problems.dataset import DatasetEnv
from shuhari.envs.read_jsonl import DataError
from shuhari.envs.trace_files import read_pairs, read_traces

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


FORMS: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "d.jsonl.gz": ("is compressed", lambda _: gzip.compress(LINES.encode())),
    "d.bz2": ("is compressed", lambda _: bz2.compress(LINES.encode())),
    "d.xz": ("is compressed", lambda _: lzma.compress(LINES.encode())),
    "packed.jsonl": ("is compressed", lambda folder: zipped(LINES.encode(), folder / "z.zip")),
    "wide.jsonl": ("is UTF-16, not UTF-8", lambda _: LINES.encode("utf-16")),
    "wide-le.jsonl": ("is UTF-16LE", lambda _: LINES.encode("utf-16-le")),
    "wide-be.jsonl": ("is UTF-16BE", lambda _: LINES.encode("utf-16-be")),
    "widest.jsonl": ("is UTF-32", lambda _: LINES.encode("utf-32")),
    "latin.jsonl": (
        "byte 0xe9 at column",
        lambda _: LINES.replace("What", "Qu\u00e9").encode("latin-1"),
    ),
    "a b.csv": ("is CSV ('question,answer')", lambda _: csv(",")),
    "d.tsv": ("is TSV", lambda _: csv("\t")),
    "named.jsonl": ("is CSV", lambda _: csv(",")),
    "array.json": ("is one array of 40 objects", lambda _: ARRAY.encode()),
    "line.json": ("is one array of 40 objects", lambda _: json.dumps(ROWS).encode()),
    "data.json": ("is one object, with a list 'data'", lambda _: json.dumps({"v": 1, "data": ROWS}).encode()),
    "nested.json": ("is one object, with a list", lambda _: json.dumps({"it's": ROWS}, indent=1).encode()),
    "commas.jsonl": ("a comma after the object", lambda _: LINES.replace("}\n", "}, \n").encode()),
    "python.jsonl": ("single quotes", lambda _: "\n".join(map(str, ROWS)).encode()),
}


@pytest.mark.parametrize("name", FORMS)
def test_another_form_is_converted_by_the_command(name: str, tmp_path: Path) -> None:
    message, content = FORMS[name]
    path = tmp_path / name
    path.write_bytes(content(tmp_path))
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as refusal:
        DatasetEnv(str(path))
    said = str(refusal.value)
    assert said.startswith(f"{path}:1: ")
    assert message in said
    command = said.partition("convert it: ")[2]
    before = path.read_bytes()
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert path.read_bytes() == before
    env = DatasetEnv(str(path.with_suffix(".flat.jsonl")))
    assert [row["answer"] for row in env.rows] == [row["answer"] for row in ROWS]


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
        (
            b'{"instruction": "2+3=", "text": "5"}\n' * 9,
            "columns ('instruction', 'text'); name them question",
        ),
    ],
)
def test_what_cannot_be_converted_is_said(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as refusal:
        DatasetEnv(str(path))
    assert message in str(refusal.value)


def test_a_mark_blank_lines_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n\r\n").encode())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = DatasetEnv(str(path))
    assert [row["answer"] for row in env.rows] == [row["answer"] for row in ROWS]


@pytest.mark.parametrize("line", [9, 10])
def test_a_trace_or_pair_that_cannot_be_read_is_named(line: int, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    good: dict[str, Any] = {"prompt": "p", "completion": "c", "chosen": "a", "rejected": "b"}
    talk = good | {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "x"}],
    }
    for bad, message in (
        (json.dumps(talk), "'prompt' is missing, empty or not a string (a list of 1 objects); convert it: "),
        (json.dumps(good) + ",", "not JSON: a comma after the object; take it away; convert it: sed"),
        ("[1]", "not an object with 'prompt', "),
    ):
        path.write_text("\n".join([json.dumps(good)] * (line - 1) + [bad]))
        for read in (read_traces, read_pairs):
            with pytest.raises(DataError, match=r"\A[^\n]+\Z") as refusal:
                read(path)
            assert f"{path}:{line}: {message}" in str(refusal.value)
    path.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(DataError, match="is compressed"):
        read_traces(path)
    path.write_text("\n".join([json.dumps(talk)] * 3))
    with pytest.raises(DataError) as refusal:
        read_pairs(path)
    subprocess.run(str(refusal.value).partition("convert it: ")[2], shell=True, check=True)
    assert read_pairs(path.with_suffix(".flat.jsonl"))[0].chosen == "x"
