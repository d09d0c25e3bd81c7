"""Compare an answer with a gold of any kind.

Numbers and expressions are compared by the ladder in `same_expression.py`; sets, tuples, intervals, matrices,
equations and inequalities part by part.
"""

import math
from collections.abc import Callable, Sequence

from shuhari.rewards.math import sets, units
from shuhari.rewards.math.node import CALCULUS, STRUCTURES, Node, TooLarge, number, operators, variables
from shuhari.rewards.math.normalize_text import normalized_words
from shuhari.rewards.math.rational import rational
from shuhari.rewards.math.residue import PRIME, Residue
from shuhari.rewards.math.same_expression import Decision, require_value, same_expression
from shuhari.rewards.math.tree_views import (
    Link,
    as_assignment,
    as_interval,
    as_matrix,
    as_members,
    relation_links,
)

MAX_ITEMS = 40
RUNGS = ("text", "ast", "rational", "modular", "numeric", "sympy")
_SETS = frozenset({"seq"}) | sets.ALGEBRA
_PARTED = STRUCTURES - {"pm", "inf", "text"}
_LEAVES = frozenset({"num", "dec", "var", "const"})
_WHOLES = _SETS | {"text", "inf", "cases"}
# Nodes of plain expressions, unless one of `_DEEP` is somewhere below them.
_PLAIN = frozenset({"num", "dec", "var", "const", "+", "*", "/", "^", "neg", "mixed", "percent", "sqrt"})
_DEEP = frozenset({"pm", "matrix", "deg", "inf", "seq", "set"})
_DIFFERENT = Decision(False, "ast", "another kind of object")


def all_of(decisions: Sequence[Callable[[], Decision]]) -> Decision:
    """Equal if every part is equal. The first part that is not, or that is undecided, decides."""
    rung = "ast"
    for decide in decisions:
        found = decide()
        if found.equal is not True:
            return found
        rung = max(rung, found.rung, key=RUNGS.index)
    return Decision(True, rung)


def any_of(decisions: Sequence[Callable[[], Decision]]) -> Decision:
    """Equal if some alternative is equal. The first that is, or that is undecided, decides."""
    rung = "ast"
    for decide in decisions:
        found = decide()
        if found.equal is not False:
            return found
        rung = max(rung, found.rung, key=RUNGS.index)
    return Decision(False, rung, "another value")


def require_values(node: Node) -> None:
    """Raise Undefined or TooLarge if some part has no value."""
    if node.op in ("inf", "text"):
        return
    if node.op == "neg" and node.args[0].op == "inf":
        return
    if node.op in _PARTED:
        for part in _parts(node):
            require_values(part)
        return
    if node.op in _LEAVES:
        return
    used = operators(node)
    if "pm" in used:
        for part in as_members(node) or []:
            require_value(part)
    elif "matrix" in used and (matrix := as_matrix(node)):
        require_values(matrix)
    elif not used & CALCULUS:
        require_value(node)


def _parts(node: Node) -> list[Node]:
    if node.op in ("matrix", "cases"):
        return [cell for row in node.args for cell in row]
    return [arg for arg in node.args if isinstance(arg, Node)]


