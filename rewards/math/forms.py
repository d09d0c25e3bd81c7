"""Demands on how an answer is written, besides its value. They apply to the answer, never to the gold."""

import math
import re
from collections.abc import Callable
from typing import get_args

from shuhari.rewards.math.lexer import tokenize
from shuhari.rewards.math.node import (
    CALCULUS,
    STRUCTURES,
    Node,
    TooLarge,
    Unparsable,
    children,
    operators,
    variables,
)
from shuhari.rewards.math.rational import rational
from shuhari.rewards.math.tree_views import as_assignment
from shuhari.rewards.verdict import Form

FORMS: tuple[str, ...] = get_args(Form)
_BRACKETS = frozenset({"(", ")", "[", "]", "{", "}"})


def form_violation(answer: Node, form: str, gold: Node) -> str:
    """Why the answer is not in the demanded form; empty if it is."""
    if form == "any":
        return ""
    if form == "solved":
        return _unsolved(answer, gold)
    found, wanted = as_assignment(answer), as_assignment(gold)
    value = found[1] if found and (gold.op != "rel" or wanted) else answer
    goal = wanted[1] if wanted else gold
    if form in ("expanded", "factored"):
        # A root or quotient could hide a product, so it is allowed only if the gold has one too.
        strange = operators(value) - operators(goal) - _POLYNOMIAL - STRUCTURES
        if strange or (_divides(value) and not _divides(goal)):
            return "it is not written as a polynomial"
    if form == "evaluated" and goal.op not in STRUCTURES and rational(goal) is not None:
        return _unevaluated(value) if is_literal(_bare(value)) else "arithmetic is left"
    return _CHECKS[form](value)


_POLYNOMIAL = frozenset({"+", "*", "/", "neg", "^", "inv", "num", "dec", "var", "const", "mixed", "deg"})


def _bare(node: Node) -> Node:
    """The value without a unit, a degree sign or a power of ten after it."""
    if node.op in ("unit", "deg"):
        return _bare(node.args[0])
    if node.op == "*" and len(node.args) == 2 and node.args[1].op == "^":
        ten = node.args[1].args[0] == Node("num", (10,))
        return node.args[0] if ten and node.args[0].op in ("num", "dec") else node
    return node


def _divides(node: Node) -> bool:
    """Whether a variable is in some divisor, or has an exponent that is negative or not whole."""
    if node.op in ("/", "inv") and variables(node.args[-1]):
        return True
    if node.op == "^" and variables(node.args[0]):
        power = rational(node.args[1])
        if power is not None and (power < 0 or power.denominator != 1):
            return True
    return any(map(_divides, children(node)))


def _each_part(check: Callable[[Node], str]) -> Callable[[Node], str]:
    """The check, applied to every part of a structure."""

    def checked(node: Node) -> str:
        if node.op in ("rel", "list", "set", "seq", "union", "matrix", "unit", "pm"):
            return next((why for part in children(node) if (why := checked(part))), "")
        return check(node)

    return checked


def is_literal(node: Node) -> bool:
    """Whether the node is a written number: an integer, decimal, percentage, mixed number or fraction."""
    if node.op == "neg":
        return is_literal(node.args[0])
    if node.op == "percent":
        return is_literal(node.args[0])
    if node.op == "/":
        top, bottom = node.args
        return bool((top.args[0] if top.op == "neg" else top).op == "num" and bottom.op == "num")
    return node.op in ("num", "dec", "mixed")


def _unevaluated(node: Node) -> str:
    """What is left to compute: calculus, or arithmetic between numbers. Empty if nothing is."""
    if operators(node) & CALCULUS:
        return "an integral, derivative, sum or limit is left"
    if node.op == "neg":
        return _unevaluated(node.args[0])
    if node.op in ("unit", "deg") or _bare(node) is not node:
        return _unevaluated(_bare(node))
    if is_literal(node):
        value = rational(node.args[-1] if node.op == "mixed" else node)
        divided = node.op in ("/", "mixed") and value is not None and value.denominator == 1
        return "a division is left" if divided else ""
    if node.op == "+" and _repeats_a_term(node):
        return "like terms are left"
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


def _repeats_a_term(node: Node) -> bool:
    """Whether one term of a sum is a multiple of another."""
    keys = [_monomial(term) for term in node.args]
    known = [key for key in keys if key is not None]
    return len(set(known)) < len(known)


