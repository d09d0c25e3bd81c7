"""Points in every piece on which an expression is analytic.

A piece ends where the argument of a root, a logarithm or an absolute value is zero. Inside a piece an
expression is analytic, so two expressions that agree at a few random points of it agree on all of it. The
pieces can be found if these zeros are zeros of polynomials in one variable, or planes in several variables.
Points are then chosen in every cell between the planes (after Collins 1975).
"""

import random
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations, pairwise

from shuhari.rewards.math.node import Node, TooLarge, Undefined, number, operators, variables, walk
from shuhari.rewards.math.polynomial import Polynomial, as_quotient, multiply, real_number, turning_points
from shuhari.rewards.math.rational import rational

Plane = tuple[Fraction, ...]  # coefficients of the variables, and the constant

MAX_PLANES, MAX_POINTS = 40, 240
_ZERO = frozenset({"abs", "sign", "sqrt", "root", "ln"})
_ONE = frozenset(
    {"arcsin", "arccos", "arcosh", "artanh", "arcsec", "arccsc", "arcoth", "arsech", "arcsch", "arccot"}
)
_STEPS = frozenset({"floor", "ceil", "mod", "gcd", "lcm"})  # infinitely many pieces
_POLES = frozenset({"tan", "cot", "sec", "csc"})
_TURNS = frozenset({"arctan", "arsinh"})
BRANCHING = _ZERO | _ONE | _STEPS | _TURNS | {"min", "max", "^"}


def points_in_every_piece(
    names: list[str], nodes: Iterable[Node], rng: random.Random
) -> list[dict[str, Fraction]] | None:
    """Two points in every piece: none if nothing branches, and None if the pieces cannot be found."""
    nodes = list(nodes)
    edges = _edges(nodes)
    if edges is None:
        return None
    planes: set[Plane] = set()
    for edge in edges:
        try:
            found = _planes(edge, names)
        except (TooLarge, Undefined):
            return None
        if found is None:
            return None
        planes |= found
    if not edges:
        return []
    cells = _cells(len(names), sorted(planes), rng)
    return None if cells is None else [dict(zip(names, cell, strict=True)) for cell in cells]


def _edges(nodes: list[Node]) -> list[Node] | None:
    """Expressions at whose zeros a piece may end; None if there are infinitely many pieces."""
    found: list[Node] = []
    branches = False
    for part in (part for node in nodes for part in walk(node)):
        op, args = part
        if not any(isinstance(arg, Node) and variables(arg) for arg in args):
            continue
        if op in _STEPS or (op in _TURNS | _ONE and operators(args[0]) & _POLES):
            return None
        if op in ("/", "inv"):
            found.append(args[-1])
            continue
        if op == "^":
            power = rational(args[1])
            branches |= (power is None or power.denominator != 1) and bool(variables(args[0]))
            found.append(args[0])
        elif op in _ZERO:
            found.append(args[0])
        elif op in _ONE:
            found += [Node("+", (args[0], one)) for one in (number(1), number(-1))] + [args[0]]
        elif op in ("min", "max"):
            found += [Node("+", (a, Node("neg", (b,)))) for a, b in combinations(args, 2)]
        branches |= op in _ZERO | _ONE | _TURNS | {"min", "max"}
    return [edge for edge in dict.fromkeys(found) if variables(edge)] if branches else []


def _planes(edge: Node, names: list[str]) -> set[Plane] | None:
    """Planes that contain all zeros of the expression; None if they cannot be found."""
    quotient = as_quotient(edge, names)
    if quotient is None:
        without = _without_radical(edge, names)
        return _inverted(edge, names) if without is None else _planes(without, names)
    found: set[Plane] = set()
    for polynomial in quotient:
        if not polynomial:
            continue
        if (planes := _of_polynomial(polynomial, len(names))) is None:
            return None
        found |= planes
    return found


def _plane(coefficients: Iterable[Fraction], constant: Fraction) -> Plane:
    """The plane, scaled so that its first coefficient is 1."""
    plane = (*coefficients, constant)
    first = next(c for c in plane if c)
    return tuple(c / first for c in plane)