def same_answer(answer: Node, gold: Node) -> Decision:
    """Whether the answer equals the gold. Raises Undefined or TooLarge if the answer has no value."""
    if answer == gold:
        return Decision(True, "ast")
    if answer.op in _PLAIN and gold.op in _PLAIN and not (operators(answer) | operators(gold)) & _DEEP:
        return same_expression(answer, gold)
    answer, gold = _signed_degrees(answer), _signed_degrees(gold)
    if "congruent" in (answer.op, gold.op):
        return _congruences(answer, gold)
    if {answer.op, gold.op} in ({"rel", "unit"}, {"rel", "deg"}):
        named = [as_assignment(node) for node in (answer, gold)]
        values = [found[1] if found else node for found, node in zip(named, (answer, gold), strict=True)]
        return same_answer(*values) if any(named) else _DIFFERENT
    if "unit" in (answer.op, gold.op):
        return _with_units(answer, gold)
    if "deg" in (answer.op, gold.op):
        return _degrees(answer, gold)
    both = (as_assignment(answer), as_assignment(gold))
    if "all" in (answer.op, gold.op):
        if {answer.op, gold.op} <= {"all", "rel", "list"} and variables(answer) != variables(gold):
            return Decision(False, "ast", "another name")
        ranges = as_interval(answer) or answer, as_interval(gold) or gold
        if ranges[0].op in ("seq", "union") and ranges[1].op in ("seq", "union"):
            return same_answer(*ranges)
        return _same_members(list(answer.args), list(gold.args)) if answer.op == gold.op else _DIFFERENT
    if gold.op == "rel" and answer.op not in ("list", "set"):
        if answer.op == "rel":
            return _relations(answer, gold)
        if both[1]:
            return same_answer(answer, both[1][1])
        interval = as_interval(gold) if answer.op in _SETS else None
        return same_answer(answer, interval) if interval else _DIFFERENT
    if answer.op == "rel" and gold.op not in ("list", "set"):
        if gold.op in _SETS:
            interval = both[0][1] if both[0] else as_interval(answer)
            return same_answer(interval, gold) if interval else _DIFFERENT
        # A name before the answer, as in `name = value`, is ignored unless the gold contains it.
        if both[0] and both[0][0] not in variables(gold):
            return same_answer(both[0][1], gold)
        return _DIFFERENT
    if {answer.op, gold.op} & sets.ALGEBRA or {answer.op, gold.op} == {"seq", "set"}:
        left, right = sets.normal_form(answer), sets.normal_form(gold)
        if left and right and (left, right) != (answer, gold):
            return same_answer(left, right)
    if gold.op == "list" and answer.op in _SETS and (interval := as_interval(gold)):
        return same_answer(answer, interval)
    members, expected = as_members(answer), as_members(gold)
    if expected is not None or members is not None:
        if gold.op in _SETS and members is not None:
            interval = as_interval(answer)
            return same_answer(interval, gold) if interval else _DIFFERENT
        mine = [answer] if members is None else members
        return _same_members(mine, [gold] if expected is None else expected)
    if "matrix" in (answer.op, gold.op):
        left, right = as_matrix(answer), as_matrix(gold)
        return _structures(left, right) if left and right else _DIFFERENT
    if gold.op in _WHOLES:
        return _structures(answer, gold)
    if answer.op in _WHOLES:
        return _DIFFERENT
    return same_expression(answer, gold)


def _signed_degrees(node: Node) -> Node:
    """The node with a sign moved inside the degrees: -(90°) becomes (-90)°."""
    if node.op == "neg" and node.args[0].op == "deg":
        return Node("deg", (Node("neg", node.args[0].args),))
    return node


def _structures(answer: Node, gold: Node) -> Decision:
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
    if gold.op == "cases":
        rows = [[Node("seq", ("(", ")", *row)) for row in node.args] for node in (answer, gold)]
        return _same_members(*rows)
    if gold.op == "union":
        return _same_members(list(answer.args), list(gold.args))
    if gold.op == "text":
        equal = normalized_words(answer.args[0]) == normalized_words(gold.args[0])
        return Decision(equal, "text", "" if equal else "other words")
    return Decision(answer == gold, "ast")


def in_order(answers: Sequence[Node], golds: Sequence[Node]) -> Decision:
    """Equal if the lists have one length and are equal item by item."""
    if len(answers) != len(golds):
        return Decision(False, "ast", "another length")
    return all_of([lambda a=a, g=g: same_answer(a, g) for a, g in zip(answers, golds, strict=True)])  # type: ignore[misc]


