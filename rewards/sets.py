"""Sets of real numbers as unions of intervals and points, so that the same set has the same tree.

Ends are ordered by their values. Unions, intersections, differences and complements are worked out cell by
cell: the ends cut the line into points and gaps, and each of these is in the set or is not.
"""

from fractions import Fraction
from math import inf, isclose
from typing import Any

from shuhari.rewards.exact import rational
from shuhari.rewards.node import Node

INFINITY = Node("inf", ())
MINUS_INFINITY = Node("neg", (INFINITY,))
REALS = Node("seq", ("(", ")", MINUS_INFINITY, INFINITY))
EMPTY = Node("set", ())
ALGEBRA = frozenset({"union", "cap", "minus"})
_End = Fraction | float


def normal(node: Node) -> Node | None:
    """The set as a finite set, an interval or a union of both, in order; None where it is none of these.

    Finite sets whose members cannot be ordered, such as letters, may still be united.
    """
    if node.op == "union" and all(part.op == "set" for part in node.args):
        together = Node("set", tuple(dict.fromkeys(item for part in node.args for item in part.args)))
        return _worked(together) or together
    return _worked(node)


def _worked(node: Node) -> Node | None:
    ends: list[tuple[_End, Node]] = []
    if not _collect(node, ends):
        return None
    ends.sort(key=lambda end: end[0])
    cuts: list[tuple[_End, Node]] = []
    for end in ends:
        if not cuts or not _equal(end[0], cuts[-1][0]):
            cuts.append(end)
    finite = [cut for cut in cuts if abs(cut[0]) != inf]
    # Points and gaps in turn: gap, point, gap, ..., point, gap.
    values = [value for value, _ in finite]
    inside = []
    for at in range(2 * len(values) + 1):
        if at % 2:
            inside.append(_holds(node, values[at // 2]))
        else:
            low = values[at // 2 - 1] if at else None
            high = values[at // 2] if at // 2 < len(values) else None
            inside.append(_holds(node, _between(low, high)))
    pieces: list[Node] = []
    at = 0
    while at < len(inside):
        if not inside[at]:
            at += 1
            continue
        start = at
        while at + 1 < len(inside) and inside[at + 1]:
            at += 1
        first = finite[(start - 1) // 2][1] if start else MINUS_INFINITY
        last = finite[at // 2][1] if at < len(inside) - 1 else INFINITY
        if start == at and start % 2:
            pieces.append(Node("set", (first,)))
        else:
            pieces.append(Node("seq", ("[" if start % 2 else "(", "]" if at % 2 else ")", first, last)))
        at += 1
    if all(piece.op == "set" for piece in pieces):
        return Node("set", tuple(piece.args[0] for piece in pieces))
    return pieces[0] if len(pieces) == 1 else Node("union", tuple(pieces))


def _collect(node: Node, ends: list[tuple[_End, Node]]) -> bool:
    """Every end and point of the set; False where one has no place on the line."""
    if node.op in ALGEBRA:
        return all(_collect(part, ends) for part in node.args)
    if node.op == "set":
        found = node.args
    elif node.op == "seq" and len(node.args) == 4:
        found = node.args[2:]
    else:
        return False
    for item in found:
        value = end(item)
        if value is None:
            return False
        ends.append((value, item))
    return True


def _holds(node: Node, value: _End) -> bool:
    if node.op == "union":
        return any(_holds(part, value) for part in node.args)
    if node.op == "cap":
        return all(_holds(part, value) for part in node.args)
    if node.op == "minus":
        return _holds(node.args[0], value) and not _holds(node.args[1], value)
    if node.op == "set":
        return any(_equal(end(item), value) for item in node.args)
    opening, closing, low, high = node.args
    least, most = end(low), end(high)
    at_low, at_high = _equal(least, value), _equal(most, value)
    if at_low or at_high:
        return not (at_low and opening == "(") and not (at_high and closing == ")")
    return bool(least < value < most)  # type: ignore[operator]


def _equal(a: Any, b: Any) -> bool:
    """Exact for rational numbers; roots and the like, which are doubles here, may differ in rounding."""
    if (isinstance(a, Fraction) and isinstance(b, Fraction)) or inf in (abs(a), abs(b)):
        return bool(a == b)
    return isclose(a, b, rel_tol=1e-12, abs_tol=1e-15)


def _between(low: _End | None, high: _End | None) -> _End:
    if low is None and high is None:
        return Fraction(0)
    if low is None or high is None:
        return low + 1 + abs(low) if low is not None else high - 1 - abs(high)  # type: ignore[operator, arg-type]
    return (low + high) / 2


def end(node: Node) -> _End | None:
    """An end of an interval as a number that can be ordered, exact where it is rational."""
    if node in (INFINITY, MINUS_INFINITY):
        return inf if node == INFINITY else -inf
    exact = rational(node)
    if exact is not None:
        return Fraction(exact)
    from shuhari.rewards.probing import double  # mpmath takes its time to import

    return double(node)
