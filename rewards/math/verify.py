"""`verify(answer, gold)`: one answer against one gold, of any kind, in any demanded form."""

import re
import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, get_args

from shuhari.rewards.math.compare import in_order, require_values, same
from shuhari.rewards.math.exact import rational
from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.forms import FORMS, copies_prompt, violation
from shuhari.rewards.math.lexer import METRES, RESERVED, tokenize
from shuhari.rewards.math.node import (
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
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.reading import as_interval, as_matrix, assigned, elements, words
from shuhari.rewards.math.scalar import Decision, GoldFault
from shuhari.rewards.math.spelling import STYLES, ascii_mathematics, bare, is_readable
from shuhari.rewards.sandbox.worker_pool import WorkerFault
from shuhari.rewards.verdict import Kind, Status, Verdict

KINDS: tuple[str, ...] = get_args(Kind)
MAX_COMPLETION = 200_000  # characters a completion may have around its answer
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_CHOICE = re.compile(r"\(?([A-Za-z])\)?[.:]?|\(?([A-Za-z])(?:\)|[.:])\s.*", re.DOTALL)
# A gold that may be an option, and an answer that can only be one: `B) 5 cm`, `\text{(B)}`.
_OPTION = re.compile(r"\(?[A-E]\)?")
_LABELLED = re.compile(r"\(?[A-E](?:\)|[.:])(?:\s.*)?|\([A-E]\)|[A-E]", re.DOTALL)
_SECOND_OPTION = re.compile(
    r"\s\(?[A-Z](?:\)|[.:])(?:\s|\Z)|\A\(?[A-Za-z]\)?[.:]?\s*(?:or|and|&|/|,)\s*\(?[A-Z]\b"
)
_STYLED = re.compile(rf"\\(?:{STYLES})\s*\{{([^{{}}]*)\}}")
# A name in capitals, such as SAS or May, is a word and no product of letters.
_NAME = re.compile("[A-Z][A-Za-z]{2,}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}")
_LETTERS = re.compile(r"(?:[A-Za-z (){}\[\],;]|\\[{}])+")
_OTHER_WORD = "letters in another order: a product, or another word"
_FAMILY = re.compile(r"\\in\s*\\mathbb\s*\{?[ZN]")  # a parameter runs through the whole numbers
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?")
_PROSE = re.compile(r"[A-Za-z][A-Za-z ,.;:'!?()-]*")
# Short words that would otherwise be read as products of letters.
_SHORT_WORDS = frozenset("yes no one two six ten all any day mon tue wed thu fri sat sun red".split())


@dataclass(frozen=True, slots=True)
class _Gold:
    text: str
    node: Node | None  # None where the answer is words or a letter
    kind: str  # auto and `unread`, which only the same text matches, beside the kinds that are no formula
    fault: str = ""  # why it is unread


class Reading(NamedTuple):
    """One of two ways to read what may be read in two: `f(x)`, `5 m`, and `5 cm`."""

    functions: bool = True
    metres: bool = True
    units: bool = True

    def of(self, text: str) -> Node:
        """The tree of a text."""
        return parse(text, *self)


_READINGS = {
    "auto": (Reading(), Reading(functions=False, metres=False)),
    # Where a variable is asked for, m is one; where a number is, it is none.
    "expression": (Reading(metres=False, units=False), Reading(False, metres=False, units=False)),
    "integer": (Reading(), Reading(functions=False)),
    "number": (Reading(), Reading(functions=False)),
}


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
    first, second = _READINGS.get(kind, _READINGS["auto"])
    try:
        truth = _gold(gold, kind, first)
    except (Unparsable, TooLarge, Undefined, GoldFault, RecursionError) as error:
        return "error", "gold", f"gold: {error}"
    except WorkerFault as fault:
        return "error", "worker", str(fault)
    except Exception as error:  # a fault of ours must not end somebody's run
        return "error", "verifier", f"{type(error).__name__}: {error}"
    try:
        if len(answer) > MAX_COMPLETION:
            raise TooLarge(f"a completion longer than {MAX_COMPLETION} characters")
        text = _plain(extract(answer))
        found, why = _judge(text, truth, form, prompt, first)
        if found.equal is not None and truth.node:
            if first.metres and _states_unit(first, text, truth.text):
                second = second._replace(metres=True)
            if _differ(first, second, text, truth.text):
                found = _agreed(found, text, gold, kind, second)
            if found.equal and kind == "auto" and _reordered(text, truth.text, prompt):
                found = Decision(None, "text", _OTHER_WORD)
            if found.equal is False and _FAMILY.search(text) and _FAMILY.search(truth.text):
                found = Decision(None, found.rung, "a family, told by a parameter")
            if found.equal and ":" in text + truth.text and _are_clocks(text, truth.text):
                found = Decision(None, found.rung, "a ratio, or the time of day")
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
    """The text in ASCII mathematics, if it can be judged at all."""
    if not text:
        raise Unparsable("empty")
    if len(text) > MAX_CHARS:
        raise TooLarge(f"an answer longer than {MAX_CHARS} characters")
    return ascii_mathematics(text)


@lru_cache(maxsize=4096)
def _gold(text: str, kind: str, reading: Reading) -> _Gold:
    """The gold's tree, checked to have a value. Raises what is wrong with it."""
    text = _plain(extract(text))
    if text in RESERVED and kind != "text":
        raise Unparsable(f"{text} is a reserved word")
    if kind == "text":
        return _Gold(text, None, kind)
    if kind == "choice":
        _letter(text)
        return _Gold(text, None, kind)
    if kind == "auto" and (text.lower() in _SHORT_WORDS or _NAME.fullmatch(text) or _DATE.fullmatch(text)):
        return _Gold(text, None, "text")
    try:
        node = reading.of(text)
    except (Unparsable, TooLarge) as error:
        if kind == "auto" and _PROSE.fullmatch(text) and not _mentions_reserved(text):
            return _Gold(text, None, "text")
        if not is_readable(text) or _mentions_reserved(text):
            raise error
        return _Gold(text, None, "unread", str(error))
    if kind == "auto" and (node.op == "text" or _is_prose(text)):
        return _Gold(text, None, "text")
    node = _of_kind(node, kind)
    try:
        require_values(node)
    except (TooLarge, Undefined) as error:
        if isinstance(error, Undefined) and not _CLOCK.fullmatch(text):
            raise
        return _Gold(text, None, "unread", str(error))
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
    plain = _STYLED.sub(r"\1", text).strip(" $.{}*")
    found = _CHOICE.fullmatch(plain)
    if not found or _SECOND_OPTION.search(plain):
        raise Unparsable("not one option's letter")
    return (found.group(1) or found.group(2)).upper()


def _differ(first: Reading, second: Reading, *texts: str) -> bool:
    """Whether one of the texts can be read in two ways, and all of them can in the second."""
    try:
        if not any(_is_double(first, text) for text in texts):
            return False
        return [first.of(text) for text in texts] != [second.of(text) for text in texts]
    except (Unparsable, TooLarge):
        return False


def _is_double(reading: Reading, text: str) -> bool:
    """Whether the text has a call, or is a number of m."""
    if "(" in text and "call" in operators(reading.of(text)):
        return True
    return "m" in text and bool(METRES.fullmatch(text))


def _states_unit(reading: Reading, *texts: str) -> bool:
    """Whether one of the texts has a unit that nobody takes for a variable, beside one in m."""
    if not any("m" in text and METRES.fullmatch(text) for text in texts):
        return False
    try:
        return any(not METRES.fullmatch(text) and "unit" in operators(reading.of(text)) for text in texts)
    except (Unparsable, TooLarge):
        return False


def _are_clocks(text: str, gold: str) -> bool:
    """Whether one looks like the time of day, and the other does not end in the same."""
    clock = _CLOCK.fullmatch(text) or _CLOCK.fullmatch(gold)
    return bool(clock) and not text.endswith(gold) and not gold.endswith(text)


def _agreed(found: Decision, text: str, gold: str, kind: str, second: Reading) -> Decision:
    """What holds in both readings; undecided where they disagree."""
    try:
        truth = _gold(gold, kind, second)
        other, _ = _judge(text, truth, "any", "", second)
    except (Unparsable, TooLarge, Undefined, GoldFault):
        return found
    if other.equal == found.equal:
        return found
    return Decision(None, found.rung, "it may be read in two ways")


def _judge(text: str, truth: _Gold, form: str, prompt: str, reading: Reading) -> tuple[Decision, str]:
    """The decision, and what is wrong with the form of an equal answer."""
    if truth.kind == "choice":
        equal = _letter(text) == _letter(truth.text)
        return Decision(equal, "text", "" if equal else "another option"), ""
    if truth.kind == "text":
        equal = _words(text) == _words(truth.text)
        return Decision(equal, "text", "" if equal else "other words"), ""
    if form == "any" and not prompt and _INTEGER.fullmatch(text) and _INTEGER.fullmatch(truth.text):
        if len(text) > MAX_DIGITS:
            raise TooLarge(f"a literal of more than {MAX_DIGITS} digits")
        equal = int(text) == int(truth.text)
        return Decision(equal, "rational", "" if equal else "another value"), ""
    if prompt and copies_prompt(text, truth.text, prompt):
        return Decision(True, "form"), "it copies the prompt"
    if form == "any" and text == truth.text:
        return Decision(True, "text"), ""
    try:
        if truth.node is None:
            raise GoldFault(f"gold: {truth.fault}; only the same text matches it")
        found, why = _by_value(text, truth, form, prompt, reading)
        if found.equal:
            return found, why
    except (Unparsable, TooLarge, Undefined, GoldFault):
        if form == "any" and bare(text) == bare(truth.text):
            return Decision(True, "text"), ""
        raise
    # What values tell apart is not written alike; structures may be, in words that say little.
    doubtful = form == "any" and (found.equal is None or found.rung == "ast")
    alike = doubtful and bare(text) == bare(truth.text)
    return (Decision(True, "text"), "") if alike else (found, why)


def _by_value(text: str, truth: _Gold, form: str, prompt: str, reading: Reading) -> tuple[Decision, str]:
    """The decision by what both sides mean, and what is wrong with the form."""
    assert truth.node is not None
    labelled = _LABELLED.fullmatch(_STYLED.sub(r"\1", text))
    if truth.kind == "auto" and _OPTION.fullmatch(truth.text) and labelled:
        equal = _letter(text) == _letter(truth.text)
        return Decision(equal, "text", "" if equal else "another option"), ""
    node = reading.of(text)
    written, node = node, _of_kind(node, truth.kind)
    if node.op in ("rel", "list", "set", "seq", "union", "matrix"):
        require_values(node)
    ordered = truth.kind == "tuple"
    found = in_order(node.args[2:], truth.node.args[2:]) if ordered else same(node, truth.node)
    why = violation(written, form, truth.node) if found.equal else ""
    if found.equal is False and not found.reason:
        found = Decision(False, found.rung, "another value")
    return found, why


def _reordered(text: str, gold: str, prompt: str) -> bool:
    """Whether both are made of words alone, some of them of the same letters in another order."""
    if not (_LETTERS.fullmatch(text) and _LETTERS.fullmatch(gold)):
        return False
    mine, theirs = (Counter(re.findall("[A-Za-z]{2,}", side.replace(" ", ""))) for side in (text, gold))
    others = [sorted(word) for word in mine - theirs]
    moved = [word for word in theirs - mine if sorted(word) in others]
    return not all(_are_variables(word, prompt) for word in moved)


def _are_variables(word: str, prompt: str) -> bool:
    """Whether the prompt uses every letter of the word by itself, as a variable."""
    lone = set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", prompt))
    # In prose, a and I are words: as variables they stand in a formula.
    formula = re.findall(r"[$(=+*/^_-]\s*([aI])(?![A-Za-z])|(?<![A-Za-z])([aI])\s*[$)=+*/^_-]", prompt)
    lone -= {"a", "I"} - {letter for pair in formula for letter in pair}
    return set(word) <= lone


def _words(text: str) -> str:
    plain = _STYLED.sub(r"\1", text)
    return words(plain.replace("\\ ", " ").replace("~", " "))