def _of_polynomial(polynomial: Polynomial, size: int) -> set[Plane] | None:
    found: set[Plane] = set()
    least = [min(key[i] for key in polynomial) for i in range(size)]
    for i in range(size):
        if least[i]:
            found.add(_plane((Fraction(int(i == j)) for j in range(size)), Fraction(0)))
    polynomial = {tuple(e - m for e, m in zip(key, least, strict=True)): c for key, c in polynomial.items()}
    used = [i for i in range(size) if any(key[i] for key in polynomial)]
    if not used:
        return found
    if len(used) == 1:
        (at,) = used
        degree = max(key[at] for key in polynomial)
        line = [Fraction(0)] * (degree + 1)
        for key, c in polynomial.items():
            line[key[at]] = c
        return found | {
            _plane((Fraction(int(at == j)) for j in range(size)), -root) for root in turning_points(line)
        }
    even = all(e % 2 == 0 for key in polynomial for e in key)
    if even and len({c > 0 for c in polynomial.values()}) == 1:
        return found  # a sum of squares
    plane = _linear(polynomial, size)
    return None if plane is None else found | {plane}


def _linear(polynomial: Polynomial, size: int) -> Plane | None:
    """The plane where a linear polynomial, or a multiple of its square, is zero; None for any other."""

    def unit(*at: int) -> tuple[int, ...]:
        return tuple(at.count(i) for i in range(size))

    degree = max(map(sum, polynomial))
    zero = Fraction(0)
    if degree == 1:
        return _plane((polynomial.get(unit(i), zero) for i in range(size)), polynomial.get(unit(), zero))
    main = next((i for i in range(size) if polynomial.get(unit(i, i))), None)
    if degree != 2 or main is None:
        return None
    lead = polynomial[unit(main, main)]
    line = [polynomial.get(unit(main, i), zero) / lead / (1 if i == main else 2) for i in range(size)]
    constant = polynomial.get(unit(main), zero) / lead / 2
    root = {unit(i): c for i, c in enumerate(line) if c} | ({unit(): constant} if constant else {})
    square = {key: c * lead for key, c in multiply(root, root).items()}
    return _plane(line, constant) if square == polynomial else None


