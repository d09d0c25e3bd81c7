"""The numeric rung: compare the values of two expressions at points.

The points are random, of both signs, and around every constant. Values are compared in doubles first, and if
these agree, with DIGITS digits. This module is imported only when needed, because mpmath imports slowly.
"""

import contextlib
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath

from shuhari.rewards.math.analytic_pieces import BRANCHING, points_in_every_piece
from shuhari.rewards.math.evaluator import NO_VALUE, Evaluator, scales
from shuhari.rewards.math.node import Node, TooLarge, Undefined, operators, variables, walk
from shuhari.rewards.math.unknown_functions import calls_as_variables, has_hashed_arguments

DIGITS = 100  # working precision of a comparison
AGREE = 0.6  # share of the digits that must agree; cancellation may destroy the others
MAX_PRECISION = 2500  # digits; a comparison that needs more is left to the next rung
POINTS, PIECEWISE_POINTS, CONFIRMED = 10, 40, 3
OPERATIONS = 12_000  # evaluations of a node in doubles, at most: large trees get fewer points
_STEPS = frozenset({"abs", "floor", "ceil", "sign", "min", "max"})
_PIECEWISE = _STEPS | {"sqrt", "root", "^"}
_WHOLE = frozenset({"fact", "binom", "gcd", "lcm"})
_I = Node("const", ("i",))


