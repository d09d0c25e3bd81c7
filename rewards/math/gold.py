"""The gold answer: parsed as its kind, and known to have a value before any answer is compared with it."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.lexer import tokenize
from shuhari.rewards.math.node import (
    MAX_CHARS,
    STRUCTURES,
    Node,
    TooLarge,
    Undefined,
    Unparsable,
    operators,
    variables,
)
from shuhari.rewards.math.normalize_text import STYLES, ascii_mathematics, is_readable
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.rational import rational
from shuhari.rewards.math.same_answer import require_values
from shuhari.rewards.math.tree_views import as_assignment, as_interval, as_matrix, as_members
from shuhari.rewards.math.vocabulary import RESERVED

CLOCK_TIME = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?")
STYLED_TEXT = re.compile(rf"\\(?:{STYLES})\s*\{{([^{{}}]*)\}}")
_CHOICE = re.compile(r"\(?([A-Za-z])\)?[.:]?|\(?([A-Za-z])(?:\)|[.:])\s.*", re.DOTALL)
_SECOND_OPTION = re.compile(
    r"\s\(?[A-Z](?:\)|[.:])(?:\s|\Z)|\A\(?[A-Za-z]\)?[.:]?\s*(?:or|and|&|/|,)\s*\(?[A-Z]\b"
)
# A name with a capital letter, such as SAS or May, is a word and not a product of letters.
_NAME = re.compile("[A-Z][A-Za-z]{2,}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}")
_PROSE = re.compile(r"[A-Za-z][A-Za-z ,.;:'!?()-]*")
# Short words that the parser would otherwise read as products of letters.
_SHORT_WORDS = frozenset("yes no one two six ten all any day mon tue wed thu fri sat sun red".split())


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer. `kind` is the kind asked for, or `text`, or `unread`: only the same text equals that."""

    text: str
    node: Node | None  # None if the answer is words, an option's letter, or unread
    kind: str
    fault: str = ""  # why it is unread


class Reading(NamedTuple):
    """How to read text that can be read in two ways: `f(x)`, `5 m` and `5 cm`; see `parse`."""

    functions: bool = True
    metres: bool = True
    units: bool = True

    def tree(self, text: str) -> Node:
        """The tree of a text."""
        return parse(text, *self)


def answer_text(completion: str) -> str:
    """The answer in a completion, in ASCII mathematics. Raises Unparsable or TooLarge."""
    text = extract(completion)
    if not text:
        raise Unparsable("empty")
    if len(text) > MAX_CHARS:
        raise TooLarge(f"an answer longer than {MAX_CHARS} characters")
    return ascii_mathematics(text)


@lru_cache(maxsize=4096)
def read_gold(completion: str, kind: str, reading: Reading) -> Gold:
    """The gold. Raises Unparsable, TooLarge or Undefined if it cannot be read or has no value."""
    text = answer_text(completion)
    if text in RESERVED and kind != "text":
        raise Unparsable(f"{text} is a reserved word")
    if kind == "text":
        return Gold(text, None, kind)
    if kind == "choice":
        option_letter(text)
        return Gold(text, None, kind)
    if kind == "auto" and (text.lower() in _SHORT_WORDS or _NAME.fullmatch(text) or _DATE.fullmatch(text)):
        return Gold(text, None, "text")
    try:
        node = reading.tree(text)
    except (Unparsable, TooLarge) as error:
        if kind == "auto" and _PROSE.fullmatch(text) and not _contains_reserved_word(text):
            return Gold(text, None, "text")
        if not is_readable(text) or _contains_reserved_word(text):
            raise error
        return Gold(text, None, "unread", str(error))
    if kind == "auto" and (node.op == "text" or _is_prose(text)):
        return Gold(text, None, "text")
    node = as_kind(node, kind)
    try:
        require_values(node)
    except (TooLarge, Undefined) as error:
        if isinstance(error, Undefined) and not CLOCK_TIME.fullmatch(text):
            raise
        return Gold(text, None, "unread", str(error))
    return Gold(text, node, kind)


def _is_prose(text: str) -> bool:
    """Whether the text has no digit, and contains a word that is not mathematics."""
    if not _PROSE.fullmatch(text):
        return False
    return any(token.kind == "text" and token.text not in ("and", "or") for token in tokenize(text))


def _contains_reserved_word(text: str) -> bool:
    return any(word in RESERVED for word in re.findall("[A-Za-z]+", text))


def as_kind(node: Node, kind: str) -> Node:
    """The node read as the given kind, for instance a list as a set. Raises Unparsable if it is not of it."""
    if kind == "auto":
        return node
    assignment = as_assignment(node)
    if kind in ("integer", "number", "expression"):
        whole = assignment[1] if assignment else node
        value = whole.args[0] if whole.op == "unit" else whole
        if operators(value) & STRUCTURES:
            raise Unparsable(f"not one {kind}")
        if kind != "expression" and variables(value):
            raise Unparsable(f"not a {kind}: a variable is left")
        if kind == "integer":
            exact = rational(value.args[0] if value.op == "deg" else value)
            if exact is not None and exact.denominator != 1:
                raise Unparsable("not an integer")
        return whole
    if kind == "equation":
        if node.op not in ("rel", "list") or (
            node.op == "list" and any(item.op != "rel" for item in node.args)
        ):
            raise Unparsable("not an equation")
        return node
    if assignment:
        node = assignment[1]
    if kind == "set":
        members = as_members(node)
        return node if members is not None else Node("set", (node,))
    if kind == "tuple":
        return _as_tuple(node)
    if kind == "interval":
        interval = as_interval(node) or node
        if interval.op not in ("seq", "union", "set"):
            raise Unparsable("not an interval")
        if interval.op == "seq" and len(interval.args) != 4:
            raise Unparsable("an interval has two ends")
        return interval
    matrix = as_matrix(node)
    if matrix is None:
        raise Unparsable("not a matrix")
    return matrix


def _as_tuple(node: Node) -> Node:
    if node.op == "list" and not any(item.op == "rel" for item in node.args):
        return Node("seq", ("(", ")", *node.args))
    if node.op != "seq":
        raise Unparsable("not a tuple")
    if any(item.op == "rel" for item in node.args[2:]):
        raise Unparsable("a tuple has values, not equations")
    return Node("seq", ("(", ")", *node.args[2:]))


def option_letter(text: str) -> str:
    """The letter of the option that a multiple-choice answer names. Raises Unparsable if it is not one."""
    plain = STYLED_TEXT.sub(r"\1", text).strip(" $.{}*")
    found = _CHOICE.fullmatch(plain)
    if not found or _SECOND_OPTION.search(plain):
        raise Unparsable("not one option's letter")
    return (found.group(1) or found.group(2)).upper()
