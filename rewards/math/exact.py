"""Exact values: a rational number, or a value modulo a secret random prime at a secret random point.

Two rational functions that agree at a random point modulo a random 61-bit prime are equal but for a chance
of about degree/2^61 (Schwartz 1980, Zippel 1979). The prime is drawn per process, because a fixed one can be
fooled by whoever knows it. Whatever is no rational function, such as sin or a root, is replaced by a keyed
hash of its name and its arguments' values: equal arguments give equal values, so rearranged expressions
still agree, and agreement is a proof; disagreement is one only where nothing was replaced.
"""

import hashlib
import math
import secrets
from fractions import Fraction
from functools import lru_cache

from shuhari.rewards.math.node import (
    BINDERS,
    MAX_BITS,
    STRUCTURES,
    Node,
    TooLarge,
    Undefined,
    operators,
    substituted,
    variables,
)

MAX_FACTORIAL = 1000
_INDEX = "index of a sum"  # no answer can name it
_ROUNDING = {"floor": math.floor, "ceil": math.ceil}


def rational(node: Node) -> Fraction | int | None:
    """The exact value where arithmetic alone gives a rational one, else None.

    Raises Undefined where a part has no value, and TooLarge before anything huge is computed.
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
        raise Undefined("a factorial of what is no natural number")
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
    """The exact n-th root where it is rational; odd roots of negative numbers are negative."""
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


def _is_prime(n: int) -> bool:
    """Miller-Rabin; these twelve bases decide every n below 2^64 (Sorenson and Webster 2015)."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def _draw_prime() -> int:
    """A random 61-bit prime that is 1 modulo 4, so that -1 has a square root."""
    while True:
        candidate = (secrets.randbits(61) | 1 << 60) & ~3 | 1
        if all(candidate % p for p in (3, 5, 7, 11, 13)) and _is_prime(candidate):
            return candidate


