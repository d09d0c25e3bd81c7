"""A tree seen as something more specific: a named value, members, an interval, a matrix, relations."""

from typing import Any

from shuhari.rewards.math import sets
from shuhari.rewards.math.node import Node, operators, variables
from shuhari.rewards.math.rational import rational

Link = tuple[str, Node, Node]  # a relation and its two sides
_RATIOS = frozenset({"sin", "cos", "tan", "cot"})
_FLIPPED = {"<": ">", "<=": ">="}


def as_assignment(node: Node) -> tuple[str, Node] | None:
    """The name and value of `name = value`, `f(x) = value` or `value = name`; None for any other node."""
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
        return f"{left.op} {left.args[0].args[0]}", right  # such as \\sin A = 3/5
    if not variables(right) and (figure := _figure(left)):
        return figure, right
    if left.op == right.op == "seq" and all(arg.op == "var" for arg in _listed(left)):
        return "()", right  # (x, y) = (1, 2)
    return None


def _listed(node: Node) -> list[Node]:
    """The items of a tuple, or of a ratio of three or more numbers."""
    return [arg for item in node.args[2:] for arg in (item.args if node.args[0] == ":" else (item,))]


def _is_place(node: Node) -> bool:
    """Whether the node can be an argument in a definition such as f(x): a variable or a number."""
    return node.op == "var" or rational(node) is not None


def _written(name: Node) -> str:
    return str(name.args[0]) if name.op == "var" else f"{name.args[0]}_"


def _figure(node: Node) -> str:
    """The name of a segment, area or angle, or of a ratio of these, as in `AB = 5`; else empty."""
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


def as_members(node: Node) -> list[Node] | None:
    """The members of a set, a list or a plus-minus; None for any other node."""
    if node.op in ("set", "list"):
        found: list[Node] = []
        for item in node.args:
            found += _spread(item)
        return found
    spread = _spread(node)
    return spread if spread != [node] else None


def _spread(item: Node) -> list[Node]:
    """Both values of a plus-minus, also in `x = 3 \\pm 1`; else the item itself."""
    found = as_assignment(item)
    if found and found[1].op in ("list", "set"):
        name = Node("var", (found[0],))
        return [Node("rel", (("=",), name, part)) for part in as_members(found[1]) or []]
    if item.op not in ("seq", "union", "matrix", "set", "list") and "pm" in operators(item):
        return [_signed(item, "pm"), _signed(item, "mp")]
    return [item]


def _signed(node: Any, plus: str) -> Any:
    """The tree with a sign for every plus-minus. `plus` (`pm` or `mp`) is the one that becomes a plus."""
    if isinstance(node, Node) and node.op == "pm":
        before, term, sign = (_signed(arg, plus) for arg in node.args)
        return Node("+", (before, term if sign == plus else Node("neg", (term,))))
    if isinstance(node, Node):
        return Node(node.op, tuple(_signed(arg, plus) for arg in node.args))
    return tuple(_signed(arg, plus) for arg in node) if type(node) is tuple else node


def as_matrix(node: Node) -> Node | None:
    """A matrix, also one with a factor or sign before it, or rows in brackets; None for any other node."""
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


def relation_links(node: Node) -> list[Link]:
    """The single relations of a chain. In inequalities, < and <= are turned round to > and >=."""
    operators_, *sides = node.args
    found = []
    for operator, left, right in zip(operators_, sides, sides[1:], strict=False):
        if operator in ("<", "<="):
            found.append((_FLIPPED[operator], right, left))
        else:
            found.append((operator, left, right))
    return found


def as_interval(node: Node) -> Node | None:
    """The set described by relations in one variable, such as `1 < x <= 5` or `x < 0 or x > 2`; or None."""
    names: set[str] = set()
    found = _region(node, names)
    if found is None or len(names) != 1:
        return None
    return found if found.op == "seq" else sets.normal_form(found)


def _region(node: Node, names: set[str]) -> Node | None:
    """Relations as an expression of sets, or None. Their variables are added to `names`."""
    if node.op in ("list", "all"):
        parts = [_region(item, names) for item in node.args]
        known = tuple(part for part in parts if part is not None)
        if len(known) < len(parts):
            return None
        return Node("union" if node.op == "list" else "cap", known)
    if node.op != "rel":
        return None
    regions = []
    for operator, left, right in relation_links(node):
        if left.op == "var" and left.args[0] not in variables(right):
            names |= set(left.args)
            value, above = right, True
        elif right.op == "var" and right.args[0] not in variables(left):
            names |= set(right.args)
            value, above = left, False
        else:
            return None
        if operator == "!=":
            excluded = Node("set", tuple(as_members(value) or (value,)))
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
