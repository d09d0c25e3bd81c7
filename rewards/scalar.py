"""Are two expressions equal? The ladder, cheapest rung first; each rung decides or passes on.

`ast`: the trees are the same. `rational`: both are exact fractions. `modular`: equal as rational functions,
or unequal ones. `numeric`: agreement to 60 digits at random points of both signs, around every constant
that occurs. `sympy`: in a process that can be killed.
"""

import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shuhari.rewards import algebra
from shuhari.rewards.exact import Residue, rational
from shuhari.rewards.node import (
    CALCULUS,
    STRUCTURES,
    Node,
    TooLarge,
    Undefined,
    Unparsable,
    operators,
    size,
    variables,
)
from shuhari.rewards.pool import WorkerFault, default_pool

DIGITS = 100  # working precision of a comparison
AGREE = 0.6  # of these digits must agree: the rest may be lost to cancellation
MAX_PRECISION = 2500  # digits; what needs more is left to the next rung
POINTS, PIECEWISE_POINTS, CONFIRMED = 10, 40, 3
OPERATIONS = 12_000  # evaluations of a node in doubles, at most: points are dropped before time is lost
# What evaluating may raise where there is no value, or none that doubles can hold.
NO_VALUE = (Undefined, TooLarge, OverflowError, ZeroDivisionError, TypeError, ValueError)
_STEPS = frozenset({"abs", "floor", "ceil", "sign", "min", "max"})
_PIECEWISE = _STEPS | {"sqrt", "root", "^"}
_WHOLE = frozenset({"fact", "binom", "gcd", "lcm"})


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
    if rational(node) is not None:
        return
    if operators(node) & CALCULUS:
        return
    residue = Residue()
    residue.value(node)
    if residue.opaque and not _has_value(node):
        raise Undefined("no value at any point tried")


def _has_value(node: Node, *, doubles: bool = False) -> bool:
    """Whether it can be evaluated at one of some points, in doubles or (unless only these) in more."""
    import mpmath

    from shuhari.rewards.numeric import Evaluator

    names = sorted(variables(node))
    for context, count in ((mpmath.fp, PIECEWISE_POINTS), (mpmath.mp, CONFIRMED))[: 1 if doubles else 2]:
        for real in (True, False):
            for point in sample_points(names, node, count=count):
                with mpmath.workdps(DIGITS):
                    at = {name: context.mpf(value) for name, value in point.items()}
                    try:
                        Evaluator(context, at, real=real).value(node)
                        return True
                    except NO_VALUE:
                        continue
    return False


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
    return _numeric(answer, gold)


