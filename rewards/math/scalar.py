"""Are two expressions equal? The ladder, cheapest rung first; each rung decides or passes on.

`ast`: the trees are the same. `rational`: both are exact fractions. `modular`: equal as rational functions,
or unequal ones. `numeric`: agreement to 60 digits at random points of both signs, around every constant
that occurs. `sympy`: in a process that can be killed.
"""

from dataclasses import dataclass

from shuhari.rewards.math import with_sympy as algebra
from shuhari.rewards.math.calls import written_out
from shuhari.rewards.math.exact import Residue, rational
from shuhari.rewards.math.node import CALCULUS, STRUCTURES, Node, TooLarge, Undefined, Unparsable, operators
from shuhari.rewards.sandbox.worker_pool import WorkerFault, default_pool


class GoldFault(ValueError):
    """The gold answer has no value, or is too large to judge by."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`equal` is None where no rung could decide."""

    equal: bool | None
    rung: str
    reason: str = ""


def require_value(node: Node) -> None:
    """Raise Undefined or TooLarge unless the expression has a value somewhere."""
    if rational(node) is not None or operators(node) & CALCULUS:
        return
    residue = Residue()
    residue.value(node)
    if residue.opaque and not _has_value(node):
        raise Undefined("no value at any point tried")


def _has_value(node: Node) -> bool:
    from shuhari.rewards.math.probing import has_value  # mpmath takes its time to import

    return has_value(node)


def same_expression(answer: Node, gold: Node) -> Decision:
    """Raises Undefined or TooLarge for the answer; the gold is known to have a value."""
    if answer == gold:
        return Decision(True, "ast")
    left, right = rational(answer), rational(gold)
    if left is not None and right is not None:
        return Decision(left == right, "rational")
    used = operators(answer) | operators(gold)
    if used & CALCULUS:
        return _after_calculus(answer, gold)
    if used & STRUCTURES:
        return Decision(False, "ast", "another kind of object")
    mine, other = Residue(), Residue()
    equal = mine.value(answer) == other.value(gold)
    if not mine.opaque and not other.opaque:
        return Decision(equal, "modular")
    if equal and (not mine.opaque or _has_value(answer)):
        return Decision(True, "modular")
    from shuhari.rewards.math.probing import probe  # mpmath takes its time to import

    found = probe(answer, gold)
    if found is None:
        return _proof(answer, gold)
    return Decision(found, "numeric", "" if found else "another value")


def _after_calculus(answer: Node, gold: Node) -> Decision:
    """Integrals, sums and limits are worked out by sympy, in the worker, and the rest is judged as ever."""
    answer, gold = written_out(answer), written_out(gold)
    if not operators(answer) & CALCULUS and not operators(gold) & CALCULUS:
        return same_expression(answer, gold)
    if Residue().value(answer) == Residue().value(gold):
        return Decision(True, "modular")
    worked: Node | None = gold
    mine: Node | None = answer
    try:
        if operators(gold) & CALCULUS:
            worked = default_pool().call(algebra.closed_form, gold)
    except WorkerFault as fault:
        raise GoldFault(f"the gold could not be worked out: {fault}") from None
    except (Undefined, Unparsable, TooLarge) as error:
        raise GoldFault(f"the gold has no value: {error}") from None
    try:
        if operators(answer) & CALCULUS:
            mine = default_pool().call(algebra.closed_form, answer)
    except WorkerFault as fault:
        if not fault.exhausted:
            raise
        raise TooLarge(f"working out the answer took too much: {fault}") from None
    if worked is not None and mine is None and not operators(gold) & CALCULUS:
        raise TooLarge("the answer's integral, sum or limit cannot be worked out")
    if worked is None or mine is None:
        return Decision(None, "sympy", "not worked out")
    found = same_expression(mine, worked)
    return Decision(found.equal, "sympy", found.reason)


def _proof(answer: Node, gold: Node) -> Decision:
    """The last rung: sympy, in the worker."""
    if (operators(answer) | operators(gold)) & {"gcd", "lcm"}:
        return Decision(None, "sympy", "undecided")  # to sympy these are of polynomials, not of numbers
    try:
        equal = default_pool().call(algebra.provably_equal, answer, gold)
    except WorkerFault as fault:
        if not fault.exhausted:
            raise
        return Decision(None, "sympy", f"undecided: {fault}")
    return Decision(equal, "sympy", "" if equal is not None else "undecided")
