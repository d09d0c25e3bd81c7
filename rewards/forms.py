"""Demands on how an answer is written, beside what it equals. They bind the answer, never the gold."""

import math
from collections.abc import Callable
from typing import get_args

from shuhari.rewards.compare import assigned
from shuhari.rewards.exact import rational
from shuhari.rewards.lexer import tokenize
from shuhari.rewards.node import CALCULUS, Node, TooLarge, Unparsable, children, operators, variables
from shuhari.rewards.verdict import Form

FORMS: tuple[str, ...] = get_args(Form)
_BRACKETS = frozenset({"(", ")", "[", "]", "{", "}"})


def violation(answer: Node, form: str, gold: Node) -> str:
    """Why the answer is not in the demanded form; empty where it is."""
    if form == "any":
        return ""
    if form == "solved":
        return _unsolved(answer)
    found = assigned(answer)
    value = found[1] if found and gold.op != "rel" else answer
    return _CHECKS[form](value)


def _each(check: Callable[[Node], str]) -> Callable[[Node], str]:
    """Apply a check to every member of a structure."""

    def checked(node: Node) -> str:
        if node.op in ("rel", "list", "set", "seq", "union", "matrix", "unit", "pm"):
            return next((why for part in children(node) if (why := checked(part))), "")
        return check(node)

    return checked


def is_literal(node: Node) -> bool:
    """A number as one writes it down: an integer, decimal, percentage, mixed number or fraction, signed."""
    if node.op == "neg":
        return is_literal(node.args[0])
    if node.op == "percent":
        return is_literal(node.args[0])
    if node.op == "/":
        top, bottom = node.args
        return bool((top.args[0] if top.op == "neg" else top).op == "num" and bottom.op == "num")
    return node.op in ("num", "dec", "mixed")


def _unevaluated(node: Node) -> str:
    """Something is left to compute: calculus, or arithmetic between numbers."""
    if operators(node) & CALCULUS:
        return "an integral, derivative, sum or limit is left"
    if is_literal(node):
        whole = node.op == "/" and rational(node)
        return "a division is left" if whole and whole.denominator == 1 else ""
    if not variables(node) and rational(node) is not None:
        return "arithmetic is left"
    if node.op in ("+", "*"):
        known = [part for part in node.args if not variables(part) and rational(part) is not None]
        if len(known) > 1 and not (node.op == "*" and len(known) == 2 and _is_quotient(known)):
            return "arithmetic between numbers is left"
    for part in children(node):
        if node.op in ("/", "neg", "inv") and is_literal(part):
            continue
        if why := _unevaluated(part):
            return why
    return ""


def _is_quotient(known: list[Node]) -> bool:
    """A factor and a divisor, as in `3*sqrt(2)/4`: a coefficient, if it is in lowest terms."""
    top, bottom = known
    if bottom.op != "inv" or top.op == "inv":
        return False
    a, b = rational(top), rational(bottom.args[0])
    return bool(a and b) and math.gcd(int(a or 1), int(b or 1)) == 1


def _unreduced(node: Node) -> str:
    if node.op == "neg":
        return _unreduced(node.args[0])
    if node.op == "num":
        return ""
    if node.op == "/":
        top, bottom = node.args
        top = top.args[0] if top.op == "neg" else top
        if top.op == bottom.op == "num":
            if bottom.args[0] < 2 or math.gcd(top.args[0], bottom.args[0]) != 1:
                return "the fraction is not in lowest terms"
            return ""
    return "not a fraction of two integers"


def _factors(node: Node) -> list[Node]:
    """What a product multiplies, signs aside."""
    if node.op == "neg":
        return _factors(node.args[0])
    if node.op == "*":
        return [factor for arg in node.args for factor in _factors(arg)]
    return [node]


