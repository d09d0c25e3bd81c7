"""JSON of other people: read it, or say what is wrong with it."""

import json
import re
import shlex
from typing import Any

from shuhari.envs.files.errors import Malformed

_LAST_COMMA = re.compile(rb",(\s*[}\]])")


def parse_json(text: bytes) -> Any:
    """The value of a line, or of a whole file. Raises Malformed with the reason if it is not JSON."""
    try:
        return json.loads(text)
    except UnicodeDecodeError as error:
        column = error.start - text.rfind(b"\n", 0, error.start)
        found = f"not JSON: byte {text[error.start]:#04x} at column {column} is not UTF-8"
        raise Malformed(found, "iconv -f LATIN1 -t UTF-8 {file}") from None
    except RecursionError:
        raise Malformed("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = f"not JSON ({error.msg}, column {error.colno})"
    line = text.strip()
    if is_json(line.removesuffix(b",")):
        raise Malformed("not JSON: a comma after the object; take it away", "sed 's/,[[:space:]]*$//' {file}")
    if is_json(_LAST_COMMA.sub(rb"\1", line)):
        raise Malformed("not JSON: a comma before a closing bracket; take it away")
    if re.match(rb"\{\s*'", line):
        code = "import ast,json,sys; [print(json.dumps(ast.literal_eval(l))) for l in sys.stdin if l.strip()]"
        found = "not JSON: single quotes, as Python prints; JSON has double ones"
        raise Malformed(found, f"python3 -c {shlex.quote(code)} < {{file}}")
    raise Malformed(reason)


def error_line(text: bytes) -> int:
    """The number of the line, from 1, where a text stops being JSON."""
    try:
        json.loads(text)
    except UnicodeDecodeError as error:
        return text.count(b"\n", 0, error.start) + 1
    except json.JSONDecodeError as error:
        return error.lineno
    except RecursionError:
        pass
    return 1


def is_json(text: bytes) -> bool:
    """Whether the text is one value of JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def json_kind(value: Any) -> str:
    """A value in a few words, such as `a list of 2 objects`."""
    if isinstance(value, dict):
        return f"an object of {', '.join(map(repr, list(value)[:4])) or 'nothing'}"
    if isinstance(value, list):
        inner = "objects" if value and isinstance(value[0], dict) else "values"
        return f"a list of {len(value)} {inner}"
    return "missing" if value is None else f"{json.dumps(value, default=str)[:40]}"


def nested(value: Any) -> Any:
    """The object or list that a text holds as JSON, as cells of CSV may; any other value as it is.

    A list of numbers is text, such as an answer.
    """
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return (
            found
            if isinstance(found, dict) or any(isinstance(x, str | dict | list) for x in found)
            else value
        )
    return value
