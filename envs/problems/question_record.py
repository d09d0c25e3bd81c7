"""Find question, answer and trace in one record of a data set, whatever its columns are called."""

import json
import re
from collections.abc import Iterator
from typing import Any

from shuhari.envs.read_jsonl import Malformed, flatten_command, json_kind

QUESTION, ANSWER, TRACE = ("question", "problem", "prompt"), ("answer", "solution", "gold"), ("trace",)
TALKS = ("messages", "conversations", "generations")  # columns with lists that may hold a trace
_MARK = re.compile(r"\\f?boxed\b|<answer>|^####", re.MULTILINE | re.IGNORECASE)

Row = dict[str, str]  # question, answer, trace ("" if there is none)


def question_of(record: Any) -> Row:
    """Question, answer and trace of one record. Raises Malformed with the reason if it has none."""
    if not isinstance(record, dict):
        raise Malformed(f"not an object with a question and an answer, but {json_kind(record)}")
    trace = next((record[key] for key in TRACE if isinstance(record.get(key), str)), "")
    for key in TALKS if not trace else ():
        if isinstance(value := record.get(key), list) and value:
            raise Malformed(f"{key!r} is {json_kind(value)}: its texts would be ignored", _flatten(record))
    found = {name: _text(record, keys) for name, keys in (("question", QUESTION), ("answer", ANSWER))}
    work = record.get("solution")
    if not trace and isinstance(work, str) and work:
        trace = work if _MARK.search(work) else f"{work}\n#### {found['answer']}"
    if not trace and ("\n#### " in found["answer"] or "\\boxed" in found["answer"]):
        trace = found["answer"]
    return found | {"trace": trace}


def _text(record: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The first of these columns that is not empty. `solution` comes last, because it may be the work."""
    order = sorted(keys, key="solution".__eq__)
    key = next((key for key in order if record.get(key) not in (None, "")), None)
    if key is None:
        columns = ", ".join(map(repr, record)) or "none"
        names = "; name them question, answer and trace" if not (command := _flatten(record)) else ""
        raise Malformed(
            f"no {' or '.join(map(repr, keys))} among its columns ({columns[:200]}){names}", command
        )
    value = record[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Malformed(f"{key!r} is not a string, but {json_kind(value)}", _flatten(record))
    return value


def _leaves(value: Any, path: str = "r", name: str = "") -> Iterator[tuple[str, str, str]]:
    """Every text in a record: its key or the speaker's role, the Python expression that gets it, the text.

    Lists are searched for texts and messages only, because other objects may be several questions.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield name.lower(), path, str(value)
    elif isinstance(value, dict):
        said = next((key for key in ("content", "value") if isinstance(value.get(key), str)), None)
        if said is not None:
            yield str(value.get("role", value.get("from"))), f'{path}["{said}"]', value[said]
        for key, inner in value.items() if said is None else ():
            yield from _leaves(inner, f"{path}[{json.dumps(key)}]", key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if isinstance(inner, str) or (isinstance(inner, dict) and {"content", "value"} & inner.keys()):
                yield from _leaves(inner, f"{path}[{i}]", name)


def _flatten(record: dict[str, Any]) -> str:
    """A command that converts such records to question, answer and trace; "" if it finds none."""
    leaves = sorted(_leaves(record), key=lambda leaf: leaf[1].count("["))  # texts at the top level first

    def find(*names: str) -> str:
        return next((path for name in names for key, path, _ in leaves if key == name), "")

    said = next((path for key, path, _ in reversed(leaves) if key in ("assistant", "gpt")), "")
    on_top = next((path for key, path, _ in leaves if key in QUESTION and path.count("[") == 1), "")
    question = on_top or find("user", "human", *QUESTION, "instruction", "query", "input")
    gold = find("ground_truth", *ANSWER, "final_answer", "expected_answer", "target", "output", "response")
    answer = gold or said
    worked = [path for _, path, text in leaves if _MARK.search(text) and path not in (question, answer)]
    trace = find("generations") or said or find("solution") or next(iter(worked), "")
    if not question or not answer:
        return ""
    texts = {"question": question, "answer": answer} | ({"trace": trace} if trace not in ("", answer) else {})
    return flatten_command("{" + ", ".join(f'"{name}": {path}' for name, path in texts.items()) + "}")
