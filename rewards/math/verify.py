"""`verify(answer, gold)`: judge one answer by one gold, of any kind, in any demanded form."""

import re
import time
from collections.abc import Callable
from typing import get_args

from shuhari.rewards.math.doubts import (
    are_clock_times,
    are_families,
    confirms_metres,
    letters_reordered,
    readings_differ,
)
from shuhari.rewards.math.forms import FORMS, copies_prompt, form_violation
from shuhari.rewards.math.gold import (
    STYLED_TEXT,
    Gold,
    Reading,
    answer_text,
    as_kind,
    option_letter,
    read_gold,
)
from shuhari.rewards.math.node import MAX_DIGITS, TooLarge, Undefined, Unparsable
from shuhari.rewards.math.normalize_text import normalized_words, without_layout
from shuhari.rewards.math.same_answer import in_order, require_values, same_answer
from shuhari.rewards.math.same_expression import Decision, GoldFault
from shuhari.rewards.sandbox.worker_pool import WorkerFault
from shuhari.rewards.verdict import Kind, Status, Verdict

KINDS: tuple[str, ...] = get_args(Kind)
MAX_COMPLETION = 200_000  # characters of a whole completion
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
# A gold that may be an option, and an answer that can only be one: `B) 5 cm`, `\text{(B)}`.
_OPTION = re.compile(r"\(?[A-E]\)?")
_LABELLED = re.compile(r"\(?[A-E](?:\)|[.:])(?:\s.*)?|\([A-E]\)|[A-E]", re.DOTALL)

# The first and the second reading by kind.
_READINGS = {
    "auto": (Reading(), Reading(functions=False, metres=False)),
    # m is a variable if an expression is asked for, and a unit if a number is.
    "expression": (Reading(metres=False, units=False), Reading(False, metres=False, units=False)),
    "integer": (Reading(), Reading(functions=False)),
    "number": (Reading(), Reading(functions=False)),
}


def verify(answer: str, gold: str, *, kind: str = "auto", form: str = "any", prompt: str = "") -> Verdict:
    """Judge `answer` (a whole completion, or only the answer in it) by `gold`.

    `kind` says what the gold is (`auto` finds out), `form` how the answer must be written. If a `prompt` is
    given, an answer that copies it is wrong. docs/verifier.md states the conventions. Never raises, whatever
    the strings are; an unknown `kind` or `form` is an `error`.
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
        truth = read_gold(gold, kind, first)
    except (Unparsable, TooLarge, Undefined, GoldFault, RecursionError) as error:
        return "error", "gold", f"gold: {error}"
    except WorkerFault as fault:
        return "error", "worker", str(fault)
    except Exception as error:  # a bug in the verifier must not end a run
        return "error", "verifier", f"{type(error).__name__}: {error}"
    try:
        if len(answer) > MAX_COMPLETION:
            raise TooLarge(f"a completion longer than {MAX_COMPLETION} characters")
        text = answer_text(answer)
        found, violation = _judge(text, truth, form, prompt, first)
        if found.equal is not None and truth.node:
            found = _doubted(found, text, truth, gold, kind, prompt, first, second)
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
    except Exception as error:  # a bug in the verifier must not end a run
        return "error", "verifier", f"{type(error).__name__}: {error}"
    if violation:
        return "wrong", "form", violation
    if found.equal is None:
        return "unknown", found.rung, found.reason
    return ("correct" if found.equal else "wrong"), found.rung, found.reason


def _doubted(
    found: Decision,
    text: str,
    truth: Gold,
    gold: str,
    kind: str,
    prompt: str,
    first: Reading,
    second: Reading,
) -> Decision:
    """The decision, or an undecided one for the first doubt that holds."""
    equal, texts = bool(found.equal), (text, truth.text)
    if first.metres and confirms_metres(first, *texts):
        second = second._replace(metres=True)
    # rung, reason, and whether the doubt holds
    doubts: list[tuple[str, str, Callable[[], bool]]] = [
        (
            found.rung,
            "it may be read in two ways",
            lambda: readings_differ(first, second, *texts) and _disagrees(equal, text, gold, kind, second),
        ),
        (
            "text",
            "letters in another order: a product, or another word",
            lambda: equal and kind == "auto" and letters_reordered(*texts, prompt),
        ),
        (
            found.rung,
            "a family of values, which another parameter may describe",
            lambda: not equal and are_families(*texts),
        ),
        (
            found.rung,
            "a ratio, or the time of day",
            lambda: equal and ":" in text + truth.text and are_clock_times(*texts),
        ),
    ]
    return next((Decision(None, rung, reason) for rung, reason, holds in doubts if holds()), found)


def _disagrees(equal: bool, text: str, gold: str, kind: str, second: Reading) -> bool:
    """Whether the second reading leads to another decision."""
    try:
        found, _ = _judge(text, read_gold(gold, kind, second), "any", "", second)
    except (Unparsable, TooLarge, Undefined, GoldFault):
        return False
    return found.equal != equal


def _judge(text: str, truth: Gold, form: str, prompt: str, reading: Reading) -> tuple[Decision, str]:
    """The decision, and what is wrong with the form of an equal answer."""
    if truth.kind == "choice":
        return _same_option(text, truth.text), ""
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
        found, violation = _compare(text, truth, form, reading)
        if found.equal:
            return found, violation
    except (Unparsable, TooLarge, Undefined, GoldFault):
        if form == "any" and without_layout(text) == without_layout(truth.text):
            return Decision(True, "text"), ""
        raise
    # Two texts with different values are different. If only their structures differ, or nothing decided,
    # they may still be the same text in another layout.
    doubtful = form == "any" and (found.equal is None or found.rung == "ast")
    if doubtful and without_layout(text) == without_layout(truth.text):
        return Decision(True, "text"), ""
    return found, violation


def _compare(text: str, truth: Gold, form: str, reading: Reading) -> tuple[Decision, str]:
    """The decision by what both sides mean, and what is wrong with the form of the answer."""
    assert truth.node is not None
    labelled = _LABELLED.fullmatch(STYLED_TEXT.sub(r"\1", text))
    if truth.kind == "auto" and _OPTION.fullmatch(truth.text) and labelled:
        return _same_option(text, truth.text), ""
    written = reading.tree(text)
    node = as_kind(written, truth.kind)
    if node.op in ("rel", "list", "set", "seq", "union", "matrix"):
        require_values(node)
    if truth.kind == "tuple":
        found = in_order(node.args[2:], truth.node.args[2:])
    else:
        found = same_answer(node, truth.node)
    violation = form_violation(written, form, truth.node) if found.equal else ""
    if found.equal is False and not found.reason:
        found = Decision(False, found.rung, "another value")
    return found, violation


def _same_option(text: str, gold: str) -> Decision:
    equal = option_letter(text) == option_letter(gold)
    return Decision(equal, "text", "" if equal else "another option")


def _words(text: str) -> str:
    plain = STYLED_TEXT.sub(r"\1", text)
    return normalized_words(plain.replace("\\ ", " ").replace("~", " "))
