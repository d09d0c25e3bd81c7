"""Compare two expressions by a ladder of tests, the cheapest first, until one of them decides.

`ast`: the trees are the same. `rational`: both are exact fractions. `modular`: both are rational functions,
or their values modulo a prime agree. `numeric`: the values agree to 60 digits at random points of both signs
and around every constant. `sympy`: sympy decides, in a process that can be killed.
"""

from dataclasses import dataclass

from shuhari.rewards.math import sympy_functions
from shuhari.rewards.math.node import CALCULUS, STRUCTURES, Node, TooLarge, Undefined, Unparsable, operators
from shuhari.rewards.math.rational import rational
from shuhari.rewards.math.residue import Residue
from shuhari.rewards.math.short_sums import write_out_sums
from shuhari.rewards.sandbox.worker_pool import WorkerFault, default_pool


class GoldFault(ValueError):
    """The gold answer has no value, or is too large to judge by."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether two sides are equal, and why. `equal` is None if no rung could decide."""

    equal: bool | None
    rung: str
    reason: str = ""


def require_value(node: Node) -> None:
    """Raise Undefined or TooLarge if the expression has no value at any point."""
    if rational(node) is not None or operators(node) & CALCULUS:
        return
    residue = Residue()
    residue.value(node)
    if residue.opaque and not _has_value(node):
        raise Undefined("no value at any point tried")


def _has_value(node: Node) -> bool:
    from shuhari.rewards.math.compare_at_points import has_value  # mpmath takes its time to import

    return has_value(node)


def same_expression(answer: Node, gold: Node) -> Decision:
    """Whether the expressions are equal. Raises Undefined or TooLarge if the answer has no value."""
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
    from shuhari.rewards.math.compare_at_points import agree_at_points  # mpmath takes its time to import

    found = agree_at_points(answer, gold)
    if found is None:
        return _proof(answer, gold)
    return Decision(found, "numeric", "" if found else "another value")


def _after_calculus(answer: Node, gold: Node) -> Decision:
    """Let sympy compute integrals, sums and limits, and compare the results."""
    answer, gold = write_out_sums(answer), write_out_sums(gold)
    if not operators(answer) & CALCULUS and not operators(gold) & CALCULUS:
        return same_expression(answer, gold)
    if Residue().value(answer) == Residue().value(gold):
        return Decision(True, "modular")
    worked: Node | None = gold
    mine: Node | None = answer
    try:
        if operators(gold) & CALCULUS:
            worked = default_pool().call(sympy_functions.closed_form, gold)
    except WorkerFault as fault:
        raise GoldFault(f"the gold could not be computed: {fault}") from None
    except (Undefined, Unparsable, TooLarge) as error:
        raise GoldFault(f"the gold has no value: {error}") from None
    try:
        if operators(answer) & CALCULUS:
            mine = default_pool().call(sympy_functions.closed_form, answer)
    except WorkerFault as fault:
        if not fault.exhausted:
            raise
        raise TooLarge(f"computing the answer took too much: {fault}") from None
    if worked is not None and mine is None and not operators(gold) & CALCULUS:
        raise TooLarge("the answer's integral, sum or limit cannot be computed")
    if worked is None or mine is None:
        return Decision(None, "sympy", "sympy found no closed form")
    found = same_expression(mine, worked)
    return Decision(found.equal, "sympy", found.reason)


def _proof(answer: Node, gold: Node) -> Decision:
    """The last rung: a proof by sympy, in a worker process."""
    if (operators(answer) | operators(gold)) & {"gcd", "lcm"}:
        # For sympy these are functions of polynomials, not of numbers.
        return Decision(None, "sympy", "undecided")
    try:
        equal = default_pool().call(sympy_functions.provably_equal, answer, gold)
    except WorkerFault as fault:
        if not fault.exhausted:
            raise
        return Decision(None, "sympy", f"undecided: {fault}")
    return Decision(equal, "sympy", "" if equal is not None else "undecided")
