"""The traces, or the ranked pair, in one record.

A trace is `prompt` and `completion`, a list of `messages`, or a question with a worked answer. A pair is
`prompt`, `chosen` and `rejected`. Each of these may be text or messages. Texts are taken as they are; but a
user's turn in a conversation ends with a line break, as the questions of data sets do.
"""

from typing import Any

from shuhari.envs.files.conversation import (
    ASSISTANT,
    USER,
    Conversation,
    as_message,
    conversation_in,
    is_messages,
    messages_in,
    read_conversation,
    role_and_text,
)
from shuhari.envs.files.errors import Malformed
from shuhari.envs.files.json_text import json_kind, nested
from shuhari.envs.files.question_record import ANSWER, QUESTION, question_of
from shuhari.envs.types import RankedPair, Trace

TURNS = ("all", "last")


def traces_of(record: dict[str, Any], which: str = "all") -> list[Trace]:
    """The traces of a record. Raises Malformed with the reason if there is none.

    which: "all" turns of the assistant that a conversation has, or the "last"
    """
    if record.get("completion") is not None:
        return _prompted(record, which)
    if (talk := conversation_in(record)) is not None:
        return _of_conversation(talk, which)
    if not record.keys() & {*QUESTION} or not record.keys() & {*ANSWER, "generations"}:
        columns = ", ".join(map(repr, record)) or "none"
        raise Malformed(
            f"'completion' is missing, and so are 'messages' or an answer (its columns: {columns[:200]})"
        )
    found = question_of(record)
    works = found.traces or (found.answer,)
    return [Trace(_line(found.question), work, instructions=found.instructions) for work in works]


def pair_of(record: dict[str, Any]) -> RankedPair:
    """The ranked pair of a record. Raises Malformed with the reason if there is none."""
    prompt, *sides = (messages_in(record.get(key)) for key in ("prompt", "chosen", "rejected"))
    if all(isinstance(value, str) for value in (prompt, *sides)):
        pair = RankedPair(_given(record, "prompt"), _given(record, "chosen"), _given(record, "rejected"))
    else:
        talks = [
            _side(record, prompt, side, key) for side, key in zip(sides, ("chosen", "rejected"), strict=True)
        ]
        asked = [(talk.instructions, talk.turns[:-1], talk.question) for talk in talks]
        if asked[0] != asked[1]:
            raise Malformed("'chosen' and 'rejected' answer different prompts")
        prompts = [_line(talk.question) for talk in talks]
        turns = tuple((_line(said), answer) for said, answer in talks[0].turns[:-1])
        pair = RankedPair(prompts[0], talks[0].answer, talks[1].answer, turns, talks[0].instructions)
    if pair.chosen == pair.rejected:
        raise Malformed("'chosen' and 'rejected' are the same")
    return pair


def _prompted(record: dict[str, Any], which: str) -> list[Trace]:
    """The traces of a prompt and its completion, of which messages in the completion only are learned."""
    prompt, completion = messages_in(record.get("prompt")), messages_in(record["completion"])
    if isinstance(prompt, str) and isinstance(completion, str):
        turns = nested(record.get("turns") or [])
        pairs = isinstance(turns, list) and all(isinstance(t, list) and len(t) == 2 for t in turns)
        if not pairs or not all(isinstance(text, str) for turn in turns for text in turn):
            raise Malformed("'turns' is a list of pairs, [observation, completion]")
        return [
            Trace(_given(record, "prompt"), _given(record, "completion"), tuple((o, c) for o, c in turns))
        ]
    before = _messages(record, "prompt", USER)
    asked = read_conversation(before, "prompt")
    if asked.answer:
        raise Malformed("'prompt' ends with a message of the assistant, which its completion would follow")
    talk = read_conversation(before + _messages(record, "completion", ASSISTANT), "prompt and completion")
    return _of_conversation(talk, which, len(asked.turns) - 1)


def _of_conversation(talk: Conversation, which: str, first: int = 0) -> list[Trace]:
    """A trace of each of the assistant's turns from the turn `first` on, or of the last one."""
    turns = tuple((_line(said), answer) for said, answer in talk.turns)
    found = [
        Trace(said, answer, turns[:i], talk.instructions)
        for i, (said, answer) in enumerate(turns)
        if answer and i >= first
    ]
    if not found:
        raise Malformed("the conversation has no message of the assistant")
    return found if which == "all" else found[-1:]


def _side(record: dict[str, Any], prompt: Any, side: Any, key: str) -> Conversation:
    """The conversation of one side of a pair. A side may hold the prompt too, or only the answer."""
    said = _messages(record, key, ASSISTANT)
    whole = role_and_text(said[0], f"message 1 of {key!r}")[0] != ASSISTANT
    before = [] if whole or prompt is None else _messages(record, "prompt", USER)
    talk = read_conversation(before + said, key if whole else f"prompt and {key}")
    if not talk.answer:
        raise Malformed(f"{key!r} does not end with a message of the assistant")
    if whole and isinstance(prompt, str) and prompt.strip() != talk.question.strip():
        raise Malformed(f"'prompt' is not what {key!r} answers")
    return talk


def _messages(record: dict[str, Any], key: str, role: str) -> list[Any]:
    """The messages of a column; a text is one message of that role."""
    value = messages_in(record.get(key))
    if isinstance(value, dict):
        value = [value]
    if is_messages(value):
        return list(value)
    return [as_message(role, _given(record, key))]


def _given(record: dict[str, Any], key: str) -> str:
    """A text that is not empty. Raises Malformed."""
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{key!r} is missing, empty or not a string ({json_kind(value)})")
    return value


def _line(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"
