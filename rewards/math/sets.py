"""Sets of real numbers in a normal form, so that equal sets have equal trees.

The normal form is a union of intervals and points in order. The ends of all intervals divide the line into
points and gaps, and each of these is either in the set or not.
"""

from fractions import Fraction
from math import inf
from typing import Any

from shuhari.rewards.math.node import Node
from shuhari.rewards.math.rational import rational

INFINITY = Node("inf", ())
MINUS_INFINITY = Node("neg", (INFINITY,))
REALS = Node("seq", ("(", ")", MINUS_INFINITY, INFINITY))
EMPTY = Node("set", ())
ALGEBRA = frozenset({"union", "cap", "minus"})
_End = Fraction | int | float  # the only floats are infinities
_MANY = 10**60  # inexact ends have larger denominators, and are right to 60 digits


def normal_form(node: Node) -> Node | None:
    """The set as a finite set, an interval, or a union of both, in order; None if it is none of these.

    A union of finite sets needs no order, so its members may also be letters.
    """
    if node.op == "union" and all(part.op == "set" for part in node.args):
        together = Node("set", tuple(dict.fromkeys(item for part in node.args for item in part.args)))
        return _ordered(together) or together
    return _ordered(node)


def _ordered(node: Node) -> Node | None:
    ends: list[tuple[_End, Node]] = []
    known = _numeric(node, ends)
    if known is None:
        return None
    ends.sort(key=lambda end: end[0])
    cuts: list[tuple[_End, Node]] = []
    for value, item in ends:
        if abs(value) != inf and not (cuts and _equal(value, cuts[-1][0])):
            cuts.append((value, item))
    # Whether the set contains each gap and point, in the order gap, point, gap, ..., point, gap.
    inside = []
    for at in range(2 * len(cuts) + 1):
        low = cuts[(at - 1) // 2][0] if at else None
        high = cuts[at // 2][0] if at < 2 * len(cuts) else None
        inside.append(_holds(known, cuts[at // 2][0] if at % 2 else _between(low, high)))
    pieces: list[Node] = []
    at = 0
    while at < len(inside):
        if not inside[at]:
            at += 1
            continue
        start = at
        while at + 1 < len(inside) and inside[at + 1]:
            at += 1
        first = cuts[(start - 1) // 2][1] if start else MINUS_INFINITY
        last = cuts[at // 2][1] if at < len(inside) - 1 else INFINITY
        if start == at and start % 2:
            pieces.append(Node("set", (first,)))
        else:
            pieces.append(Node("seq", ("[" if start % 2 else "(", "]" if at % 2 else ")", first, last)))
        at += 1
    if all(piece.op == "set" for piece in pieces):
        return Node("set", tuple(piece.args[0] for piece in pieces))
    return pieces[0] if len(pieces) == 1 else Node("union", tuple(pieces))


def _numeric(node: Node, ends: list[tuple[_End, Node]]) -> tuple[Any, ...] | None:
    """The set with numbers as its ends, which are added to `ends`; None if an end is not a real number."""
    op, args = node
    if op in ALGEBRA:
        parts = [_numeric(part, ends) for part in args]
        return None if None in parts else (op, *parts)
    if op == "set":
        found = args
    elif op == "seq" and len(args) == 4:
        found = args[2:]
    else:
        return None
    values = [end_value(item) for item in found]
    if None in values or (op == "seq" and not _is_interval(args, *values)):
        return None
    ends += zip(values, found, strict=True)  # type: ignore[arg-type]
    return (op, *values) if op == "set" else (op, args[0] == "[", args[1] == "]", *values)


def _is_interval(args: tuple[Any, ...], low: Any, high: Any) -> bool:
    """Whether the ends are in order: `(2,1)` is a pair and not an interval."""
    return args[0] in "([" and (low < high or (args[:2] == ("[", "]") and _equal(low, high)))


def _holds(known: tuple[Any, ...], value: _End) -> bool:
    op, *parts = known
    if op == "union":
        return any(_holds(part, value) for part in parts)
    if op == "cap":
        return all(_holds(part, value) for part in parts)
    if op == "minus":
        return _holds(parts[0], value) and not _holds(parts[1], value)
    if op == "set":
        return any(_equal(item, value) for item in parts)
    low_in, high_in, least, most = parts
    if _equal(least, value):
        return bool(low_in and (high_in or not _equal(most, value)))
    if _equal(most, value):
        return bool(high_in)
    return bool(least < value < most)


def _equal(a: Any, b: Any) -> bool:
    """Whether two ends are equal. Irrational ends are known to many digits, and may differ in the last."""
    if a == b or type(a) is float or type(b) is float:
        return bool(a == b)
    exact = a.denominator < _MANY and b.denominator < _MANY
    return not exact and abs(a - b) < Fraction(abs(a)) / _MANY


def _between(low: _End | None, high: _End | None) -> _End:
    if low is None and high is None:
        return 0
    if low is None or high is None:
        return low + 1 if low is not None else high - 1  # type: ignore[operator]
    return Fraction(low + high) / 2


def end_value(node: Node) -> _End | None:
    """The value of an interval's end, exact or to many digits; None if it has none."""
    if node.op == "inf" or node == MINUS_INFINITY:
        return inf if node.op == "inf" else -inf
    exact = rational(node)
    if exact is not None:
        return exact
    from shuhari.rewards.math.compare_at_points import many_digits  # mpmath takes its time to import

    return many_digits(node)