def _is_quotient(known: list[Node]) -> bool:
    """Whether the two numbers are a coefficient such as the 3 and 4 of `3*sqrt(2)/4`, in lowest terms."""
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
    """The factors of a product, without signs."""
    if node.op == "neg":
        return _factors(node.args[0])
    if node.op == "*":
        return [factor for arg in node.args for factor in _factors(arg)]
    return [node]


def _monomial(node: Node) -> frozenset[tuple[Node, object]] | None:
    """The bases and exponents of a monomial, without its rational coefficient; None if it is not one."""
    powers: dict[Node, object] = {}
    coefficients = 0
    for factor in _factors(node):
        if factor.op == "/" and not variables(factor.args[1]):
            inner = _monomial(factor.args[0])
            if inner is None:
                return None
            if set(powers) & {base for base, _ in inner}:
                return None
            powers |= dict(inner)
            continue
        if not variables(factor):
            # An irrational constant such as sqrt(2) or pi is a coefficient too.
            if factor.op == "+" or _unevaluated(factor.args[0] if factor.op == "inv" else factor):
                return None
            exact = rational(factor) if factor.op != "inv" else 1
            coefficients += factor.op != "inv" and exact is not None
            if exact is None:  # x*sqrt(2) and x are not like terms
                powers[factor] = 1
            continue
        base, power = factor.args if factor.op == "^" else (factor, Node("num", (1,)))
        if base.op in ("+", "^") or variables(power) or (base.op in ("*", "/", "neg") and factor.op == "^"):
            return None
        if base in powers:
            return None
        powers[base] = rational(power) or power
    return None if coefficients > 1 else frozenset(powers.items())


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
    from shuhari.rewards.math import sympy_functions
    from shuhari.rewards.sandbox.worker_pool import default_pool

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
        if base.op == "+" and (why := _unexpanded(base)):
            return why
        if not default_pool().call(sympy_functions.is_factored, base):
            return "a factor can be factored further"
    return ""


def _unsolved(answer: Node, gold: Node) -> str:
    """Why a relation is not solved for one variable. A bare value has nothing to solve."""
    if answer.op in ("list", "set"):
        return next((why for part in answer.args if (why := _unsolved(part, gold))), "")
    if answer.op in ("seq", "union"):
        return ""
    if answer.op == "rel":
        if answer.args[0] == ("=",):
            found, wanted = as_assignment(answer), as_assignment(gold)
            if found is None or answer.args[1].op == "*":
                return "no variable stands alone on one side"
            if wanted and not variables(wanted[1]) and variables(found[1]):
                return "variables are left on the other side"
            return ""
        sides = answer.args[1:]
        if sum(side.op == "var" for side in sides) == 1 and all(
            side.op == "var" or not variables(side) for side in sides
        ):
            return ""
        return "no variable stands alone on one side"
    return ""


_CHECKS: dict[str, Callable[[Node], str]] = {
    "evaluated": _each_part(_unevaluated),
    "reduced": _each_part(_unreduced),
    "expanded": _each_part(_unexpanded),
    "factored": _each_part(_unfactored),
}


def copies_prompt(answer: str, gold: str, prompt: str) -> bool:
    """Whether the prompt contains the answer, apart from brackets. A single name or number is no copy.

    An answer written like the gold is no copy either, because a task may ask to choose from what it shows.
    """
    mine = _tokens(answer)
    if len(mine) > 2 and mine[1] == "=" and mine[0].isalpha():
        mine = mine[2:]  # a name before the answer
    if len(mine) < 3 or mine == _tokens(gold):
        return False
    shown = _tokens(prompt)
    return any(shown[i : i + len(mine)] == mine for i in range(len(shown) - len(mine) + 1))


def _tokens(text: str) -> list[str]:
    """The text's tokens. Brackets, words and what the lexer refuses are left out: prompts contain prose."""
    pieces: list[str] = []
    raw = ""
    for piece in _PIECES.findall(text):
        before, raw = raw, piece
        try:
            found = tokenize(piece)
        except (Unparsable, TooLarge):
            continue
        for kind, word in found:
            if kind == "num" and len(word) == 2 and before.endswith("frac"):
                pieces += word  # in TeX, \\frac12 is one half
            elif kind not in ("end", "text") and word not in _BRACKETS:
                pieces.append(word)
    return pieces


_PIECES = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]+|[0-9.]*[0-9]|\*\*|\S")
