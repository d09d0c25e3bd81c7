"""Find question, answer, worked answers and instructions in one record, whatever its columns are called."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from shuhari.envs.files.columns import required, value_at, written
from shuhari.envs.files.conversation import COLUMNS as TALKS
from shuhari.envs.files.conversation import (
    Conversation,
    answer_text,
    conversation_in,
    is_messages,
    messages_in,
    read_conversation,
    role_and_text,
)
from shuhari.envs.files.errors import Malformed
from shuhari.envs.files.json_text import json_kind, nested
from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.node import Unparsable

# Columns by their usual names. `solution` comes last, because it may be the work beside an answer.
QUESTION, ANSWER = ("question", "problem", "prompt"), ("answer", "gold", "solution")
# Names of nested columns, by which `columns` is suggested.
ASKED = (*QUESTION, "user", "instruction", "query", "input")
GOLD = (
    "ground_truth",
    *ANSWER,
    "final_answer",
    "expected_answer",
    "target",
    "output",
    "response",
    "completion",
    "label",
)
_MARK = re.compile(r"\\f?boxed\b|<answer>|^####", re.MULTILINE | re.IGNORECASE)
_USUAL: Mapping[str, str] = {}


class Question(NamedTuple):
    """A question with its answer.

    answer: the gold, perhaps at the end of its work
    traces: worked answers, to imitate
    instructions: the system's, if the record has its own
    where: its place in a file, "FILE:LINE", or ""
    """

    question: str
    answer: str
    traces: tuple[str, ...] = ()
    instructions: str | None = None
    where: str = ""


def question_of(record: Any, columns: Mapping[str, str] = _USUAL) -> Question:
    """The question of one record. Raises Malformed with the reason if it has none, or no answer.

    columns: the paths of "question", "answer", "trace" and "instructions" that have not the usual names
    """
    if not isinstance(record, dict):
        raise Malformed(f"not an object with a question and an answer, but {json_kind(record)}")
    name, asked = _first(record, columns, "question", QUESTION)
    gold_name, gold = _first(record, columns, "answer", ANSWER)
    works = _named_works(record, columns)
    asks = _one_turn(read_conversation(asked, name), repr(name)) if is_messages(asked) else None
    # A list of messages beside all that is asked for says nothing more.
    talk = None if asked is not None and gold is not None and works else conversation_in(record)
    talk = talk and _one_turn(talk, "its list of messages")
    if asks is not None:
        question = asks.question
    elif asked is not None:
        question = _text(name, asked)
        if talk and not _about(question, talk):
            raise Malformed(
                "its list of messages answers another question than its own",
                advice=f"say where its work is: {written({**columns, 'trace': 'COLUMN'})}",
            )
    elif talk is not None:
        question = talk.question
    else:
        raise _nothing("question", QUESTION, record, columns)
    said = next((c.answer for c in (asks, talk) if c is not None and c.answer), "")
    if gold is None and not said:
        raise _nothing("answer", ANSWER, record, columns)
    answer = said if gold is None else _text(gold_name, gold)
    if isinstance(own := record.get("trace"), str) and own and "trace" not in columns:
        traces: tuple[str, ...] = (own,)
    elif works or said or _solution(record):
        traces = tuple(_with_answer(work, answer) for work in works or [said or _solution(record)])
    else:
        traces = (answer,) if "\n#### " in answer or "\\boxed" in answer else ()
    return Question(question, answer, traces, _instructions(record, columns, asks, talk))


def _one_turn(talk: Conversation, where: str) -> Conversation:
    """The conversation, which must be of one question. Raises Malformed."""
    if len(talk.turns) > 1:
        found = f"{where} has {len(talk.turns)} turns of the user, and a question is one"
        raise Malformed(found, advice="phases.imitate.traces=FILE takes every turn")
    return talk


def _first(record: dict[str, Any], columns: Mapping[str, str], name: str, usual: tuple[str, ...]) -> Any:
    """The column of a part and its value; None if there is none of the usual names."""
    if name in columns:
        value = required(record, columns[name])
        if value is None or value == "":
            raise Malformed(f"{columns[name]!r} is {'empty' if value == '' else 'null'}")
        return columns[name], messages_in(value)
    key = next((key for key in usual if record.get(key) not in (None, "", [])), "")
    return key, messages_in(record[key]) if key else None


def _named_works(record: dict[str, Any], columns: Mapping[str, str]) -> list[str]:
    """Worked answers by the column `trace`, or those of the column `generations`."""
    if "trace" in columns:
        return _works(columns["trace"], value_at(record, columns["trace"]))
    if isinstance(trace := record.get("trace"), str) and trace:
        return [trace]
    works = nested(record.get("generations"))
    if not isinstance(works, list) or not all(isinstance(work, str) for work in works):
        return []
    # Such as `correctness_math_verify`, a list with true and false for each.
    marks = [
        v
        for k, v in record.items()
        if k.startswith("correct") and isinstance(v, list) and len(v) == len(works)
    ]
    right = [any(mark[i] is True for mark in marks) or not marks for i in range(len(works))]
    return [work for work, is_right in zip(works, right, strict=True) if is_right and work.strip()]


def _works(name: str, value: Any) -> list[str]:
    """The worked answers in a value: a text, several, or messages."""
    value = nested(value)
    if value is None or value == "":
        return []
    if isinstance(value, list) and all(isinstance(work, str) for work in value):
        return [work for work in value if work.strip()]
    return [answer_text(value, name)]


def _instructions(
    record: dict[str, Any], columns: Mapping[str, str], *talks: Conversation | None
) -> str | None:
    if "instructions" in columns:
        value = value_at(record, columns["instructions"])
        return None if value is None else _text(columns["instructions"], value)
    return next((talk.instructions for talk in talks if talk and talk.instructions is not None), None)


def _about(question: str, talk: Conversation) -> bool:
    """Whether a conversation is about the question: it may add words to it, such as how to answer."""
    one, other = " ".join(question.split()), " ".join(talk.question.split())
    return one in other or other in one


def _solution(record: dict[str, Any]) -> str:
    work = record.get("solution")
    return work if isinstance(work, str) else ""


def _with_answer(work: str, answer: str) -> str:
    """Work that ends with the answer, where the verifier finds it."""
    if work == answer or _MARK.search(work):
        return work
    try:
        return f"{work}\n#### {extract(answer) if _MARK.search(answer) else answer}"
    except Unparsable:
        return f"{work}\n#### {answer}"


def _text(name: str, value: Any) -> str:
    """A text or a number, also as the only one of a list."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Malformed(f"{name!r} is not a string, but {json_kind(value)}")
    return value


