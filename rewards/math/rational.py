"""The exact rational value of a tree, where arithmetic alone gives one."""

import math
from fractions import Fraction

from shuhari.rewards.math.node import MAX_BITS, Node, TooLarge, Undefined

MAX_FACTORIAL = 1000
_ROUNDING = {"floor": math.floor, "ceil": math.ceil}


def rational(node: Node) -> Fraction | int | None:
    """The exact value, or None if arithmetic alone gives no rational one.

    Raises Undefined if a part has no value, and TooLarge before a huge number is computed.
    """
    op, args = node
    if op == "num" or op == "dec":
        return args[0]  # type: ignore[no-any-return]
    if op == "var" or op == "const":
        return None
    if op in ("+", "mixed"):
        return _total(args)
    values = [rational(arg) for arg in args if isinstance(arg, Node)]
    if not values or any(value is None for value in values):
        return None
    return _apply(op, [value for value in values if value is not None])


def _total(args: tuple[Node, ...]) -> Fraction | int | None:
    total: Fraction | int = 0
    known = True
    for arg in args:
        value = rational(arg)
        if value is None:
            known = False
        else:
            total = total + value
    return _bounded(total) if known else None


def _bounded(value: Fraction | int) -> Fraction | int:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise TooLarge(f"a number of more than {MAX_BITS} bits")
    return value


def _apply(op: str, values: list[Fraction | int]) -> Fraction | int | None:
    first = values[0]
    if op == "neg":
        return -first
    if op == "*":
        product: Fraction | int = 1
        for value in values:
            product = _bounded(product * value)
        return product
    if op == "/" or op == "inv":
        top, bottom = (first, values[1]) if op == "/" else (1, first)
        if not bottom:
            raise Undefined("division by zero")
        return _bounded(Fraction(top) / bottom)
    if op == "^":
        return _power(first, values[1])
    if op == "percent":
        return Fraction(first) / 100
    if op == "mod":
        if not values[1]:
            raise Undefined("a remainder by zero")
        return first % values[1]
    if op == "gamma" and Fraction(first).denominator == 1 and first > 0:
        return math.factorial(_natural(first - 1))
    if op == "fact":
        return math.factorial(_natural(first))
    if op == "abs":
        return max(first, -first)
    if op == "sign":
        return (first > 0) - (first < 0)
    if op in _ROUNDING:
        return int(_ROUNDING[op](first))
    if op == "min":
        return min(values)
    if op == "max":
        return max(values)
    if op == "gcd" or op == "lcm":
        if any(Fraction(value).denominator != 1 for value in values):
            raise Undefined(f"{op} of a fraction")
        return _bounded((math.gcd if op == "gcd" else math.lcm)(*map(int, values)))
    if op == "binom":
        n, k = values
        if Fraction(n).denominator != 1 or Fraction(k).denominator != 1 or n < 0:
            return None
        _natural(n)
        return math.comb(int(n), int(k)) if k >= 0 else 0
    if op == "sqrt":
        return _root(first, 2)
    if op == "root" and Fraction(values[1]).denominator == 1 and 1 <= values[1] <= 100:
        return _root(first, int(values[1]))
    return None


def _natural(value: Fraction | int) -> int:
    if Fraction(value).denominator != 1 or value < 0:
        raise Undefined("a factorial of something that is not a natural number")
    if value > MAX_FACTORIAL:
        raise TooLarge(f"a factorial above {MAX_FACTORIAL}")
    return int(value)


def _power(base: Fraction | int, exponent: Fraction | int) -> Fraction | int | None:
    if not base and exponent <= 0:
        raise Undefined("zero to the power of zero or less")
    if exponent.denominator != 1:
        if exponent.denominator > 100:
            return None
        root = _root(base, exponent.denominator)
        return None if root is None else _power(root, exponent.numerator)
    n = int(exponent)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if base in (0, 1, -1):
        return base ** (n % 2 or 2) if base else 0
    if bits * abs(n) > MAX_BITS:
        raise TooLarge(f"a power of more than {MAX_BITS} bits")
    return Fraction(base) ** n if n < 0 else base**n


def _root(value: Fraction | int, n: int) -> Fraction | int | None:
    """The exact n-th root, or None if it is irrational. Odd roots of negative numbers are negative."""
    if value < 0:
        root = _root(-value, n) if n % 2 else None
        return None if root is None else -root
    top, bottom = _integer_root(value.numerator, n), _integer_root(value.denominator, n)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _integer_root(value: int, n: int) -> int | None:
    if n == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value < 2:
        return value
    low, high = 1, 1 << (value.bit_length() // n + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**n < value:
            low = middle + 1
        else:
            high = middle
    return low if low**n == value else None
