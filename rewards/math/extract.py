"""Extract the answer from a completion: what the last box or tag holds, or else the whole text.

Text inside thinking blocks is ignored. The rest of the text is never searched for something like an answer.
"""

import re

from shuhari.rewards.math.node import Unparsable

_THINKING = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_MARK = re.compile(r"\\(?:f?boxed|fbox)\b\s*(\{)?|<answer>|^####", re.MULTILINE | re.IGNORECASE)
_ANSWER_END = re.compile("</answer>", re.IGNORECASE)
_CURRENCY = re.compile(r"\\?\$\s?([0-9][0-9,]*(?:\.[0-9]+)?)")
_HEADING = re.compile(r" *[A-Za-z]{4,}[A-Za-z :]*$", re.MULTILINE)
_BLANK = " \t\r\n"  # ASCII only: str.strip() would also strip other scripts' spaces
_ESCAPED = re.compile(r"\\.|[{}]", re.DOTALL)


def without_thinking(text: str) -> str:
    """The text outside thinking blocks. A block that is never closed hides the rest of the text."""
    kept, depth, start = "", 0, 0
    for tag in _THINKING.finditer(text):
        if tag.group(1):
            # A closing tag without an opening one, which was in the prompt, hides all text before it.
            kept = "" if depth == 0 else kept
            depth, start = max(0, depth - 1), tag.end()
        else:
            kept += text[start : tag.start()] if depth == 0 else ""
            depth += 1
    return kept + text[start:] if depth == 0 else kept


def extract(text: str) -> str:
    """The text of the answer. Raises Unparsable if a box or tag is empty or never closed."""
    text = without_thinking(text)
    marks = list(_MARK.finditer(text))
    if not marks:
        return trim(text)
    # `#### Explanation` is a heading and not an answer, if there is another mark.
    answers = [m for m in marks if m.group() != "####" or not _HEADING.match(text, m.end())]
    last = (answers or marks)[-1]
    mark, rest = last.group().lower(), text[last.end() :]
    if mark.startswith("####"):
        answer = rest.split("\n", 1)[0]
    elif mark == "<answer>":
        end = _ANSWER_END.search(rest)
        if not end:
            raise Unparsable("an <answer> is never closed")
        answer = rest[: end.start()]
    elif last.group(1):
        answer = rest[: _closing(rest)]
    else:
        answer = rest[:1]  # in TeX, \boxed 5 has one character in its box
    if not answer.strip(_BLANK):
        raise Unparsable("an empty box or tag")
    return trim(answer)


def _closing(text: str) -> int:
    """The place of the brace that closes the one opened before the text."""
    depth = 1
    for found in _ESCAPED.finditer(text):
        piece = found.group()
        depth += (piece == "{") - (piece == "}")
        if depth == 0:
            return found.start()
    raise Unparsable("a box is never closed")


def trim(text: str) -> str:
    """The text without spaces, dollar signs, display brackets, bold marks and a full stop around it."""
    text = text.strip(_BLANK)
    if money := _CURRENCY.fullmatch(text):
        return f"{money.group(1)}\\text{{ dollars}}"
    for _ in range(8):
        before = text
        text = text.removesuffix(".").rstrip(_BLANK) if not text.endswith("..") else text
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
            inner = text[len(left) : len(text) - len(right)]
            if text.startswith(left) and text.endswith(right) and len(text) > len(left + right):
                if left not in inner and right not in inner:
                    text = inner.strip(_BLANK)
                break
        if text == before:
            break
    return text
