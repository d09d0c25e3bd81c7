"""What a tree says: a name with its value, members, an interval, a matrix. Nothing is compared here."""

from fractions import Fraction
from math import inf
from typing import Any

from shuhari.rewards.exact import rational
from shuhari.rewards.node import Node, operators, variables

Link = tuple[str, Node, Node]  # a relation and its two sides
_FLIPPED = {"<": ">", "<=": ">="}
_FUNCTION_NAMES = frozenset("fghFGH")


def assigned(node: Node) -> tuple[str, Node] | None:
    """The name and the value of `name = value`, `f(x) = value` and `value = name`, where it is such."""
    if node.op != "rel" or node.args[0] != ("=",):
        return None
    left, right = node.args[1:]
    for name, value in ((left, right), (right, left)):
        if name.op == "var" and name.args[0] not in variables(value):
            return name.args[0], value
    if left.op == "*" and left.args[0].op == "var" and left.args[0].args[0].rstrip("'") in _FUNCTION_NAMES:
        name = left.args[0].args[0]
        if (
            name not in variables(right)
            and len(left.args) == 2
            and all(arg.op in ("var", "seq", "num") for arg in left.args[1:])
        ):
            return name, right
    if (
        left.op == "*"
        and not variables(right)
        and all(arg.op == "var" and arg.args[0].isupper() for arg in left.args)
    ):
        return "".join(arg.args[0] for arg in left.args), right  # a segment, as in AB = 5
    if left.op == right.op == "seq" and all(arg.op == "var" for arg in left.args[2:]):
        return "()", right  # (x, y) = (1, 2)
    return None


def elements(node: Node) -> list[Node] | None:
    """The members where the node lists some: a set, a list, or a plus-minus."""
    if node.op in ("set", "list"):
        found: list[Node] = []
        for item in node.args:
            found += _spread(item)
        return found
    spread = _spread(node)
    return spread if spread != [node] else None


def _spread(item: Node) -> list[Node]:
    """Both readings of a plus-minus, also in `x = 3 \\pm 1`; else the item itself."""
    found = assigned(item)
    if found and found[1].op in ("list", "set"):
        name = Node("var", (found[0],))
        return [Node("rel", (("=",), name, part)) for part in elements(found[1]) or []]
    if item.op not in ("seq", "union", "matrix", "set", "list") and "pm" in operators(item):
        return [_signed(item, "pm"), _signed(item, "mp")]
    return [item]


def _signed(node: Any, plus: str) -> Any:
    """The tree with every plus-minus read as one sign: `plus` names the one that is a plus."""
    if isinstance(node, Node) and node.op == "pm":
        before, term, sign = (_signed(arg, plus) for arg in node.args)
        return Node("+", (before, term if sign == plus else Node("neg", (term,))))
    if isinstance(node, Node):
        return Node(node.op, tuple(_signed(arg, plus) for arg in node.args))
    return tuple(_signed(arg, plus) for arg in node) if isinstance(node, tuple) else node


def as_matrix(node: Node) -> Node | None:
    """The matrix a node is: one with a factor or a sign before it, or rows in brackets."""
    if node.op == "matrix":
        return node
    if node.op == "neg" and (inner := as_matrix(node.args[0])):
        return Node("matrix", tuple(tuple(Node("neg", (cell,)) for cell in row) for row in inner.args))
    if node.op == "*" and sum(arg.op == "matrix" for arg in node.args) == 1:
        (inner,) = (arg for arg in node.args if arg.op == "matrix")
        factors = tuple(arg for arg in node.args if arg.op != "matrix")
        return Node("matrix", tuple(tuple(Node("*", (*factors, cell)) for cell in row) for row in inner.args))
    rows = node.args[2:] if node.op == "seq" else ()
    if rows and all(row.op == "seq" for row in rows) and len({len(row.args) for row in rows}) == 1:
        return Node("matrix", tuple(row.args[2:] for row in rows))
    if rows and node.args[0] == "[" and all(row.op != "seq" for row in rows):
        return Node("matrix", (rows,))
    return None


