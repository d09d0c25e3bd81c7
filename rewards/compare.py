"""Answers of any kind, compared as what they are: numbers and expressions by the ladder, and sets, tuples,
intervals, matrices, equations and inequalities part by part.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import inf
from typing import Any

from shuhari.rewards.exact import PRIME, Residue, rational
from shuhari.rewards.node import STRUCTURES, Node, TooLarge, operators, variables
from shuhari.rewards.scalar import Decision, constant_ratio, double, require_value, same_expression

Link = tuple[str, Node, Node]  # a relation and its two sides
MAX_ITEMS = 40
RUNGS = ("text", "ast", "rational", "modular", "numeric", "sympy")
_FLIPPED = {"<": ">", "<=": ">=", "=": "=", "!=": "!="}
_DIFFERENT = Decision(False, "ast", "another kind of object")
_FUNCTION_NAMES = frozenset("fghFGH")


def all_of(decisions: Sequence[Callable[[], Decision]]) -> Decision:
    """Equal if every part is; the first that is not, or cannot be decided, decides."""
    rung = "ast"
    for decide in decisions:
        found = decide()
        if found.equal is not True:
            return found  # what cannot be decided has cost enough
        rung = max(rung, found.rung, key=RUNGS.index)
    return Decision(True, rung)


def any_of(decisions: Sequence[Callable[[], Decision]]) -> Decision:
    """Equal if some alternative is."""
    rung = "ast"
    for decide in decisions:
        found = decide()
        if found.equal is not False:
            return found
        rung = max(rung, found.rung, key=RUNGS.index)
    return Decision(False, rung, "another value")


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


def require_values(node: Node) -> None:
    """Raise Undefined or TooLarge unless every part has a value."""
    if node.op in ("inf", "text"):
        return
    if node.op == "neg" and node.args[0].op == "inf":
        return
    if node.op in ("rel", "list", "all", "set", "seq", "union", "matrix", "unit"):
        for part in _parts(node):
            require_values(part)
    elif "pm" in operators(node):
        for part in elements(node) or []:
            require_value(part)
    else:
        require_value(node)


def _parts(node: Node) -> list[Node]:
    if node.op == "matrix":
        return [cell for row in node.args for cell in row]
    return [arg for arg in node.args if isinstance(arg, Node)]


def same(answer: Node, gold: Node) -> Decision:
    """Raises Undefined or TooLarge for the answer; the gold is known to have values."""
    if answer == gold:
        return Decision(True, "ast")
    answer, gold = _signed_degrees(answer), _signed_degrees(gold)
    if "unit" in (answer.op, gold.op):
        return _with_units(answer, gold)
    if "deg" in (answer.op, gold.op):
        return _degrees(answer, gold)
    both = (assigned(answer), assigned(gold))
    if "all" in (answer.op, gold.op):
        ranges = as_interval(answer) or answer, as_interval(gold) or gold
        if ranges[0].op in ("seq", "union") and ranges[1].op in ("seq", "union"):
            return same(*ranges)
        return _same_members(list(answer.args), list(gold.args)) if answer.op == gold.op else _DIFFERENT
    if gold.op == "rel" and answer.op not in ("list", "set"):
        if answer.op == "rel":
            return _relations(answer, gold)
        if answer.op in ("seq", "union"):
            interval = as_interval(gold)
            return same(answer, interval) if interval else _DIFFERENT
        return same(answer, both[1][1]) if both[1] else _DIFFERENT
    if answer.op == "rel" and gold.op not in ("list", "set"):
        if gold.op in ("seq", "union"):
            interval = both[0][1] if both[0] else as_interval(answer)
            return same(interval, gold) if interval else _DIFFERENT
        # A leading `name =` says what the answer is the value of.
        if both[0] and both[0][0] not in variables(gold):
            return same(both[0][1], gold)
        return _DIFFERENT
    members, expected = elements(answer), elements(gold)
    if expected is not None or members is not None:
        if gold.op in ("union", "seq") and members is not None:
            interval = as_interval(answer)
            return same(interval, gold) if interval else _DIFFERENT
        mine = [answer] if members is None else members
        return _same_members(mine, [gold] if expected is None else expected)
    if "matrix" in (answer.op, gold.op):
        left, right = as_matrix(answer), as_matrix(gold)
        return _structures(left, right) if left and right else _DIFFERENT
    if gold.op in ("seq", "union", "text", "inf"):
        return _structures(answer, gold)
    if answer.op in ("seq", "union", "text", "inf"):
        return _DIFFERENT
    return same_expression(answer, gold)


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


def _signed_degrees(node: Node) -> Node:
    """-90 degrees is the degrees of -90."""
    if node.op == "neg" and node.args[0].op == "deg":
        return Node("deg", (Node("neg", node.args[0].args),))
    return node


def _structures(answer: Node, gold: Node) -> Decision:
    if "union" in (answer.op, gold.op):
        answer, gold = merged(answer), merged(gold)
    if answer.op != gold.op:
        return _DIFFERENT
    if gold.op == "seq":
        if answer.args[:2] != gold.args[:2] or len(answer.args) != len(gold.args):
            return Decision(False, "ast", "other brackets, or another length")
        return in_order(answer.args[2:], gold.args[2:])
    if gold.op == "matrix":
        if [len(row) for row in answer.args] != [len(row) for row in gold.args]:
            return Decision(False, "ast", "another shape")
        return in_order(_parts(answer), _parts(gold))
    if gold.op == "union":
        return _same_members(list(answer.args), list(gold.args))
    if gold.op == "text":
        equal = words(answer.args[0]) == words(gold.args[0])
        return Decision(equal, "text", "" if equal else "other words")
    return Decision(answer == gold, "ast")


def words(text: str) -> str:
    """Words without case, punctuation at the ends, or extra space."""
    return " ".join(text.casefold().strip(" .,;:!?()'\"").split())


def in_order(answers: Sequence[Node], golds: Sequence[Node]) -> Decision:
    """Item by item."""
    if len(answers) != len(golds):
        return Decision(False, "ast", "another length")
    return all_of([lambda a=a, g=g: same(a, g) for a, g in zip(answers, golds, strict=True)])  # type: ignore[misc]


def _same_members(answers: list[Node], golds: list[Node]) -> Decision:
    """As sets: every member of either is a member of the other."""
    if max(len(answers), len(golds)) > MAX_ITEMS:
        raise TooLarge(f"more than {MAX_ITEMS} items")
    if len(golds) == 1 and len(answers) > 1 and golds[0].op != "rel":
        return Decision(False, "ast", "a list where one answer is asked")

    names = {found[0] for gold in golds if (found := assigned(gold))}
    if len(names) > 1 and any(answer.op != "rel" for answer in answers):
        return Decision(False, "ast", "each value needs its name")

    def member(item: Node, of: list[Node], *, mine: bool) -> Decision:
        pairs = [(item, other) if mine else (other, item) for other in of]
        pairs = [(a, g) for a, g in pairs if (a.op == "set") == (g.op == "set")]
        return any_of([lambda a=a, g=g: same(a, g) for a, g in pairs])  # type: ignore[misc]

    for answer in answers:
        if answer.op not in ("rel", "seq", "union", "set", "list", "matrix", "text"):
            require_values(answer)
    mine: list[Callable[[], Decision]] = [lambda a=a: member(a, golds, mine=True) for a in answers]  # type: ignore[misc]
    theirs: list[Callable[[], Decision]] = [lambda g=g: member(g, answers, mine=False) for g in golds]  # type: ignore[misc]
    return all_of(mine + theirs)


def _with_units(answer: Node, gold: Node) -> Decision:
    """A unit may be left out; where both state one, it must be the same."""
    values = [node.args[0] if node.op == "unit" else node for node in (answer, gold)]
    units = [unit_name(node) for node in (answer, gold)]
    if all(units) and units[0] != units[1]:
        return Decision(False, "ast", "another unit")
    return same(*values)


def unit_name(node: Node) -> str:
    """A unit's letters, without spaces, full stops and plural."""
    if node.op != "unit":
        return ""
    name = "".join(c for c in node.args[1] if c.isalnum() or c in "^/-")
    return name.casefold().removesuffix("s") if len(name) > 3 else name


