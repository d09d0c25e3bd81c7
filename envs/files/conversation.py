"""Lists of messages, as chats are stored: `{"role": ..., "content": ...}`, or `{"from": ..., "value": ...}`.

Formats: OpenAI's and TRL's `messages`, ShareGPT's `conversations`.
"""

from typing import Any, NamedTuple

from shuhari.envs.files.errors import Malformed
from shuhari.envs.files.json_text import json_kind, nested

COLUMNS = ("messages", "conversations", "conversation")
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = {SYSTEM: SYSTEM, "developer": SYSTEM, USER: USER, "human": USER, "prompter": USER}
ROLES |= dict.fromkeys((ASSISTANT, "gpt", "chatgpt", "model", "bot"), ASSISTANT)


class Conversation(NamedTuple):
    """A user's turns and the assistant's answers to them; the last answer is "" if there is none yet."""

    turns: tuple[tuple[str, str], ...]
    instructions: str | None = None  # the system's

    @property
    def question(self) -> str:
        """The last turn of the user."""
        return self.turns[-1][0]

    @property
    def answer(self) -> str:
        """The answer to it, or ""."""
        return self.turns[-1][1]


def is_messages(value: Any) -> bool:
    """Whether a value is a list of messages, by its first entry."""
    return bool(isinstance(value, list) and value and isinstance(value[0], dict) and _role(value[0]))


def messages_in(value: Any) -> Any:
    """The list of messages in a value, also where it is JSON in a text; any other value as it is."""
    found = nested(value)
    return found if is_messages(found) else value


def as_message(role: str, text: str) -> dict[str, str]:
    """A message of that role."""
    return {"role": role, "content": text}


def read_conversation(messages: Any, name: str) -> Conversation:
    """The conversation in a list of messages. Messages of one role that follow one another are joined.

    name: the column, for what is said
    Raises Malformed with the reason: another role, an empty message, a beginning without a user's turn.
    """
    if not is_messages(messages):
        raise Malformed(f"{name!r} is not a list of messages (role, content), but {json_kind(messages)}")
    said: list[tuple[str, str]] = []
    for number, message in enumerate(messages, 1):
        where = f"message {number} of {name!r}"
        role, text = role_and_text(message, where)
        if said and said[-1][0] == role:
            said[-1] = role, f"{said[-1][1]}\n\n{text}"
            continue
        if role == SYSTEM and said:
            raise Malformed(f"{where} is the system's, after the conversation has begun")
        if role == ASSISTANT and (not said or said[-1][0] == SYSTEM):
            raise Malformed(f"{where} is the assistant's, before any of a user")
        said.append((role, text))
    instructions = said.pop(0)[1] if said[0][0] == SYSTEM else None
    if not said:
        raise Malformed(f"{name!r} has no message of a user")
    texts = [text for _, text in said] + [""] * (len(said) % 2)  # a user and the assistant take turns
    return Conversation(tuple(zip(texts[::2], texts[1::2], strict=True)), instructions)


def conversation_in(record: dict[str, Any]) -> Conversation | None:
    """The conversation in a record's column of messages, if there is one. Raises Malformed.

    A column `system` beside it is the system's turn, as in LLaMA-Factory.
    """
    name = next((key for key in COLUMNS if record.get(key)), "")
    if not name:
        return None
    talk, system = read_conversation(nested(record[name]), name), record.get("system")
    if talk.instructions is None and isinstance(system, str) and system:
        return talk._replace(instructions=system)
    return talk


def answer_text(value: Any, name: str) -> str:
    """What the assistant says in a text, a message, or a list of messages of which it has the last.

    name: the column, for what is said
    Raises Malformed with the reason.
    """
    if isinstance(value, str):
        return value
    messages = [value] if isinstance(value, dict) else value
    if not is_messages(messages):
        raise Malformed(f"{name!r} is neither text nor messages, but {json_kind(value)}")
    if role_and_text(messages[0])[0] == ASSISTANT:
        messages = [as_message(USER, "?"), *messages]
    if not (answer := read_conversation(messages, name).answer):
        raise Malformed(f"{name!r} has no message of the assistant at its end")
    return answer


def role_and_text(message: Any, where: str = "a message") -> tuple[str, str]:
    """Role (system, user or assistant) and text of one message. Raises Malformed for any other."""
    if not isinstance(message, dict) or not _role(message):
        raise Malformed(f"{where} is not an object of role and content, but {json_kind(message)}")
    role = ROLES.get(_role(message).lower())
    if role is None:
        known = f"{SYSTEM}, {USER} and {ASSISTANT}"
        raise Malformed(f"{where} has the role {_role(message)!r}; those that are read are {known}")
    content = message["content"] if "content" in message else message.get("value")
    text = _text(content)
    if text is None and content is not None:
        raise Malformed(f"{where} is not text, but {json_kind(content)}")
    if not text or not text.strip():
        calls = ": it calls tools, which are not trained" if message.get("tool_calls") else ""
        raise Malformed(f"{where} ({role}) is empty{calls}")
    return role, text


def _text(content: Any) -> str | None:
    """The text of a message's content, also of a list of parts; None if it holds something else."""
    if isinstance(content, list):
        texts = [
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        ]
        return "".join(texts) if len(texts) == len(content) else None
    return content if isinstance(content, str) else None


def _role(message: dict[str, Any]) -> str:
    role = message.get("role", message.get("from"))
    return role if isinstance(role, str) else ""
