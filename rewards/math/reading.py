"""What a tree says: a name with its value, members, an interval, a matrix. Nothing is compared here."""

from typing import Any

from shuhari.rewards.math import sets
from shuhari.rewards.math.exact import rational
from shuhari.rewards.math.node import Node, operators, variables

Link = tuple[str, Node, Node]  # a relation and its two sides
_RATIOS = frozenset({"sin", "cos", "tan", "cot"})
_FLIPPED = {"<": ">", "<=": ">="}


def assigned(node: Node) -> tuple[str, Node] | None:
    """The name and the value of `name = value`, `f(x) = value` and `value = name`, where it is such."""
    if node.op != "rel" or node.args[0] != ("=",):
        return None
    left, right = node.args[1:]
    for name, value in ((left, right), (right, left)):
        if name.op in ("var", "sub") and not variables(name) & variables(value):
            return _written(name), value
    if (
        left.op == "call"
        and f"{left.args[0]}(" not in variables(right)
        and all(map(_is_place, left.args[1:]))
    ):
        return str(left.args[0]), right
    if left.op in _RATIOS and left.args[0].op == "var" and not variables(right):
        return f"{left.op} {left.args[0].args[0]}", right  # as in \\sin A = 3/5
    if not variables(right) and (figure := _figure(left)):
        return figure, right
    if left.op == right.op == "seq" and all(arg.op == "var" for arg in _listed(left)):
        return "()", right  # (x, y) = (1, 2)
    return None


def _listed(node: Node) -> list[Node]:
    """The items of a tuple, or of a ratio of three and more."""
    return [arg for item in node.args[2:] for arg in (item.args if node.args[0] == ":" else (item,))]


def _is_place(node: Node) -> bool:
    """What a function is named with: a variable, a number or an event."""
    return node.op == "var" or rational(node) is not None


def _written(name: Node) -> str:
    return str(name.args[0]) if name.op == "var" else f"{name.args[0]}_"


def _figure(node: Node) -> str:
    """The name of a segment, an area or an angle, or of their ratio, as in `AB = 5`; else empty."""
    if node.op == "var":
        name = str(node.args[0])
        return name if name[0].isupper() or " " in name else ""
    if node.op == "*" and node.args[0] == Node("var", ("m",)) and len(node.args) == 2:
        return _figure(node.args[1]) if " " in str(node.args[1].args[0]) else ""  # the measure of an angle
    if node.op == "abs":
        return _figure(node.args[0])
    if node.op == "/" and all(arg.op == "var" for arg in node.args):
        return "/".join(str(arg.args[0]) for arg in node.args)
    if node.op in ("*", "/"):
        parts = [_figure(arg) for arg in node.args]
        return ("/" if node.op == "/" else "").join(parts) if all(parts) else ""
    return ""


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
    return tuple(_signed(arg, plus) for arg in node) if type(node) is tuple else node


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
    """The set of numbers that relations in one name describe: `1 < x <= 5`, `x != 0`, `x < 0 or x > 2`."""
    names: set[str] = set()
    found = _region(node, names)
    if found is None or len(names) != 1:
        return None
    return found if found.op == "seq" else sets.normal(found)


def _region(node: Node, names: set[str]) -> Node | None:
    """Relations as an expression in sets; `names` collects what they speak of."""
    if node.op in ("list", "all"):
        parts = [_region(item, names) for item in node.args]
        known = tuple(part for part in parts if part is not None)
        if len(known) < len(parts):
            return None
        return Node("union" if node.op == "list" else "cap", known)
    if node.op != "rel":
        return None
    regions = []
    for operator, left, right in links(node):
        if left.op == "var" and left.args[0] not in variables(right):
            names |= set(left.args)
            value, above = right, True
        elif right.op == "var" and right.args[0] not in variables(left):
            names |= set(right.args)
            value, above = left, False
        else:
            return None
        if operator == "!=":
            excluded = Node("set", tuple(elements(value) or (value,)))
            regions.append(Node("minus", (sets.REALS, excluded)))
        elif operator in (">", ">="):
            bracket = "[" if operator == ">=" else "("
            ends = (value, sets.INFINITY) if above else (sets.MINUS_INFINITY, value)
            closed = {"[": "]", "(": ")"}[bracket]
            regions.append(Node("seq", (bracket, ")", *ends) if above else ("(", closed, *ends)))
        else:
            return None
    if len(regions) == 2 and regions[0].op == regions[1].op == "seq":
        up, down = sorted(regions, key=lambda ray: bool(ray.args[2] == sets.MINUS_INFINITY))
        if up.args[3] == sets.INFINITY and down.args[2] == sets.MINUS_INFINITY:
            return Node("seq", (up.args[0], down.args[1], up.args[2], down.args[3]))
    return regions[0] if len(regions) == 1 else Node("cap", tuple(regions))


def words(text: str) -> str:
    """Words without case, punctuation at the ends, or extra space."""
    return " ".join(text.casefold().strip(" .,;:!?()'\"").split())
