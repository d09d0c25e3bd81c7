"""The value of a tree modulo a secret random prime, at a secret random point.

Two rational functions that agree at a random point modulo a random 61-bit prime are equal, except with a
probability of about degree/2^61 (Schwartz 1980, Zippel 1979). The prime is drawn per process, because anyone
who knows a fixed prime can construct two different expressions that agree. An operation that is not rational,
such as sin or a root, is replaced by a keyed hash of its name and of the values of its arguments. Equal
arguments give equal hashes, so rearranged expressions still agree, and agreement is a proof. Disagreement
is a proof only if nothing was hashed.
"""

import hashlib
import secrets
from functools import lru_cache

from shuhari.rewards.math.node import BINDERS, STRUCTURES, Node, Undefined, operators, substituted, variables
from shuhari.rewards.math.rational import rational

_INDEX = "index of a sum"  # a name that no answer can contain


def _is_prime(n: int) -> bool:
    """Miller-Rabin test. These twelve bases decide every n below 2^64 (Sorenson and Webster 2015)."""
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
    """A square root of -1: a quadratic non-residue to the power of (p-1)/4."""
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
    """The name of a sequence's element, such as `a_3`, if its indices are names or numbers; else None."""
    if node.op != "sub":
        return None
    places = [arg.args[0] if arg.op == "var" else rational(arg) for arg in node.args[1:]]
    return None if None in places else f"{node.args[0]}_{','.join(map(str, places))}"


class Residue:
    """Values of trees modulo the secret prime, at the secret point number `point`.

    `opaque` tells afterwards whether anything was hashed, that is, whether a tree was not a rational function
    of variables, i and pi. Pi is transcendental, so it is treated like a variable.
    """

    def __init__(self, point: int = 0) -> None:
        self.point, self.opaque = point, False
        self.level = 0  # number of sums and integrals around the present node

    def value(self, node: Node) -> int:
        """The value. Raises Undefined if there is none, and TooLarge for a huge exponent."""
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
        """The value of a sum, integral, limit or derivative.

        It does not depend on the name of the index, nor on the direction in which a sum runs. A sum of terms
        is the sum of their sums, and factors without the index are taken out of it.
        """
        self.opaque = True
        op, args = node
        variable = args[BINDERS[op]].args[0]
        if op == "diff" or (op == "int" and len(args) == 2):
            return _hashed(op, _point("var", variable, self.point), self.value(args[0]))
        body = args[0] if op == "int" else args[-1]
        around = args[2:] if op == "int" else args[1:-1]
        limits = [self._limit(bound) for bound in around if isinstance(bound, Node)]
        index = Node("var", (f"{_INDEX} {self.level}",))  # nested sums have different indices
        runs = [index]
        if op in ("sum", "prod"):  # the index counts from zero, upwards from low or downwards from high
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
            # An undefined function is a variable for each combination of its arguments.
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
