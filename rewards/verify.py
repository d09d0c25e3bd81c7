"""`verify(answer, gold)`: one answer against one gold, of any kind, in any demanded form."""

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

from shuhari.rewards.compare import in_order, require_values, same
from shuhari.rewards.exact import rational
from shuhari.rewards.extract import extract
from shuhari.rewards.forms import FORMS, copies_prompt, violation
from shuhari.rewards.lexer import RESERVED, tokenize
from shuhari.rewards.node import (
    MAX_CHARS,
    MAX_DIGITS,
    STRUCTURES,
    Node,
    TooLarge,
    Undefined,
    Unparsable,
    operators,
    variables,
)
from shuhari.rewards.parser import parse
from shuhari.rewards.pool import WorkerFault
from shuhari.rewards.reading import as_interval, as_matrix, assigned, elements, words
from shuhari.rewards.scalar import Decision, GoldFault
from shuhari.rewards.verdict import Kind, Status, Verdict

KINDS: tuple[str, ...] = get_args(Kind)
MAX_COMPLETION = 200_000  # characters a completion may have around its answer
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_CHOICE = re.compile(r"\(?([A-Za-z])\)?[.:]?|\(?([A-Za-z])(?:\)|[.:])\s.*", re.DOTALL)
# A gold that may be an option, and an answer that can only be one: `B) 5 cm`, `\text{(B)}`.
_OPTION = re.compile(r"\(?[A-E]\)?")
_LABELLED = re.compile(r"\(?[A-E](?:\)|[.:])(?:\s.*)?|\([A-E]\)|[A-E]", re.DOTALL)
_STYLED = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox)\s*\{([^{}]*)\}")
# A name in capitals, such as SAS or May, is a word and no product of letters.
_NAME = re.compile("[A-Z][A-Za-z]{2,}")
_PROSE = re.compile(r"[A-Za-z][A-Za-z ,.;:'!?()-]*")
# Short words that would otherwise be read as products of letters.
_SHORT_WORDS = frozenset("yes no one two six ten all any day mon tue wed thu fri sat sun red".split())


@dataclass(frozen=True, slots=True)
class _Gold:
    text: str
    node: Node | None  # None where the answer is words or a letter
    kind: str


def verify(answer: str, gold: str, *, kind: str = "auto", form: str = "any", prompt: str = "") -> Verdict:
    """Judge `answer` (a whole completion, or just the answer in it) by `gold`.

    `kind` says what the gold is (auto reads it off), `form` how the answer must be written, and with the
    `prompt` given an answer that copies it is wrong. docs/verifier.md states the conventions. Never raises
    for any strings; a `kind` or `form` that does not exist is an `error`.
    """
    start = time.perf_counter()
    status, rung, reason = _verify(answer, gold, kind, form, prompt)
    return Verdict(status, reason, rung, (time.perf_counter() - start) * 1e3)


def _verify(answer: str, gold: str, kind: str, form: str, prompt: str) -> tuple[Status, str, str]:
    if kind not in KINDS or form not in FORMS:
        known, word = (KINDS, kind) if kind not in KINDS else (FORMS, form)
        return "error", "task", f"{word!r} is not one of {', '.join(known)}"
    try:
        truth = _gold(gold, kind)
    except (Unparsable, TooLarge, Undefined, GoldFault, RecursionError) as error:
        return "error", "gold", f"gold: {error}"
    except WorkerFault as fault:
        return "error", "worker", str(fault)
    except Exception as error:  # a fault of ours must not end somebody's run
        return "error", "verifier", f"{type(error).__name__}: {error}"
    try:
        if len(answer) > MAX_COMPLETION:
            raise TooLarge(f"a completion longer than {MAX_COMPLETION} characters")
        text = extract(answer)
        found, why = _judge(_plain(text), truth, form, prompt)
    except GoldFault as fault:
        return "error", "gold", str(fault)
    except TooLarge as error:
        return "wrong", "limit", str(error)
    except Unparsable as error:
        return "wrong", "parse", str(error)
    except Undefined as error:
        return "wrong", "value", str(error)
    except RecursionError:
        return "wrong", "limit", "nested too deeply"
    except WorkerFault as fault:
        if fault.exhausted:
            return "wrong", "limit", str(fault)
        return "error", "worker", str(fault)
    except Exception as error:  # a fault of ours must not end somebody's run
        return "error", "verifier", f"{type(error).__name__}: {error}"
    if why:
        return "wrong", "form", why
    if found.equal is None:
        return "unknown", found.rung, found.reason
    return ("correct" if found.equal else "wrong"), found.rung, found.reason