def _nothing(
    name: str, usual: tuple[str, ...], record: dict[str, Any], columns: Mapping[str, str]
) -> Malformed:
    """What is said of a record without a question, or without an answer."""
    known = ", ".join(map(repr, record)) or "none"
    if suggested := suggest_columns(record, columns):
        advice = f"give {written(suggested)}"
    else:
        advice = f"name them question, answer and trace, or give {written({**columns, name: 'COLUMN'})}"
    return Malformed(f"no {' or '.join(map(repr, usual))} among its columns ({known[:200]})", advice=advice)


def suggest_columns(record: dict[str, Any], columns: Mapping[str, str] = _USUAL) -> dict[str, str]:
    """The `columns` that find a question and an answer in such records, or {}."""
    leaves = sorted(_leaves(record), key=lambda leaf: leaf[1].count("."))  # texts at the top level first
    found = dict(columns)

    def find(name: str, usual: tuple[str, ...], sought: tuple[str, ...]) -> None:
        if name not in found and not any(record.get(key) for key in usual):
            path = next((path for key in sought for leaf, path, _ in leaves if leaf == key), "")
            found.update({name: path} if path else {})

    find("question", (*QUESTION, *TALKS), ASKED)
    find("answer", ANSWER, GOLD)
    if found == columns:
        return {}
    worked = next((path for _, path, text in leaves if _MARK.search(text) and path not in found.values()), "")
    if (
        worked
        and "trace" not in found
        and not any(record.get(key) for key in ("trace", "generations", *TALKS))
    ):
        found["trace"] = worked
    return {name: found[name] for name in ("question", "answer", "trace", "instructions") if name in found}


def _leaves(value: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str, str]]:
    """Every text in a record: its key or the speaker's role, its path, the text itself."""
    value = nested(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield name.lower(), path, str(value)
    elif isinstance(value, list):
        # Other objects in a list may be several questions.
        if is_messages(value) or all(isinstance(inner, str | int | float) for inner in value):
            for i, inner in enumerate(value):
                yield from _leaves(inner, f"{path}.{i}", name)
    elif isinstance(value, dict):
        said = next((key for key in ("content", "value") if isinstance(value.get(key), str)), "")
        if said and is_messages([value]):
            yield role_and_text(value)[0], f"{path}.{said}", value[said]
        for key, inner in value.items() if not said else ():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key), str(key))
