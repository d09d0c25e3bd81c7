"""Numeric values of trees at given points, in doubles or with many digits.

Variables are real, so a point counts only if every intermediate value is real. An expression that is nowhere
real, or that contains i, is evaluated in the complex plane, on principal branches. Odd roots of negative
numbers are real.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import mpmath

from shuhari.rewards.math.node import STRUCTURES, Node, TooLarge, Undefined, variables, walk
from shuhari.rewards.math.rational import rational

MAX_LOG10 = 20_000  # largest power of ten of any intermediate value
MAX_FACTORIAL = 10_000
LOG10_2 = math.log10(2)
# What evaluation raises if there is no value, or none that fits into a double.
NO_VALUE = (Undefined, TooLarge, OverflowError, ZeroDivisionError, TypeError, ValueError)
# Functions defined by another one: by the reciprocal of its value (True), or of its argument (False).
_RECIPROCAL = {
    "coth": (True, "tanh"),
    "sech": (True, "cosh"),
    "csch": (True, "sinh"),
    "arccot": (False, "arctan"),
    "arcsec": (False, "arccos"),
    "arccsc": (False, "arcsin"),
    "arcoth": (False, "artanh"),
    "arsech": (False, "arcosh"),
    "arcsch": (False, "arsinh"),
}
_TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})


class Evaluator:
    """Evaluates trees in one mpmath context: `mpmath.mp`, or `mpmath.fp` for doubles.

    `spread` is the largest |log10| of any intermediate value. So many digits may be lost to cancellation.
    """

    def __init__(self, context: Any, point: Mapping[str, Any], *, real: bool) -> None:
        self.mp, self.point, self.real = context, point, real
        self.spread = 0.0
        self.exact = context is mpmath.mp
        # A sum that is smaller than this, relative to its terms, is taken to be zero.
        self.tiny = context.mpf(10) ** -(context.dps // 2) if self.exact else 1e-9

    def value(self, node: Node) -> Any:
        """The value. Raises Undefined or TooLarge if there is none."""
        result = self._value(node)
        if self.real and isinstance(result, (self.mp.mpc, complex)):
            if result.imag:
                raise Undefined("leaves the real numbers")
            result = result.real
        if result:
            size = abs(result)
            if not (self.mp.isfinite(size) if self.exact else math.isfinite(size)):
                raise Undefined("no finite value")
            # With many digits, the binary exponent is enough: a logarithm would cost more than all the rest.
            magnitude = abs(LOG10_2 * self.mp.mag(size) if self.exact else math.log10(size))
            if magnitude > MAX_LOG10:
                raise TooLarge(f"a value beyond 10^{MAX_LOG10}")
            self.spread = max(self.spread, magnitude)
        return result

    def _value(self, node: Node) -> Any:
        op, args = node
        if op == "num":
            return self.mp.mpf(args[0]) if self.exact else self._double(args[0])
        if op == "dec":
            # A decimal needs all its digits.
            self.spread = max(self.spread, LOG10_2 * args[0].denominator.bit_length())
            return self._fraction(args[0])
        if op == "var":
            if args[0] not in self.point:
                raise Undefined(f"{args[0]} has no value")
            return self.point[args[0]]
        if op == "const":
            return {"pi": +self.mp.pi, "e": +self.mp.e}.get(args[0], self.mp.mpc(0, 1))
        if op == "+" or op == "mixed":
            return self._sum([self.value(arg) for arg in args])
        if op == "*":
            product = self.mp.mpf(1)
            for arg in args:
                product = product * self.value(arg)
            return product
        if op == "^":
            return self._power(args[0], args[1])
        if op == "root":
            index = rational(args[1])
            if index is None or index.denominator != 1 or not 1 <= index.numerator <= 1000:
                raise Undefined("the index of a root is a whole number from 1 to 1000")
            return self._rooted(self.value(args[0]), Fraction(1, int(index)))
        if op in STRUCTURES:
            raise Undefined(f"{'infinity' if op == 'inf' else 'a structure'} within arithmetic")
        values = [self.value(arg) for arg in args if isinstance(arg, Node)]
        try:
            return self._apply(op, values)
        except (ZeroDivisionError, OverflowError, ValueError, TypeError, mpmath.libmp.ComplexResult) as error:
            raise Undefined(f"{op}: {error}") from None

    def _double(self, value: int) -> float:
        if value.bit_length() > 1000:
            raise TooLarge("beyond a double")
        return float(value)

    def _fraction(self, value: Fraction | int) -> Any:
        if self.exact:
            return self.mp.mpf(value.numerator) / value.denominator
        return self._double(value.numerator) / self._double(value.denominator)

    def _sum(self, terms: list[Any]) -> Any:
        total = sum(terms[1:], terms[0])
        # A sum that cancels except for rounding errors is zero; otherwise 1/(a-a) would have a value.
        if total and abs(total) < self.tiny * max(map(abs, terms)):
            return self.mp.mpf(0)
        return total

    def _divide(self, top: Any, bottom: Any) -> Any:
        if not bottom:
            raise Undefined("division by zero")
        return top / bottom

    def _power(self, base: Node, exponent: Node) -> Any:
        exact, below = rational(exponent), self.value(base)
        if exact is not None:
            if not below and exact.numerator <= 0:
                raise Undefined("zero to the power of zero or less")
            huge = abs(exact.numerator) >= 10**15 * exact.denominator
            self._guard(below, math.inf if huge else float(exact))
            if exact.denominator == 1:
                return below ** int(exact)
            return self._rooted(below, exact)
        above = self.value(exponent)
        if not below:
            raise Undefined("zero to a power that is not a number")
        self._guard(below, above)
        return self.mp.power(below, above)

    def _guard(self, base: Any, exponent: Any) -> None:
        log10 = self.mp.log10 if self.exact else math.log10
        if base and abs(exponent) * abs(float(log10(abs(base)))) > MAX_LOG10:
            raise TooLarge(f"a power beyond 10^{MAX_LOG10}")

    def _rooted(self, base: Any, exponent: Fraction | int) -> Any:
        """`base` to a rational power."""
        negative = not isinstance(base, (self.mp.mpc, complex)) and base < 0
        if negative and exponent.denominator % 2:
            size = self.mp.power(-base, self._fraction(exponent))
            return -size if exponent.numerator % 2 else size
        return self.mp.power(base, self._fraction(exponent))

    def _apply(self, op: str, values: list[Any]) -> Any:
        mp, x = self.mp, values[0]
        if op == "neg":
            return -x
        if op == "/":
            return self._divide(x, values[1])
        if op == "inv":
            return self._divide(1, x)
        if op == "percent":
            return x / 100
        if op == "deg":
            return x * mp.pi / 180
        if op == "mod":
            return x - values[1] * mp.floor(self._divide(x, values[1]))
        if op == "sqrt":
            return mp.sqrt(x)
        if op in _TRIGONOMETRIC:
            return self._trigonometric(op, x)
        if op == "fact":
            if isinstance(x, (mp.mpc, complex)) or x != int(x) or x < 0:
                raise Undefined("a factorial of something that is not a natural number")
            if x > MAX_FACTORIAL:
                raise TooLarge(f"a factorial above {MAX_FACTORIAL}")
            return mp.factorial(int(x)) if self.exact else self._double(math.factorial(int(x)))
        if op == "exp":
            self._guard(mp.e, x)
            return mp.exp(x)
        if op == "ln":
            if not x:
                raise Undefined("the logarithm of zero")
            return mp.ln(x)
        if op in ("sinh", "cosh", "tanh"):
            self._guard(mp.e, x)
            self.spread = max(self.spread, abs(float(mp.re(x))))  # tanh(80) differs from 1 in its 70th digit
            return getattr(mp, op)(x)
        if op == "arsinh":
            return mp.ln(x + mp.sqrt(x * x + 1))
        if op == "arcosh":
            return mp.ln(x + mp.sqrt(x - 1) * mp.sqrt(x + 1))
        if op == "artanh":
            return mp.ln(self._divide(1 + x, 1 - x)) / 2
        if op in ("arcsin", "arccos", "arctan"):
            return getattr(mp, f"a{op[3:]}")(x)
        if op in _RECIPROCAL:
            outer, inner = _RECIPROCAL[op]
            if op == "arccot" and not (isinstance(x, (mp.mpc, complex)) or x > 0):
                raise Undefined("arccot has two conventions for negative numbers")
            return (
                self._divide(1, self._apply(inner, [x]))
                if outer
                else self._apply(inner, [self._divide(1, x)])
            )
        if op == "erf" or op == "zeta":  # the value may differ from 1 only in late digits
            self.spread = max(self.spread, abs(float(mp.re(x))) ** (2 if op == "erf" else 1) / 2)
        if op in ("gamma", "zeta", "erf", "erfc"):
            return getattr(mpmath.mp if op == "zeta" and self.exact else mp, op)(x)
        if op == "abs":
            return abs(x)
        return self._ordered(op, values)

    def _trigonometric(self, op: str, x: Any) -> Any:
        mp = self.mp
        sine, cosine = mp.sin(x), mp.cos(x)
        # Rounding leaves the divisor slightly different from zero at a pole.
        sine, cosine = (mp.mpf(0) if abs(v) < self.tiny else v for v in (sine, cosine))
        if op == "sin" or op == "cos":
            return sine if op == "sin" else cosine
        top = {"tan": sine, "cot": cosine}.get(op, mp.mpf(1))
        return self._divide(top, cosine if op in ("tan", "sec") else sine)

    def _ordered(self, op: str, values: list[Any]) -> Any:
        """Functions that are defined for real numbers only."""
        mp, x = self.mp, values[0]
        if any(isinstance(v, (mp.mpc, complex)) for v in values):
            raise Undefined(f"{op} of a complex number")
        if op == "floor" or op == "ceil":
            near = mp.nint(x) if self.exact else round(x)
            if abs(x - near) < self.tiny * max(1, abs(x)):
                return mp.mpf(near)
            return getattr(mp, op)(x)
        if op == "sign":
            return mp.mpf((x > 0) - (x < 0))
        if op == "min" or op == "max":
            return min(values) if op == "min" else max(values)
        if op == "binom":
            return mp.binomial(x, values[1])
        if op in ("gcd", "lcm") and all(value == int(value) for value in values):
            return mp.mpf((math.gcd if op == "gcd" else math.lcm)(*map(int, values)))
        raise Undefined(f"{op} has no numeric value")


def scales(node: Node) -> set[float]:
    """Sizes of variables at which the tree may behave differently: its constants, and their inverses."""
    found: set[float] = set()
    for part in walk(node):
        try:
            constant = not variables(part) and part.op not in STRUCTURES
            size = abs(Evaluator(mpmath.fp, {}, real=True).value(part)) if constant else 0.0
        except NO_VALUE:
            size = 0.0
        if 1e-9 < size < 1e12:
            found |= {size, 1 / size}
    return found
