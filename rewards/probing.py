"""The numeric rung: values to many digits, at random points of both signs and around every constant.

Doubles look first; what they cannot tell apart is confirmed to DIGITS. Imported only once it is needed.
"""

import random
import secrets
from collections.abc import Iterator
from typing import Any

import mpmath

from shuhari.rewards.node import Node, TooLarge, Undefined, operators, variables, walk
from shuhari.rewards.numeric import NO_VALUE, Evaluator, scales

DIGITS = 100  # working precision of a comparison
AGREE = 0.6  # of these digits must agree: the rest may be lost to cancellation
MAX_PRECISION = 2500  # digits; what needs more is left to the next rung
POINTS, PIECEWISE_POINTS, CONFIRMED = 10, 40, 3
OPERATIONS = 12_000  # evaluations of a node in doubles, at most: points are dropped before time is lost
_STEPS = frozenset({"abs", "floor", "ceil", "sign", "min", "max"})
_PIECEWISE = _STEPS | {"sqrt", "root", "^"}
_WHOLE = frozenset({"fact", "binom", "gcd", "lcm"})
_I = Node("const", ("i",))


def has_value(node: Node, *, doubles: bool = False) -> bool:
    """Whether it can be evaluated at one of some points, in doubles or (unless only these) in more."""
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


def sample_points(names: list[str], *nodes: Node, count: int) -> Iterator[dict[str, float]]:
    """Random points of both signs and many sizes, around the constants of the expressions too.

    With several names every other point is all positive: roots and logarithms of products live there.
    Where only whole numbers have a value, or where steps lie at them, these are drawn as well.
    """
    if not names:
        yield {}
        return
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


def probe(answer: Node, gold: Node) -> bool | None:
    """Whether two expressions agree wherever both have values; None where points cannot tell.

    Raises Undefined or TooLarge for an answer without a value.
    """
    names = sorted(variables(answer) | variables(gold))
    used = operators(answer) | operators(gold)
    imaginary = any(part == _I for node in (answer, gold) for part in walk(node))
    many = PIECEWISE_POINTS if used & _PIECEWISE else POINTS
    many = 3 * many if used & _STEPS else many
    count = max(6, min(many, OPERATIONS // (sum(1 for node in (answer, gold) for _ in walk(node)))))
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
                return False
            if verdict is False:
                # Off the real line only the branches may differ.
                return None
            confirmed += verdict is True
        if confirmed:
            break
    if confirmed and (not names or (confirmed >= CONFIRMED and common >= CONFIRMED)):
        return True
    if not defined:
        if not has_value(answer):
            raise Undefined("no value at any point tried")
        if has_value(gold, doubles=True):
            raise TooLarge("too large to evaluate")
    return None


def _compare(answer: Node, gold: Node, point: dict[str, float], real: bool) -> bool | None:
    """Whether both sides agree at one point; None where one has no value there."""
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
    try:
        return float(Evaluator(mpmath.fp, {}, real=True).value(node))
    except NO_VALUE:
        return None


def constant_ratio(left: Node, right: Node, *, proven: bool) -> float | None:
    """left/right where it is one real number other than 0 wherever both have values; else None.

    `proven`: it is known to be constant, so that one point tells its sign.
    """
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