def _imaginary(prime: int) -> int:
    """A square root of -1: a non-residue to the power of (p-1)/4."""
    base = 2
    while pow(base, (prime - 1) // 2, prime) == 1:
        base += 1
    return pow(base, (prime - 1) // 4, prime)


PRIME = _draw_prime()
_KEY = secrets.token_bytes(16)
_I = _imaginary(PRIME)


def _hashed(name: str, *values: int) -> int:
    message = ",".join([name, *(format(value, "x") for value in values)]).encode()
    return int.from_bytes(hashlib.blake2b(message, key=_KEY, digest_size=8).digest()) % PRIME


def indexed(node: Node) -> str | None:
    """The name of a sequence's element where its index is a name or a number: `a_3` for the third."""
    if node.op != "sub":
        return None
    places = [arg.args[0] if arg.op == "var" else rational(arg) for arg in node.args[1:]]
    return None if None in places else f"{node.args[0]}_{','.join(map(str, places))}"


class Residue:
    """The value of trees modulo the secret prime, at the secret point of number `point`.

    `opaque` tells afterwards whether anything but a rational function of variables, i and pi took part: pi
    is transcendental, and so as good as a variable.
    """

    def __init__(self, point: int = 0) -> None:
        self.point, self.opaque = point, False
        self.level = 0  # sums and integrals around what is read

    def value(self, node: Node) -> int:
        """Raises Undefined, or TooLarge where an exponent is."""
        op, args = node
        if op == "num":
            return args[0] % PRIME  # type: ignore[no-any-return]
        if op == "var" or op == "const":
            return self._name(op, args[0])
        if op == "+":
            return sum([self.value(arg) for arg in args]) % PRIME
        if op == "*":
            product = 1
            for arg in args:
                product = product * self.value(arg) % PRIME
            return product
        if op == "neg":
            return -self.value(args[0]) % PRIME
        if op == "^":
            return self._power(args[0], args[1])
        if op == "/":
            return self.value(args[0]) * self._inverse(self.value(args[1])) % PRIME
        if op == "inv":
            return self._inverse(self.value(args[0]))
        if op == "dec":
            return args[0].numerator * self._inverse(args[0].denominator) % PRIME  # type: ignore[no-any-return]
        if op == "mixed":
            return (self.value(args[0]) + self.value(args[1])) % PRIME
        if op == "percent":
            return self.value(args[0]) * self._inverse(100) % PRIME
        if op == "deg":
            return self.value(args[0]) * self._name("const", "pi") * self._inverse(180) % PRIME
        return self._opaque(node)

    def _name(self, op: str, name: str) -> int:
        if op == "const":
            if name == "i":
                return _I
            self.opaque |= name != "pi"
            return _point(op, name, 0)  # a constant is the same at every point
        return _point(op, name, self.point)

    @staticmethod
    def _inverse(value: int) -> int:
        if not value % PRIME:
            raise Undefined("division by zero")
        return pow(value, -1, PRIME)

    def _power(self, base: Node, exponent: Node) -> int:
        power = rational(exponent)
        if power is not None and power.denominator == 1:
            below = self.value(base)
            if not below and power <= 0:
                raise Undefined("zero to the power of zero or less")
            return pow(below, int(power), PRIME)
        if power is not None:
            self.opaque = True
            root = _hashed("root", self.value(base), power.denominator)
            return pow(root, power.numerator, PRIME)
        self.opaque = True
        return _hashed("^", self.value(base), self.value(exponent))

    def _bound(self, node: Node) -> int:
        """A sum, integral, limit or derivative, whatever its index is called and whichever way it runs.

        Sums are taken term by term, and factors without the index are taken out of them.
        """
        self.opaque = True
        op, args = node
        variable = args[BINDERS[op]].args[0]
        if op == "diff" or (op == "int" and len(args) == 2):
            return _hashed(op, _point("var", variable, self.point), self.value(args[0]))
        body = args[0] if op == "int" else args[-1]
        around = args[2:] if op == "int" else args[1:-1]
        limits = [self._limit(bound) for bound in around if isinstance(bound, Node)]
        index = Node("var", (f"{_INDEX} {self.level}",))  # its own in each sum within a sum
        runs = [index]
        if op in ("sum", "prod"):  # counted from zero, upwards and downwards
            low, high = args[1:3]
            if "inf" not in operators(low) | operators(high):
                runs = [Node("+", (low, index)), Node("+", (high, Node("neg", (index,))))]
                limits = [self._limit(Node("+", (high, Node("neg", (low,)))))]

        def term(body: Node) -> int:
            if op == "sum" and body.op == "+":
                return sum(map(term, body.args)) % PRIME
            if op == "sum" and body.op == "neg":
                return -term(body.args[0]) % PRIME
            if op == "sum" and body.op == "*":
                outside = [arg for arg in body.args if variable not in variables(arg)]
                inside = tuple(arg for arg in body.args if variable in variables(arg))
                if outside and inside:
                    rest = inside[0] if len(inside) == 1 else Node("*", inside)
                    return self.value(Node("*", tuple(outside))) * term(rest) % PRIME
            self.level += 1
            bodies = sorted(self.value(substituted(body, variable, run)) for run in runs)
            self.level -= 1
            return _hashed(op + (args[2] if op == "lim" else ""), *limits, *bodies)

        return term(body)

    def _limit(self, node: Node) -> int:
        infinite = {"inf"} & operators(node)
        return _hashed(f"infinity{node}") if infinite else self.value(node)

    def _opaque(self, node: Node) -> int:
        if (name := indexed(node)) is not None:
            return self._name("var", name)
        if node.op == "call" or node.op == "sub":
            # A function nobody defined is one more variable for each of its arguments.
            values = [self.value(arg) for arg in node.args[1:]]
            return _hashed(f"{node.op} {node.args[0]}", self.point, *values)
        if node.op in BINDERS:
            return self._bound(node)
        if node.op in STRUCTURES:
            raise Undefined(f"{'infinity' if node.op == 'inf' else 'a structure'} within arithmetic")
        exact = rational(node)
        if exact is not None:
            return exact.numerator * self._inverse(exact.denominator) % PRIME
        self.opaque = True
        args = [self.value(arg) for arg in node.args if isinstance(arg, Node)]
        if node.op == "sqrt":
            return _hashed("root", args[0], 2)
        if node.op in ("gcd", "lcm", "min", "max"):
            args.sort()
        return _hashed(node.op, *args)


@lru_cache(maxsize=1024)
def _point(op: str, name: str, point: int) -> int:
    return _hashed(op + name, point)