def _plain(text: str) -> str:
    """The text itself, if it can be judged at all."""
    if not text:
        raise Unparsable("empty")
    if len(text) > MAX_CHARS:
        raise TooLarge(f"an answer longer than {MAX_CHARS} characters")
    if not text.isascii():
        raise Unparsable("not ASCII")
    return text


@lru_cache(maxsize=4096)
def _gold(text: str, kind: str) -> _Gold:
    """The gold's tree, checked to have a value. Raises what is wrong with it."""
    text = _plain(extract(text))
    if text in RESERVED and kind != "text":
        raise Unparsable(f"{text} is a reserved word")
    if kind == "text":
        return _Gold(text, None, kind)
    if kind == "choice":
        _letter(text)
        return _Gold(text, None, kind)
    if kind == "auto" and (text.lower() in _SHORT_WORDS or _NAME.fullmatch(text)):
        return _Gold(text, None, "text")
    try:
        node = parse(text)
    except Unparsable as error:
        if kind == "auto" and _PROSE.fullmatch(text) and not _mentions_reserved(text):
            return _Gold(text, None, "text")
        raise error
    if kind == "auto" and (node.op == "text" or _is_prose(text)):
        return _Gold(text, None, "text")
    node = _of_kind(node, kind)
    require_values(node)
    return _Gold(text, node, kind)


def _is_prose(text: str) -> bool:
    """Whether there are words in it that mathematics does not know, and no number."""
    if not _PROSE.fullmatch(text):
        return False
    return any(token.kind == "text" and token.text not in ("and", "or") for token in tokenize(text))


def _mentions_reserved(text: str) -> bool:
    return any(word in RESERVED for word in re.findall("[A-Za-z]+", text))


def _of_kind(node: Node, kind: str) -> Node:
    """The node as the kind reads it. Raises Unparsable where it is none."""
    if kind == "auto":
        return node
    found = assigned(node)
    if kind in ("integer", "number", "expression"):
        whole = found[1] if found else node
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
    if found:
        node = found[1]
    if kind == "set":
        members = elements(node)
        return node if members is not None else Node("set", (node,))
    if kind == "tuple":
        if node.op == "list" and not any(item.op == "rel" for item in node.args):
            return Node("seq", ("(", ")", *node.args))
        if node.op != "seq":
            raise Unparsable("not a tuple")
        if any(item.op == "rel" for item in node.args[2:]):
            raise Unparsable("a tuple has values, not equations")
        return Node("seq", ("(", ")", *node.args[2:]))
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


def _letter(text: str) -> str:
    """The option a multiple-choice answer names."""
    bare = _STYLED.sub(r"\1", text).strip(" $.{}*")
    found = _CHOICE.fullmatch(bare)
    if not found or re.search(r"\s\(?[A-Z](?:\)|[.:])(?:\s|\Z)", bare):
        raise Unparsable("not one option's letter")
    return (found.group(1) or found.group(2)).upper()


def _judge(text: str, truth: _Gold, form: str, prompt: str) -> tuple[Decision, str]:
    """The decision, and what is wrong with the form of an equal answer."""
    if truth.kind == "choice":
        equal = _letter(text) == _letter(truth.text)
        return Decision(equal, "text", "" if equal else "another option"), ""
    if truth.kind == "text" or truth.node is None:
        equal = _words(text) == _words(truth.text)
        return Decision(equal, "text", "" if equal else "other words"), ""
    if form == "any" and not prompt and _INTEGER.fullmatch(text) and _INTEGER.fullmatch(truth.text):
        if len(text) > MAX_DIGITS:
            raise TooLarge(f"a literal of more than {MAX_DIGITS} digits")
        equal = int(text) == int(truth.text)
        return Decision(equal, "rational", "" if equal else "another value"), ""
    if prompt and copies_prompt(text, truth.text, prompt):
        return Decision(True, "form"), "it copies the prompt"
    if text == truth.text and form == "any":
        return Decision(True, "text"), ""
    labelled = _LABELLED.fullmatch(_STYLED.sub(r"\1", text))
    if truth.kind == "auto" and _OPTION.fullmatch(truth.text) and labelled:
        equal = _letter(text) == _letter(truth.text)
        return Decision(equal, "text", "" if equal else "another option"), ""
    node = parse(text)
    written, node = node, _of_kind(node, truth.kind)
    if node.op in ("rel", "list", "set", "seq", "union", "matrix"):
        require_values(node)
    ordered = truth.kind == "tuple"
    found = in_order(node.args[2:], truth.node.args[2:]) if ordered else same(node, truth.node)
    why = violation(written, form, truth.node) if found.equal else ""
    if found.equal is False and not found.reason:
        found = Decision(False, found.rung, "another value")
    return found, why


def _words(text: str) -> str:
    bare = _STYLED.sub(r"\1", text)
    return words(bare.replace("\\ ", " ").replace("~", " "))
