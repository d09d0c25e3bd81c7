"""Files of traces and of ranked pairs: the shapes that are read, and what is said of lines that cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest

from shuhari.envs.files.errors import DataError, Malformed
from shuhari.envs.files.trace_files import read_pairs, read_traces
from shuhari.envs.files.trace_record import pair_of, traces_of
from shuhari.envs.types import RankedPair, Trace

CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": [{"type": "text", "text": "d"}]},
]
SHARED = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}]
FIRST, LAST = Trace("a\n", "b", (), "S"), Trace("c\n", "d", (("a\n", "b"),), "S")


def test_reads(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"prompt": "1+1=", "completion": "2", "source": "me"}\n\n{"prompt": "ü", "completion": "x"}\n'
    )
    assert [(t.prompt, t.completion) for t in read_traces(path)] == [("1+1=", "2"), ("ü", "x")]


@pytest.mark.parametrize(
    ("record", "traces"),
    [
        ({"prompt": "p", "completion": "c", "turns": [["o", "x"]]}, [Trace("p", "c", (("o", "x"),))]),
        ({"messages": CHAT}, [FIRST, LAST]),
        ({"messages": CHAT, "prompt": "a", "completion": None}, [FIRST, LAST]),
        ({"messages": CHAT[1:], "system": "S"}, [FIRST, LAST]),
        ({"messages": [*CHAT, CHAT[1]]}, [FIRST, LAST]),  # a question without an answer teaches nothing
        ({"conversations": SHARED}, [Trace("a\n", "b")]),
        ({"messages": [CHAT[1], CHAT[3], CHAT[2], CHAT[4]]}, [Trace("a\n\nc\n", "b\n\nd")]),
        ({"prompt": CHAT[:-1], "completion": "d"}, [LAST]),
        ({"prompt": CHAT[:2], "completion": CHAT[2:]}, [FIRST, LAST]),
        ({"prompt": CHAT[:-1], "completion": CHAT[-1]}, [LAST]),
        ({"prompt": "a", "completion": CHAT[2:3]}, [Trace("a\n", "b")]),
        ({"question": "q", "answer": "w\n#### 1"}, [Trace("q\n", "w\n#### 1")]),
        ({"question": "q", "answer": "1"}, [Trace("q\n", "1")]),
        ({"problem": "q", "solution": "w", "answer": "1"}, [Trace("q\n", "w\n#### 1")]),
        (
            {"prompt": CHAT[:2], "answer": "1", "generations": ["x", "y\n#### 1"]},
            [Trace("a\n", "x\n#### 1", (), "S"), Trace("a\n", "y\n#### 1", (), "S")],
        ),
    ],
)
def test_traces_of_one_record(record: Any, traces: list[Trace]) -> None:
    assert traces_of(record, "all") == traces
    assert traces_of(record, "last") == (traces[-1:] if "generations" not in record else traces)


PROMPT, BETTER, WORSE = CHAT[:4], [CHAT[-1]], [{"role": "assistant", "content": "e"}]
RANKED = RankedPair("c\n", "d", "e", (("a\n", "b"),), "S")


@pytest.mark.parametrize(
    ("record", "pair"),
    [
        ({"prompt": "p", "chosen": "[1, 2]", "rejected": "{}"}, RankedPair("p", "[1, 2]", "{}")),
        ({"prompt": PROMPT, "chosen": BETTER, "rejected": WORSE}, RANKED),
        ({"prompt": PROMPT, "chosen": "d", "rejected": WORSE[0]}, RANKED),
        ({"chosen": PROMPT + BETTER, "rejected": PROMPT + WORSE}, RANKED),
        ({"prompt": "c", "chosen": PROMPT + BETTER, "rejected": PROMPT + WORSE}, RANKED),
        ({"prompt": "p", "chosen": BETTER, "rejected": WORSE}, RankedPair("p\n", "d", "e")),
    ],
)
def test_the_pair_of_one_record(record: Any, pair: RankedPair) -> None:
    assert pair_of(record) == pair
    assert pair.task == ("a\n" if pair.turns else pair.prompt)


def says(role: str, content: Any = "x", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([says("assistant")], "message 1 of 'messages' is the assistant's, before any of a user"),
        ([says("system"), says("assistant")], "message 2 of 'messages' is the assistant's, before any"),
        ([says("user"), says("system")], "message 2 of 'messages' is the system's, after the conversation"),
        ([says("system")], "'messages' has no message of a user"),
        ([says("user")], "the conversation has no message of the assistant"),
        (
            [says("user"), says("tool")],
            "message 2 of 'messages' has the role 'tool'; those that are read are",
        ),
        ([says("user"), says("assistant", " ")], "message 2 of 'messages' (assistant) is empty"),
        ([says("user"), says("assistant", None, tool_calls=[{}])], "is empty: it calls tools, which are not"),
        ([says("user", [{"type": "image_url"}])], "message 1 of 'messages' is not text, but a list of 1 obj"),
        ([says("user", 7)], "message 1 of 'messages' is not text, but 7"),
        ([says("user"), "x"], "message 2 of 'messages' is not an object of role and content, but \"x\""),
        ([{"text": "x"}], "'messages' is not a list of messages (role, content), but a list of 1 objects"),
    ],
)
def test_a_conversation_that_cannot_be_learned_says_why(messages: Any, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        traces_of({"messages": messages})
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, "'chosen' and 'rejected' are the same"),
        ({"prompt": "p", "chosen": "a"}, "'rejected' is missing, empty or not a string (missing)"),
        ({"chosen": "a", "rejected": "b"}, "message 1 of 'prompt and chosen' is the assistant's, before any"),
        ({"chosen": CHAT[1:3], "rejected": CHAT[3:]}, "'chosen' and 'rejected' answer different prompts"),
        ({"prompt": "p", "chosen": CHAT, "rejected": CHAT}, "'prompt' is not what 'chosen' answers"),
        ({"chosen": CHAT[:2], "rejected": CHAT[:3]}, "'chosen' does not end with a message of the assistant"),
    ],
)
def test_a_pair_that_cannot_be_learned_says_why(record: Any, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        pair_of(record)
    assert reason in str(refused.value)


def test_a_prompt_is_not_the_assistants() -> None:
    with pytest.raises(Malformed, match="'prompt' ends with a message of the assistant"):
        traces_of({"prompt": CHAT[:3], "completion": "more"})


def test_few_bad_lines_are_named_counted_and_left_out(tmp_path: Path) -> None:
    path, notes = tmp_path / "t.jsonl", list[str]()
    good = {"prompt": "p", "completion": "c", "chosen": "a", "rejected": "b"}
    bad = ["{", "[1]", json.dumps(good)[:-1] + ",}", '{"prompt": []}', "5", "null", "{}"]
    path.write_text("\n".join([json.dumps(good)] * 8 + bad))
    for read in (lambda: read_traces(path, note=notes.append), lambda: read_pairs(path, notes.append)):
        with pytest.warns(UserWarning, match="left out") as caught:
            assert len(read()) == 8
        said = [str(w.message) for w in caught]
        assert [m.partition(": ")[0] for m in said[:-1]] == [f"{path}:{n}" for n in range(9, 14)]
        assert said[-1] == notes[-1]
        assert said[-1].startswith(f"{path}: 8 of 15 lines are used; left out: 7 that are not an object of ")
    path.write_text("\n".join([json.dumps(good)] * 7 + bad))
    with pytest.raises(DataError, match=r"\A[^\n]+:8: not JSON .*\(7 of its 14 lines cannot be used\)\Z"):
        read_traces(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b'{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n', ":2: not JSON"),
        (b'{"prompt": "a", "completion": "b"}\n\xff\xfe\n', ":2: not JSON"),
        (b'["a", "b"]', ":1: not an object of 'prompt' and 'completion', of 'messages', or of"),
        (b'{"prompt": "a"}', ":1: 'completion' is missing, and so are 'messages' or an answer (its columns:"),
        (b'{"prompt": "", "completion": "b"}', ":1: 'prompt' is missing"),
        (b'{"prompt": "a", "completion": 7}', ":1: 'completion' is missing, empty or not a string"),
        (b'{"prompt": "a", "completion": "b", "turns": ["x"]}', ":1: 'turns' is a list of pairs"),
    ],
)
def test_a_broken_file_names_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as error:
        read_traces(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_traces(tmp_path / "none.jsonl")