def _same_members(answers: list[Node], golds: list[Node]) -> Decision:
    """Equal as sets: every member of one is a member of the other."""
    if max(len(answers), len(golds)) > MAX_ITEMS:
        raise TooLarge(f"more than {MAX_ITEMS} items")
    if len(golds) == 1 and len(answers) > 1 and golds[0].op != "rel":
        return Decision(False, "ast", "a list where one answer is asked")

    names = {found[0] for gold in golds if (found := as_assignment(gold))}
    # The values of x_1 and x_2 need no names, because both are values of x.
    if len({name.partition("_")[0] for name in names}) > 1 and any(answer.op != "rel" for answer in answers):
        return Decision(False, "ast", "each value needs its name")

    def member(item: Node, of: list[Node], *, mine: bool) -> Decision:
        pairs = [(item, other) if mine else (other, item) for other in of]
        pairs = [(a, g) for a, g in pairs if (a.op == "set") == (g.op == "set")]
        return any_of([lambda a=a, g=g: same_answer(a, g) for a, g in pairs])  # type: ignore[misc]

    for answer in answers:
        if answer.op not in ("rel", "seq", "union", "set", "list", "matrix", "text"):
            require_values(answer)
    mine: list[Callable[[], Decision]] = [lambda a=a: member(a, golds, mine=True) for a in answers]  # type: ignore[misc]
    theirs: list[Callable[[], Decision]] = [lambda g=g: member(g, answers, mine=False) for g in golds]  # type: ignore[misc]
    return all_of(mine + theirs)


def _with_units(answer: Node, gold: Node) -> Decision:
    """Compare values with units. One side may omit its unit; two units must have the same dimension."""
    values = [node.args[0] if node.op in ("unit", "deg") else node for node in (answer, gold)]
    stated = [node.args[1] if node.op == "unit" else None for node in (answer, gold)]
    if "deg" in (answer.op, gold.op):
        if units.UNITS["radian"] in stated:
            return same_expression(*(node if node.op == "deg" else node.args[0] for node in (answer, gold)))
        return Decision(False, "ast", "another unit")
    if stated[0] and stated[1] and stated[0] != stated[1]:
        if stated[0].powers != stated[1].powers:
            return Decision(False, "ast", "another unit")
        values = [
            Node("*", (value, number(unit.factor)))
            for value, unit in zip(values, stated, strict=True)
            if unit
        ]
    return same_answer(*values)


def _degrees(answer: Node, gold: Node) -> Decision:
    """Compare with degrees: 90 and `\\pi/2` both equal 90 degrees."""
    bare = [node.args[0] if node.op == "deg" else node for node in (answer, gold)]
    if answer.op == gold.op:
        return same_answer(*bare)
    options = [lambda: same_expression(answer, gold)]
    if all(rational(node) is not None for node in bare):
        options.append(lambda: same_expression(*bare))
    return any_of(options)


def _congruences(answer: Node, gold: Node) -> Decision:
    """Equal if the moduli are equal, and the residues differ by a multiple of the modulus."""
    if answer.op != gold.op:
        return _DIFFERENT  # a residue class does not equal one of its numbers
    modulus = same_answer(answer.args[-1], gold.args[-1])
    if not modulus.equal:
        return modulus
    both = len(answer.args) == len(gold.args) == 3
    named = same_answer(answer.args[0], gold.args[0]) if both else Decision(True, "ast")
    values = [rational(node) for node in (answer.args[-2], gold.args[-2], gold.args[-1])]
    if not named.equal or None in values or not values[2]:
        return named if not named.equal else same_answer(answer.args[-2], gold.args[-2])
    apart = (values[0] - values[1]) % values[2]  # type: ignore[operator]
    return Decision(not apart, "rational", "another residue" if apart else "")


def _relations(answer: Node, gold: Node) -> Decision:
    ours, theirs = relation_links(answer), relation_links(gold)
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
    """Equal if the difference of sides of one relation is a constant multiple of the other's."""
    if answer[0] != gold[0]:
        return Decision(False, "ast", "another relation")
    if set().union(*map(operators, (*answer[1:], *gold[1:]))) & (STRUCTURES | CALCULUS):
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
    from shuhari.rewards.math.compare_at_points import constant_ratio  # mpmath takes its time to import

    ratio = constant_ratio(ours, theirs, proven=proportional)
    if ratio is None:
        return Decision(False, "numeric", "another relation")
    if math.isnan(ratio):
        return Decision(None, "numeric", "not every piece can be compared")
    if ratio < 0 and answer[0] in (">", ">="):
        return Decision(False, "numeric", "the other direction")
    return Decision(True, "modular" if proportional else "numeric")