def _without_radical(edge: Node, names: list[str]) -> Node | None:
    """An expression with one square root or absolute value less, which is zero wherever `edge` is.

    With s for the root, A + B·s is zero only where A² - B²·s² is.
    """
    radical = next((part for part in walk(edge) if part.op in ("sqrt", "abs") and variables(part)), None)
    if radical is None:
        return None
    atom = "a root or absolute value"
    outside = _replaced(edge, radical, Node("var", (atom,)))
    others = [part for part in walk(outside) if part.op in ("sqrt", "abs") and variables(part)]
    inner = {f"part {i}": part for i, part in enumerate(dict.fromkeys(others))}
    for name, part in inner.items():
        outside = _replaced(outside, part, Node("var", (name,)))
    every = [*names, *inner, atom]
    quotient = as_quotient(outside, every)
    if quotient is None:
        return None
    square = radical.args[0] if radical.op == "sqrt" else Node("^", (radical.args[0], number(2)))
    even: list[Node] = []
    odd: list[Node] = []
    for key, c in quotient[0].items():
        factors = [_constant(c)]
        factors += [
            Node("^", (inner.get(n, Node("var", (n,))), number(e)))
            for n, e in zip(every, key[:-1], strict=False)
            if e
        ]
        if key[-1] > 1:
            factors.append(Node("^", (square, number(key[-1] // 2))))
        (odd if key[-1] % 2 else even).append(Node("*", tuple(factors)))
    if not odd:
        return Node("+", tuple(even)) if even else None
    squares = [Node("^", (Node("+", tuple(terms)), number(2))) for terms in (even or [number(0)], odd)]
    return Node("+", (squares[0], Node("neg", (Node("*", (squares[1], square)),))))


def _constant(value: Fraction) -> Node:
    node = Node("dec", (abs(value),))
    return Node("neg", (node,)) if value < 0 else node


def _inverted(edge: Node, names: list[str]) -> set[Plane] | None:
    """Planes with the zeros of a polynomial in one function of a linear term, such as `e^{2x} - 3`."""
    inner = next((part for part in walk(edge) if part.op in _INVERTIBLE and variables(part)), None)
    if inner is None or (inner.op == "^" and (variables(inner.args[0]) or not variables(inner.args[1]))):
        return None
    line = as_quotient(inner.args[-1 if inner.op == "^" else 0], names)
    if line is None or len(line[1]) != 1 or max(map(sum, line[0])) != 1:
        return None
    outside = _replaced(edge, inner, Node("var", ("value of a function",)))
    if variables(outside) != {"value of a function"}:
        return None
    quotient = as_quotient(outside, ["value of a function"])
    if quotient is None:
        return None
    found: set[Plane] = set()
    for polynomial in quotient:
        if not polynomial:
            continue
        values = _of_polynomial(polynomial, 1) or set()
        for _, minus in values:
            value = _constant(-minus)
            if inner.op == "^" or inner.op == "exp":
                if minus >= 0:
                    continue  # an exponential is never 0 or negative
                base = inner.args[0] if inner.op == "^" else Node("const", ("e",))
                value = Node("/", (Node("ln", (value,)), Node("ln", (base,))))
            else:
                value = {
                    "ln": Node("^", (Node("const", ("e",)), value)),
                    "sqrt": Node("^", (value, number(2))),
                }[inner.op]
            at = real_number(value)
            if at is None:
                return None
            scale = next(iter(line[1].values()))
            nothing = (0,) * len(names)
            slopes = [
                line[0].get(tuple(int(i == j) for j in range(len(names))), Fraction(0)) / scale
                for i in range(len(names))
            ]
            found.add(_plane(slopes, line[0].get(nothing, Fraction(0)) / scale - at))
    return found


_INVERTIBLE = frozenset({"^", "exp", "ln", "sqrt"})


def _replaced(node: Node, old: Node, new: Node) -> Node:
    if node == old:
        return new
    return Node(
        node.op, tuple(_replaced(arg, old, new) if isinstance(arg, Node) else arg for arg in node.args)
    )


def _cells(size: int, planes: list[Plane], rng: random.Random) -> list[tuple[Fraction, ...]] | None:
    """Points in every cell between the planes; None if there are too many."""
    if len(planes) > MAX_PLANES:
        return None
    if size == 1:
        return [(value,) for value in _gaps([-plane[1] / plane[0] for plane in planes], rng)]
    # The cells of the other variables are bounded by the projections of the planes' intersections.
    upright = [plane for plane in planes if plane[size - 1]]
    shadows = {_plane(p[: size - 1], p[-1]) for p in planes if not p[size - 1]}
    for a, b in combinations(upright, 2):
        meet = [x / a[size - 1] - y / b[size - 1] for x, y in zip(a, b, strict=True)]
        if any(meet[: size - 1]):
            shadows.add(_plane(meet[: size - 1], meet[-1]))
    below = _cells(size - 1, sorted(shadows), rng)
    found = []
    for point in below or ():
        heights = [
            -(sum(c * x for c, x in zip(plane, point, strict=False)) + plane[-1]) / plane[size - 1]
            for plane in upright
        ]
        found += [(*point, height) for height in _gaps(heights, rng, once=True)]
        if len(found) > MAX_POINTS:
            return None
    return found if below is not None else None


def _gaps(cuts: list[Fraction], rng: random.Random, *, once: bool = False) -> list[Fraction]:
    """Random points between neighbouring cuts and outside the first and last: two in each gap, or one."""
    cuts = sorted(set(cuts))

    def share() -> Fraction:
        return Fraction(rng.randint(200, 800), 1000)

    found = []
    if not cuts:
        return [sign * (1 + 4 * share()) for sign in (-1, 1)]
    for _ in range(1 if once else 2):
        found += [
            cuts[0] - (1 + abs(cuts[0])) * share() * 2,
            cuts[-1] + (1 + abs(cuts[-1])) * share() * 2,
            *(low + (high - low) * share() for low, high in pairwise(cuts)),
        ]
    return found
