"""Random gold answers of every kind, as trees, and short functions that build trees."""

import random
from collections.abc import Callable
from fractions import Fraction

from shuhari.rewards.math.node import Node, number

ONE = number(1)


def var(name: str) -> Node:
    """The node of a variable."""
    return Node("var", (name,))


def plus(*terms: Node) -> Node:
    """The sum; a single term stays as it is."""
    return terms[0] if len(terms) == 1 else Node("+", terms)


def times(*factors: Node) -> Node:
    """The product; a single factor stays as it is."""
    return factors[0] if len(factors) == 1 else Node("*", factors)


def negative(node: Node) -> Node:
    """The node with its sign changed."""
    return node.args[0] if node.op == "neg" else Node("neg", (node,))


def power(base: Node, exponent: int) -> Node:
    """The base to a whole power."""
    return Node("^", (base, number(exponent)))


def _nonzero(rng: random.Random, most: int) -> int:
    return rng.randint(1, most) * rng.choice((1, -1))


def _fraction(rng: random.Random) -> Node:
    while True:
        value = Fraction(_nonzero(rng, 40), rng.randint(2, 25))
        if value.denominator > 1:
            return number(value)


def _surd(rng: random.Random) -> Node:
    root = Node("sqrt", (number(rng.choice([2, 3, 5, 6, 7, 10, 11, 13])),))
    surd = times(number(rng.randint(2, 9)), root)
    return rng.choice(
        [surd, plus(number(_nonzero(rng, 9)), surd), Node("/", (surd, number(rng.randint(2, 7))))]
    )


def _number(rng: random.Random) -> Node:
    pi = Node("const", ("pi",))
    choices: list[Callable[[], Node]] = [
        lambda: _fraction(rng),
        lambda: Node("dec", (Fraction(rng.randint(1, 9999), 10 ** rng.randint(1, 3)),)),
        lambda: _surd(rng),
        lambda: times(number(rng.randint(2, 12)), pi),
        lambda: Node("/", (times(number(rng.randint(2, 12)), pi), number(rng.choice([5, 7, 13])))),
        lambda: Node("percent", (number(rng.randint(1, 99)),)),
        lambda: Node("ln", (number(rng.randint(2, 30)),)),
        lambda: Node("mixed", (number(rng.randint(1, 9)), number(Fraction(1, rng.randint(2, 9))))),
    ]
    return rng.choice(choices)()


def _polynomial(rng: random.Random, names: str) -> Node:
    terms = [number(rng.randint(1, 20))]
    for exponent in range(1, rng.randint(2, 4)):
        name = var(rng.choice(names))
        body = name if exponent == 1 else power(name, exponent)
        coefficient = rng.randint(1, 12)
        term = body if coefficient == 1 else times(number(coefficient), body)
        terms.append(negative(term) if rng.random() < 0.4 else term)
    return plus(*reversed(terms))


def _expression(rng: random.Random) -> Node:
    x = var("x")
    line = plus(times(number(rng.randint(2, 9)), x), number(rng.randint(1, 9)))
    choices: list[Callable[[], Node]] = [
        lambda: _polynomial(rng, "x"),
        lambda: _polynomial(rng, "ab"),
        lambda: Node("/", (_polynomial(rng, "x"), line)),
        lambda: times(line, plus(x, number(_nonzero(rng, 9)))),
        lambda: plus(times(number(rng.randint(2, 9)), Node(rng.choice(["sin", "cos"]), (line,))), x),
        lambda: times(x, Node("^", (Node("const", ("e",)), times(number(rng.randint(2, 9)), x)))),
        lambda: plus(Node("sqrt", (plus(power(x, 2), number(rng.randint(1, 9))),)), x),
        lambda: times(number(rng.randint(2, 9)), Node("ln", (plus(power(x, 2), ONE),))),
        lambda: Node("abs", (plus(x, number(_nonzero(rng, 9))),)),
    ]
    return rng.choice(choices)()


def _equation(rng: random.Random) -> Node:
    x, y = var("x"), var("y")
    line = plus(times(number(rng.randint(2, 9)), x), number(_nonzero(rng, 9)))
    if rng.random() < 0.3:
        return Node("rel", ((rng.choice(["<", ">", "<=", ">="]),), line, y))
    if rng.random() < 0.5:
        return Node("rel", (("=",), y, line))
    return Node("rel", (("=",), plus(power(x, 2), times(number(rng.randint(2, 9)), power(y, 2))), number(9)))


def _distinct(rng: random.Random, n: int) -> list[Node]:
    """`n` numbers with different values."""
    values = rng.sample(range(-30, 30), n)
    return [number(Fraction(v, 2)) if rng.random() < 0.3 else number(Fraction(v)) for v in values]


def _interval(rng: random.Random) -> Node:
    low, high = sorted(rng.sample(range(-20, 20), 2))
    left, right = rng.choice("(["), rng.choice(")]")
    if rng.random() < 0.2:
        return Node("seq", (left, ")", number(low), Node("inf", ())))
    first = Node("seq", (left, right, number(low), number(high)))
    if rng.random() < 0.25:
        return Node("union", (first, Node("seq", ("(", ")", number(high + 5), number(high + 9)))))
    return first


def _matrix(rng: random.Random) -> Node:
    rows, columns = rng.randint(2, 3), rng.randint(1, 3)
    values = rng.sample(range(-40, 40), rows * columns)
    return Node(
        "matrix", tuple(tuple(map(number, values[i * columns : (i + 1) * columns])) for i in range(rows))
    )


GOLDS: dict[str, Callable[[random.Random], Node]] = {
    "integer": lambda rng: number(rng.choice([-1, 1, 1]) * rng.randint(2, 10 ** rng.randint(1, 6))),
    "number": _number,
    "expression": _expression,
    "equation": _equation,
    "set": lambda rng: Node("set", tuple(_distinct(rng, rng.randint(2, 4)))),
    "tuple": lambda rng: Node("seq", ("(", ")", *_distinct(rng, rng.randint(2, 4)))),
    "interval": _interval,
    "matrix": _matrix,
}