def _degrees(answer: Node, gold: Node) -> Decision:
    """`90` and `\\pi/2` both answer 90 degrees."""
    bare = [node.args[0] if node.op == "deg" else node for node in (answer, gold)]
    if answer.op == gold.op:
        return same(*bare)
    options = [lambda: same_expression(answer, gold)]
    if all(rational(node) is not None for node in bare):
        options.append(lambda: same_expression(*bare))
    return any_of(options)


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
    return Fraction(exact) if exact is not None else double(node)


# -- equations and inequalities


def _atomic(node: Node) -> list[Link]:
    """A chain as its links, each pointing to `>` or `>=` where it is an inequality."""
    operators_, *sides = node.args
    links = []
    for operator, left, right in zip(operators_, sides, sides[1:], strict=False):
        if operator in ("<", "<="):
            links.append((_FLIPPED[operator], right, left))
        else:
            links.append((operator, left, right))
    return links


def _relations(answer: Node, gold: Node) -> Decision:
    ours, theirs = _atomic(answer), _atomic(gold)
    if len(ours) != len(theirs):
        return Decision(False, "ast", "another number of relations")
    if len(ours) == 1:
        return _same_link(ours[0], theirs[0])

    def match(link: Link, of: list[Link]) -> Decision:
        return any_of([lambda other=other: _same_link(link, other) for other in of])  # type: ignore[misc]

    mine: list[Callable[[], Decision]] = [lambda link=link: match(link, theirs) for link in ours]  # type: ignore[misc]
    back: list[Callable[[], Decision]] = [lambda link=link: match(link, ours) for link in theirs]  # type: ignore[misc]
    return all_of(mine + back)