def merged(node: Node) -> Node:
    """A union of intervals and points with what touches or overlaps joined, from left to right."""
    pieces: list[list[Any]] = []  # low, whether it is in, its node, and the same of the high end
    for part in node.args if node.op == "union" else (node,):
        if part.op == "seq" and len(part.args) == 4:
            opening, closing, low, high = part.args
            pieces.append([_end(low), opening == "[", low, _end(high), closing == "]", high])
        elif part.op == "set":
            pieces += [[_end(item), True, item, _end(item), True, item] for item in part.args]
        else:
            return node
    if any(piece[0] is None or piece[3] is None for piece in pieces):
        return node
    pieces.sort(key=lambda piece: (piece[0], not piece[1]))
    joined = pieces[:1]
    for piece in pieces[1:]:
        last = joined[-1]
        if piece[0] < last[3] or (piece[0] == last[3] and (piece[1] or last[4])):
            if (piece[3], piece[4]) > (last[3], last[4]):
                last[3:] = piece[3:]
        else:
            joined.append(piece)
    parts = tuple(
        Node("seq", ("[" if low_in else "(", "]" if high_in else ")", low, high))
        for _, low_in, low, _, high_in, high in joined
    )
    return parts[0] if len(parts) == 1 else Node("union", parts)


def _end(node: Node) -> Fraction | float | None:
    """An end of an interval as a number that can be ordered, exact where it is rational."""
    if node.op == "inf" or (node.op == "neg" and node.args[0].op == "inf"):
        return inf if node.op == "inf" else -inf
    exact = rational(node)
    if exact is not None:
        return Fraction(exact)
    from shuhari.rewards.probing import double  # mpmath takes its time to import

    return double(node)


def links(node: Node) -> list[Link]:
    """A chain as its links, each pointing to `>` or `>=` where it is an inequality."""
    operators_, *sides = node.args
    found = []
    for operator, left, right in zip(operators_, sides, sides[1:], strict=False):
        if operator in ("<", "<="):
            found.append((_FLIPPED[operator], right, left))
        else:
            found.append((operator, left, right))
    return found


def as_interval(node: Node) -> Node | None:
    """The interval, or union of intervals, of an inequality in one name: `1 < x <= 5`, `x < 0 or x > 2`."""
    if node.op == "list":
        parts = [as_interval(item) for item in node.args]
        if any(part is None for part in parts):
            return None
        return Node("union", tuple(part for part in parts if part is not None))
    if node.op not in ("rel", "all"):
        return None
    found = [link for part in (node.args if node.op == "all" else [node]) for link in links(part)]
    low, high = (Node("neg", (Node("inf", ()),)), "("), (Node("inf", ()), ")")
    names = set()
    for operator, left, right in found:
        if operator not in (">", ">="):
            return None
        closed = operator == ">="
        if left.op == "var" and left.args[0] not in variables(right):
            names.add(left.args[0])
            if low[1] != "(" or low[0].op != "neg" or low[0].args[0].op != "inf":
                return None  # two lower bounds
            low = (right, "[" if closed else "(")
        elif right.op == "var" and right.args[0] not in variables(left):
            names.add(right.args[0])
            if high[1] != ")" or high[0].op != "inf":
                return None
            high = (left, "]" if closed else ")")
        else:
            return None
    if len(names) != 1 or len(found) > 2:
        return None
    return Node("seq", (low[1], high[1], low[0], high[0]))


def words(text: str) -> str:
    """Words without case, punctuation at the ends, or extra space."""
    return " ".join(text.casefold().strip(" .,;:!?()'\"").split())


def unit_name(node: Node) -> str:
    """A unit's letters, without spaces, full stops and plural."""
    if node.op != "unit":
        return ""
    name = "".join(c for c in node.args[1] if c.isalnum() or c in "^/-")
    return name.casefold().removesuffix("s") if len(name) > 3 else name
