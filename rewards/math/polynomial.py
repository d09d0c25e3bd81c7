"""Polynomials with rational coefficients: trees as quotients of polynomials, and turning points."""

import math
from fractions import Fraction
from itertools import pairwise

from shuhari.rewards.math.node import Node, TooLarge, variables
from shuhari.rewards.math.rational import rational

Polynomial = dict[tuple[int, ...], Fraction]  # coefficients by the exponents of the variables

MAX_DEGREE, MAX_TERMS, MAX_TURNS = 24, 200, 14
BITS = 80  # precision of a zero


def multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            key = tuple(i + j for i, j in zip(left, right, strict=True))
            product[key] = product.get(key, Fraction(0)) + x * y
    if len(product) > MAX_TERMS or any(sum(key) > MAX_DEGREE for key in product):
        raise TooLarge("a polynomial of too many terms")
    return {key: value for key, value in product.items() if value}


def _added(a: Polynomial, b: Polynomial) -> Polynomial:
    total = dict(a)
    for key, value in b.items():
        total[key] = total.get(key, Fraction(0)) + value
    return {key: value for key, value in total.items() if value}


def as_quotient(node: Node, names: list[str]) -> tuple[Polynomial, Polynomial] | None:
    """The tree as numerator and denominator, polynomials in `names`; None if it is not rational."""
    nothing = (0,) * len(names)
    one: Polynomial = {nothing: Fraction(1)}
    op, args = node
    if op == "var":
        return {tuple(int(name == args[0]) for name in names): Fraction(1)}, one
    if not variables(node):
        value = real_number(node)
        if value is None:
            return None
        return {nothing: value} if value else {}, one
    if op == "^":
        power = rational(args[1])
        base = as_quotient(args[0], names)
        if base is None or power is None or power.denominator != 1 or abs(int(power)) > MAX_DEGREE:
            return None
        top, bottom = base if power >= 0 else (base[1], base[0])
        result = (one, one)
        for _ in range(abs(int(power))):
            result = multiply(result[0], top), multiply(result[1], bottom)
        return result
    if op not in ("+", "*", "/", "neg", "inv", "percent", "deg"):
        return None
    parts = [as_quotient(arg, names) for arg in args]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    top, bottom = known[0]
    if op == "inv":
        return bottom, top
    if op in ("neg", "percent", "deg"):  # a factor other than 0 does not move zeros
        return {key: -value for key, value in top.items()} if op == "neg" else top, bottom
    for other_top, other_bottom in known[1:]:
        if op == "+" and bottom == other_bottom:
            top = _added(top, other_top)
        elif op == "+":
            top = _added(multiply(top, other_bottom), multiply(other_top, bottom))
            bottom = multiply(bottom, other_bottom)
        else:
            up, down = (other_top, other_bottom) if op == "*" else (other_bottom, other_top)
            top, bottom = multiply(top, up), multiply(bottom, down)
    return top, bottom


def real_number(node: Node) -> Fraction | None:
    """The value of a real constant, exact if it is rational, else to many digits."""
    exact = rational(node)
    if exact is not None:
        return Fraction(exact)
    from shuhari.rewards.math.compare_at_points import many_digits

    return many_digits(node)


def turning_points(line: list[Fraction]) -> list[Fraction]:
    """The real zeros of a polynomial and of all its derivatives, in order.

    `line[i]` is the coefficient of the i-th power. A zero is searched for between two neighbouring zeros of
    the derivative. Those are included, so a double zero is not missed.
    """
    if len(line) > MAX_TURNS:
        raise TooLarge("a polynomial of too high a degree")
    if len(line) < 2:
        return []
    if len(line) == 2:
        return [-line[0] / line[1]]
    inner = turning_points([c * i for i, c in enumerate(line)][1:])
    scale = math.lcm(*(c.denominator for c in line))
    whole = [int(c * scale) for c in line]
    bound = 1 + max(abs(c / line[-1]) for c in line[:-1])  # Cauchy's bound
    ends = [-bound, *inner, bound]
    zeros = [found for low, high in pairwise(ends) if (found := _zero(whole, low, high)) is not None]
    return sorted({*inner, *zeros})


def _zero(whole: list[int], low: Fraction, high: Fraction) -> Fraction | None:
    """The zero between two points where the signs differ, to BITS bits; None if they do not differ."""
    bits = BITS + max(low.denominator.bit_length(), high.denominator.bit_length())
    a, b = (end.numerator * (1 << bits) // end.denominator for end in (low, high))

    def sign(x: int) -> int:
        total = 0
        for power, c in enumerate(reversed(whole)):
            total = total * x + (c << (bits * power))
        return (total > 0) - (total < 0)

    left, right = sign(a), sign(b)
    if left * right >= 0:
        return None
    for _ in range(2 * BITS):
        middle = (a + b) // 2
        if middle == a:
            break
        here = sign(middle)
        if not here:
            return Fraction(middle, 1 << bits)
        a, b = (middle, b) if here == left else (a, middle)
        if b - a < (1 << max(0, (abs(a) | abs(b)).bit_length() - BITS)):
            break
    surplus = max(0, a.bit_length() - BITS)
    return Fraction(a >> surplus << surplus, 1 << bits)