def sample_points(names: list[str], *nodes: Node, count: int) -> Iterator[dict[str, float]]:
    """Random points of both signs and many sizes, around the constants of the expressions too.

    With several names every other point is all positive: roots and logarithms of products live there.
    Where only whole numbers have a value, or where steps lie at them, these are drawn as well.
    """
    if not names:
        yield {}
        return
    from shuhari.rewards.numeric import scales

    rng = random.Random(secrets.randbits(64))
    around = sorted(set().union(*(scales(node) for node in nodes)))
    rng.shuffle(around)
    used = set().union(*(operators(node) for node in nodes))
    if used & _WHOLE:
        whole = [round(c) + d for c in around if 2 < c < 200 for d in (-1, 0, 1, 4)]
        pool = [*range(1, 13), *whole, 25, 40]
        for turn in range(min(4 * count, len(pool))):
            yield {name: float(pool[turn] if i == 0 else rng.choice(pool)) for i, name in enumerate(names)}
        return
    if used & _STEPS:
        for value in (0.0, 1.0, -1.0, 2.0, -3.0, 7.0, 0.995, 2.005, -1.004, 0.5, -2.5):
            yield {name: value if i == 0 else rng.choice((1.0, -2.0, 3.0)) for i, name in enumerate(names)}
    sizes = [0.3, 0.7, 1.9, 4.1, 17.0]
    # Beyond, just below and just above each constant: where an absolute value or a floor may turn.
    sizes += [factor * scale for scale in around[:20] for factor in (0.93, 1.07, 1.6, 12.0)]
    for turn in range(count if len(names) == 1 else 4 * count):
        point = {}
        positive = len(names) > 1 and turn % 2 == 0
        for position, name in enumerate(names):
            size = sizes[turn // 2 % len(sizes)] if position == 0 else rng.choice(sizes)
            sign = 1 if positive else (1, -1)[turn % 2] if len(names) == 1 else rng.choice((1, -1))
            point[name] = sign * size * rng.uniform(0.95, 1.05)
        yield point


def _numeric(answer: Node, gold: Node) -> Decision:
    import mpmath

    from shuhari.rewards.numeric import Evaluator

    names = sorted(variables(answer) | variables(gold))
    used = operators(answer) | operators(gold)
    imaginary = Node("const", ("i",)) in _constants(answer) | _constants(gold)
    many = PIECEWISE_POINTS if used & _PIECEWISE else POINTS
    many = 3 * many if used & _STEPS else many
    count = max(6, min(many, OPERATIONS // (size(answer) + size(gold))))
    common = confirmed = 0
    defined = False
    for real in (False,) if imaginary else (True, False):
        for point in sample_points(names, answer, gold, count=count):
            values = []
            for node in (answer, gold):
                try:
                    values.append(Evaluator(mpmath.fp, point, real=real).value(node))
                except NO_VALUE:
                    values.append(None)
            defined |= values[0] is not None
            if names and None in values:
                continue
            if len(names) > 1 and common > count:
                break
            common += 1
            close = None not in values and abs(values[0] - values[1]) <= 1e-7 * max(map(abs, values))
            if close and confirmed >= CONFIRMED and not used & _WHOLE:
                continue
            verdict = _compare(answer, gold, point, real)
            if verdict is False and (real or imaginary or not names):
                return Decision(False, "numeric", "another value")
            if verdict is False:
                # Off the real line only the branches may differ.
                return _proof(answer, gold)
            confirmed += verdict is True
        if confirmed:
            break
    if confirmed and (not names or (confirmed >= CONFIRMED and common >= CONFIRMED)):
        return Decision(True, "numeric")
    if not defined:
        if not _has_value(answer):
            raise Undefined("no value at any point tried")
        if _has_value(gold, doubles=True):
            raise TooLarge("too large to evaluate")
    return _proof(answer, gold)


def _compare(answer: Node, gold: Node, point: dict[str, float], real: bool) -> bool | None:
    """Whether both sides agree at one point; None where one has no value there."""
    import mpmath

    from shuhari.rewards.numeric import Evaluator

    digits = DIGITS
    while True:
        with mpmath.workdps(digits):
            exact = {name: mpmath.mpf(value) for name, value in point.items()}
            ours, theirs = (Evaluator(mpmath.mp, exact, real=real) for _ in range(2))
            try:
                left, right = ours.value(answer), theirs.value(gold)
            except Undefined:
                return None
            # Whatever is that much larger or smaller than the rest may hide in rounding.
            needed = DIGITS + int(4 * max(ours.spread, theirs.spread)) - 40
            if needed <= digits:
                agree = mpmath.mpf(10) ** -int(AGREE * digits)
                return bool(abs(left - right) <= agree * max(abs(left), abs(right)))
        if needed > MAX_PRECISION:
            return None
        digits = needed


def double(node: Node) -> float | None:
    """The value of a real constant as a double; None where it has none."""
    import mpmath

    from shuhari.rewards.numeric import Evaluator

    try:
        return float(Evaluator(mpmath.fp, {}, real=True).value(node))
    except NO_VALUE:
        return None


def constant_ratio(left: Node, right: Node, *, proven: bool) -> float | None:
    """left/right where it is one real number other than 0 wherever both have values; else None.

    `proven`: it is known to be constant, so that one point tells its sign.
    """
    import mpmath

    from shuhari.rewards.numeric import Evaluator

    names = sorted(variables(left) | variables(right))
    found: list[Any] = []
    for real in (True, False):
        for point in sample_points(names, left, right, count=PIECEWISE_POINTS):
            try:
                if proven:
                    a, b = (Evaluator(mpmath.fp, point, real=real).value(node) for node in (left, right))
                else:
                    with mpmath.workdps(DIGITS):
                        exact = {name: mpmath.mpf(value) for name, value in point.items()}
                        a, b = (Evaluator(mpmath.mp, exact, real=real).value(node) for node in (left, right))
            except NO_VALUE:
                continue
            if bool(a) != bool(b):
                return None
            if a and b:
                found.append(a / b)
                with mpmath.workdps(DIGITS):
                    if abs(found[-1] / found[0] - 1) > (1e-6 if proven else mpmath.mpf(10) ** -50):
                        return None
            if len(found) >= (1 if proven else POINTS):
                break
        if found:
            break
    return float(mpmath.re(found[0])) if found and not mpmath.im(found[0]) else None


def _constants(node: Node) -> set[Node]:
    found: set[Node] = set()
    todo: list[Any] = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, Node):
            if part.op == "const":
                found.add(part)
            todo += part.args
        elif isinstance(part, tuple):
            todo += part
    return found


def _after_calculus(answer: Node, gold: Node) -> Decision:
    """Integrals, sums and limits are worked out by sympy, in the worker, and the rest is judged as ever."""
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
    try:
        equal = default_pool().call(algebra.provably_equal, answer, gold)
    except WorkerFault as fault:
        if not fault.exhausted:
            raise
        return Decision(None, "sympy", f"undecided: {fault}")
    return Decision(equal, "sympy", "" if equal is not None else "undecided")