def _same_link(answer: Link, gold: Link) -> Decision:
    """The same solutions because one difference of sides is a constant multiple of the other."""
    if answer[0] != gold[0]:
        return Decision(False, "ast", "another relation")
    if set().union(*map(operators, (*answer[1:], *gold[1:]))) & STRUCTURES:
        return in_order((answer[1], answer[2]), (gold[1], gold[2]))
    if not any(map(variables, (*answer[1:], *gold[1:]))):
        return Decision(False, "ast", "a relation between constants")
    ours, theirs = (Node("+", (link[1], Node("neg", (link[2],)))) for link in (answer, gold))
    # ours(P)·theirs(Q) = ours(Q)·theirs(P) at independent points P and Q.
    residues = [[Residue(point) for point in (1, 2)] for _ in range(2)]
    ours_PQ = [residue.value(ours) for residue in residues[0]]
    theirs_PQ = [residue.value(theirs) for residue in residues[1]]
    if not any(ours_PQ) or not any(theirs_PQ):
        return Decision(not any(ours_PQ) and not any(theirs_PQ), "modular", "a relation that always holds")
    proportional = ours_PQ[0] * theirs_PQ[1] % PRIME == ours_PQ[1] * theirs_PQ[0] % PRIME
    opaque = any(residue.opaque for pair in residues for residue in pair)
    if not proportional and not opaque:
        return Decision(False, "modular", "another relation")
    ratio = constant_ratio(ours, theirs, proven=proportional)
    if ratio is None:
        return Decision(False, "numeric", "another relation")
    if ratio < 0 and answer[0] in (">", ">="):
        return Decision(False, "numeric", "the other direction")
    return Decision(True, "modular" if proportional else "numeric")


def as_interval(node: Node) -> Node | None:
    """The interval, or union of intervals, of an inequality in one name: `1 < x <= 5`, `x < 0 or x > 2`."""
    if node.op == "list":
        parts = [as_interval(item) for item in node.args]
        if any(part is None for part in parts):
            return None
        return Node("union", tuple(part for part in parts if part is not None))
    if node.op not in ("rel", "all"):
        return None
    links = [link for part in (node.args if node.op == "all" else [node]) for link in _atomic(part)]
    low, high = (Node("neg", (Node("inf", ()),)), "("), (Node("inf", ()), ")")
    names = set()
    for operator, left, right in links:
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
    if len(names) != 1 or len(links) > 2:
        return None
    return Node("seq", (low[1], high[1], low[0], high[0]))