def has_value(node: Node, *, doubles: bool = False) -> bool:
    """Whether the node has a value at one of some points, in doubles or (unless `doubles`) in more digits."""
    node = calls_as_variables(node)
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
    """Random points of both signs and many sizes, also around the constants of the expressions.

    With several variables, every other point is positive in all of them, because roots and logarithms of
    products need it. Functions of whole numbers get whole numbers, and steps get points next to them.
    """
    if not names:
        yield {}
        return
    rng = _fixed_rng()
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
    # Sizes below, above and far above each constant, where an absolute value or a floor may change.
    sizes += [factor * scale for scale in around[:20] for factor in (0.93, 1.07, 1.6, 12.0)]
    for turn in range(count if len(names) == 1 else 4 * count):
        point = {}
        positive = len(names) > 1 and turn % 2 == 0
        for position, name in enumerate(names):
            size = sizes[turn // 2 % len(sizes)] if position == 0 else rng.choice(sizes)
            if positive:
                sign = 1
            elif len(names) == 1:
                sign = (1, -1)[turn % 2]
            else:
                sign = rng.choice((1, -1))
            point[name] = sign * size * rng.uniform(0.95, 1.05)
        yield point


def agree_at_points(answer: Node, gold: Node) -> bool | None:
    """Whether two expressions agree wherever both have values; None if points cannot decide it.

    Raises Undefined or TooLarge for an answer without a value.
    """
    found = _agree_at_points(calls_as_variables(answer), calls_as_variables(gold))
    if found is False and (has_hashed_arguments(answer) or has_hashed_arguments(gold)):
        return None  # calls with different hashes may have equal arguments
    return found


def _agree_at_points(answer: Node, gold: Node) -> bool | None:
    names = sorted(variables(answer) | variables(gold))
    used = operators(answer) | operators(gold)
    imaginary = any(part == _I for node in (answer, gold) for part in walk(node))
    many = PIECEWISE_POINTS if used & _PIECEWISE else POINTS
    many = 3 * many if used & _STEPS else many
    count = max(6, min(many, OPERATIONS // (sum(1 for node in (answer, gold) for _ in walk(node)))))
    common = confirmed = 0
    defined = False
    branching = bool(used & BRANCHING) and not used & _WHOLE
    inside: list[dict[str, Fraction]] | None = None
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
            try:
                verdict = _compare(answer, gold, point, real)
            except TooLarge:
                if not names:
                    raise
                verdict = None
            if verdict is False and (real or imaginary or not names):
                return False
            if verdict is False:
                # In the complex plane, they may differ only by the choice of a branch.
                return None
            confirmed += verdict is True
            if branching and names and verdict and confirmed == CONFIRMED:
                inside = points_in_every_piece(names, (answer, gold), _fixed_rng())
                if inside is not None:
                    break  # points in every piece decide more than points anywhere
        if confirmed:
            break
    if confirmed and not names:
        return True
    if confirmed >= CONFIRMED and common >= CONFIRMED:
        if used & BRANCHING and inside is None:
            inside = points_in_every_piece(names, (answer, gold), _fixed_rng())
            return None if inside is None else _agree_at(inside, answer, gold, real)
        return _agree_at(inside or [], answer, gold, real)
    if not defined:
        if not has_value(answer):
            raise Undefined("no value at any point tried")
        if has_value(gold, doubles=True):
            raise TooLarge("too large to evaluate")
    return None


def _agree_at(inside: list[dict[str, Fraction]], answer: Node, gold: Node, real: bool) -> bool | None:
    """Whether two expressions agree at these points, which lie in every piece; None if one is too large."""
    whole = (operators(answer) | operators(gold)) & _WHOLE
    for point in inside:
        if whole:
            point = {name: Fraction(round(value)) for name, value in point.items()}
        try:
            if _compare(answer, gold, point, real) is False:
                return False
        except TooLarge:
            return None
    return True


def _fixed_rng() -> random.Random:
    """A generator with a fixed seed, so that the same pair always gets the same verdict."""
    return random.Random(2026)


def _compare(answer: Node, gold: Node, point: Mapping[str, float | Fraction], real: bool) -> bool | None:
    """Whether both sides agree at one point; None if one of them has no value there."""
    digits = DIGITS
    while True:
        with mpmath.workdps(digits):
            exact = {name: _mpf(value) for name, value in point.items()}
            ours, theirs = (Evaluator(mpmath.mp, exact, real=real) for _ in range(2))
            try:
                left, right = ours.value(answer), theirs.value(gold)
            except Undefined:
                return None
            # Intermediate values of very different sizes need more digits.
            needed = DIGITS + int(4 * max(ours.spread, theirs.spread)) - 40
            if needed <= digits:
                agree = mpmath.mpf(10) ** -int(AGREE * digits)
                return bool(abs(left - right) <= agree * max(abs(left), abs(right)))
        if needed > MAX_PRECISION:
            raise TooLarge("the comparison needs too many digits")
        digits = needed


def _mpf(value: float | Fraction) -> Any:
    if isinstance(value, Fraction):
        return mpmath.mpf(value.numerator) / value.denominator
    return mpmath.mpf(value)


def many_digits(node: Node) -> Fraction | None:
    """The value of a real constant, to DIGITS digits; None if it has no value."""
    try:
        with mpmath.workdps(DIGITS):
            sign, mantissa, exponent, _ = Evaluator(mpmath.mp, {}, real=True).value(node)._mpf_
    except NO_VALUE:
        return None
    size = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -size if sign else size


def constant_ratio(left: Node, right: Node, *, proven: bool) -> float | None:
    """The ratio left/right, if it is the same real number, not 0, wherever both have values; else None.

    `proven`: the ratio is known to be constant, so one point is enough. NaN if points cannot decide.
    """
    left, right = calls_as_variables(left), calls_as_variables(right)
    names = sorted(variables(left) | variables(right))
    inside: list[dict[str, Fraction]] | None = []
    if not proven and (operators(left) | operators(right)) & BRANCHING:
        inside = points_in_every_piece(names, (left, right), _fixed_rng())
    found: list[Any] = []
    for real in (True, False):
        sampled = itertools.islice(
            _ratios(left, right, names, real=real, doubles=proven), 1 if proven else POINTS
        )
        for ratio in sampled:
            if ratio is None:
                return None
            found.append(ratio)
        if found:
            found += _ratios_at(inside or [], left, right, real=real, doubles=False)
            break
    if not found or None in found:
        return None
    with mpmath.workdps(DIGITS):
        if any(abs(ratio / found[0] - 1) > mpmath.mpf(10) ** -50 for ratio in found):
            return None
    if inside is None:
        return math.nan
    return float(mpmath.re(found[0])) if not mpmath.im(found[0]) else None


def _ratios(left: Node, right: Node, names: list[str], *, real: bool, doubles: bool) -> Iterator[Any]:
    return _ratios_at(
        sample_points(names, left, right, count=PIECEWISE_POINTS), left, right, real=real, doubles=doubles
    )


def _ratios_at(
    at: Iterable[Mapping[str, float | Fraction]], left: Node, right: Node, *, real: bool, doubles: bool
) -> Iterator[Any]:
    """The ratio at each point where both values are not 0, and None at each where only one of them is 0."""
    context = mpmath.fp if doubles else mpmath.mp
    for point in at:
        try:
            with contextlib.nullcontext() if doubles else mpmath.workdps(DIGITS):
                exact = point if doubles else {name: _mpf(value) for name, value in point.items()}
                a, b = (Evaluator(context, exact, real=real).value(node) for node in (left, right))
                ratio = a / b if a and b else None
        except NO_VALUE:
            continue
        if bool(a) != bool(b):
            yield None
        elif ratio is not None:
            yield ratio