def _monomial(node: Node) -> tuple[tuple[str, object], ...] | None:
    """The powers of a monomial's variables, by name; None where it is no such product."""
    powers: dict[str, object] = {}
    coefficients = 0
    for factor in _factors(node):
        if factor.op == "/" and not variables(factor.args[1]):
            inner = _monomial(factor.args[0])
            if inner is None:
                return None
            if set(powers) & {name for name, _ in inner}:
                return None
            powers |= dict(inner)
            continue
        if not variables(factor):
            # An irrational constant such as sqrt(2) or pi is a coefficient like any other.
            if factor.op == "+" or _unevaluated(factor.args[0] if factor.op == "inv" else factor):
                return None
            coefficients += factor.op != "inv" and rational(factor) is not None
            continue
        base, power = factor.args if factor.op == "^" else (factor, Node("num", (1,)))
        if base.op == "+" or variables(power) or (base.op in ("*", "/", "neg") and factor.op == "^"):
            return None
        key = repr(base)
        if key in powers:
            return None
        powers[key] = rational(power) or power
    return None if coefficients > 1 else tuple(sorted(powers.items(), key=lambda item: item[0]))


def _unexpanded(node: Node) -> str:
    if operators(node) & CALCULUS:
        return "an integral, derivative, sum or limit is left"
    terms = node.args if node.op == "+" else (node,)
    seen = set()
    for term in terms:
        monomial = _monomial(term)
        if monomial is None:
            return "a product or power is not multiplied out"
        if monomial in seen:
            return "like terms are not collected"
        seen.add(monomial)
    return ""


def _unfactored(node: Node) -> str:
    from shuhari.rewards import algebra
    from shuhari.rewards.pool import default_pool

    if node.op == "/" and not variables(node.args[1]):
        return _unfactored(node.args[0])
    for factor in _factors(node):
        base = factor.args[0] if factor.op in ("^", "inv") else factor
        base = base.args[0] if base.op == "neg" else base
        if base.op in ("num", "dec", "var", "const", "/", "mixed") or not variables(base):
            parts = base.args if base.op == "/" and variables(base) else ()
            if why := next((why for part in parts if (why := _unfactored(part))), ""):
                return why
            continue
        if base.op in ("*", "^"):
            if why := _unfactored(base):
                return why
            continue
        if not default_pool().call(algebra.is_factored, base):
            return "a factor can be factored further"
    return ""


def _unsolved(answer: Node) -> str:
    """Whether a relation has one variable alone on a side; a bare value has nothing to solve."""
    if answer.op in ("list", "set"):
        return next((why for part in answer.args if (why := _unsolved(part))), "")
    if answer.op in ("seq", "union"):
        return ""
    if answer.op == "rel":
        if answer.args[0] == ("=",):
            if assigned(answer) is None or answer.args[1].op == "*":
                return "no variable stands alone on one side"
            return ""
        sides = answer.args[1:]
        if sum(side.op == "var" for side in sides) == 1 and all(
            side.op == "var" or not variables(side) for side in sides
        ):
            return ""
        return "no variable stands alone on one side"
    return ""


_CHECKS: dict[str, Callable[[Node], str]] = {
    "evaluated": _each(_unevaluated),
    "reduced": _each(_unreduced),
    "expanded": _each(_unexpanded),
    "factored": _each(_unfactored),
}


def copies_prompt(answer: str, gold: str, prompt: str) -> bool:
    """Whether the answer, more than a single name or number, stands in the prompt, brackets aside.

    Writing what the gold writes is no copy: a task may ask to choose from what it shows.
    """

    def bare(text: str) -> list[str]:
        return [token.text for token in tokenize(text) if token.kind != "end" and token.text not in _BRACKETS]

    try:
        mine = bare(answer)
        if len(mine) < 3 or mine == bare(gold):
            return False
    except (Unparsable, TooLarge):
        return False
    return _squeeze(" ".join(mine)) in _squeeze(_tokens_of(prompt))


def _tokens_of(prompt: str) -> str:
    """A prompt's tokens where it can be read; prose and formulas mix, so piece by piece."""
    pieces = []
    for line in prompt.replace("$", "\n").splitlines():
        try:
            pieces += [t.text for t in tokenize(line) if t.kind != "end" and t.text not in _BRACKETS]
        except (Unparsable, TooLarge):
            pieces += [c for c in line if c not in _BRACKETS]
    return " ".join(pieces)


def _squeeze(text: str) -> str:
    return "".join(text.split())
