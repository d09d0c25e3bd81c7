from pathlib import Path

import pytest

from shuhari.envs.read_jsonl import DataError
from shuhari.envs.trace_files import read_traces


def test_reads(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"prompt": "1+1=", "completion": "2", "source": "me"}\n\n{"prompt": "ü", "completion": "x"}\n'
    )
    assert [(t.prompt, t.completion) for t in read_traces(path)] == [("1+1=", "2"), ("ü", "x")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b'{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n', ":2: not JSON"),
        (b'{"prompt": "a", "completion": "b"}\n\xff\xfe\n', ":2: not JSON"),
        (b'["a", "b"]', ":1: not an object"),
        (b'{"prompt": "a"}', ":1: 'completion' is missing"),
        (b'{"prompt": "", "completion": "b"}', ":1: 'prompt' is missing"),
        (b'{"prompt": "a", "completion": 7}', ":1: 'completion' is missing, empty or not a string"),
    ],
)
def test_a_broken_file_names_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_traces(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_traces(tmp_path / "none.jsonl")
