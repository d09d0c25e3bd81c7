"""Random golds of every kind, answers that say the same in other words, and answers that do not.

A verifier is measured by how many of the first it refuses and how many of the second it accepts. That a
rewrite keeps the value, and that a mutation changes it, is known here by construction and, for expressions,
by a point at which the values differ; never by asking the verifier.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from shuhari.rewards.node import Node, TooLarge, Undefined, number, variables
from shuhari.rewards.render import Renderer

WORDS = ["Monday", "parallelogram", "even", "increasing", "Evelyn", "ellipse", "acute", "North America"]
ZERO, ONE, TWO = number(0), number(1), number(2)


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer, a gold, and whether they are the same."""

    kind: str
    gold: str
    answer: str
    same: bool


def var(name: str) -> Node:
    """A variable's node."""
    return Node("var", (name,))


def plus(*terms: Node) -> Node:
    """A sum; a single term stays itself."""
    return terms[0] if len(terms) == 1 else Node("+", terms)


def times(*factors: Node) -> Node:
    """A product; a single factor stays itself."""
    return factors[0] if len(factors) == 1 else Node("*", factors)


def negative(node: Node) -> Node:
    """The node with its sign changed."""
    return node.args[0] if node.op == "neg" else Node("neg", (node,))


def power(base: Node, exponent: int) -> Node:
    """A whole power."""
    return Node("^", (base, number(exponent)))


# -- golds


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
    """Numbers whose values differ."""
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


_GOLDS: dict[str, Callable[[random.Random], Node]] = {
    "integer": lambda rng: number(rng.choice([-1, 1, 1]) * rng.randint(2, 10 ** rng.randint(1, 6))),
    "number": _number,
    "expression": _expression,
    "equation": _equation,
    "set": lambda rng: Node("set", tuple(_distinct(rng, rng.randint(2, 4)))),
    "tuple": lambda rng: Node("seq", ("(", ")", *_distinct(rng, rng.randint(2, 4)))),
    "interval": _interval,
    "matrix": _matrix,
}
KINDS = (*_GOLDS, "choice", "text")


# -- the same in other words


def _in_other_words(node: Node, rng: random.Random) -> Node:
    """One equal tree for a number or expression."""
    op, args = node
    options: list[Callable[[], Node]] = []
    if op == "num":
        value, k = args[0], rng.randint(2, 9)
        options = [
            lambda: plus(number(value + k), negative(number(k))),
            lambda: Node("/", (number(value * k), number(k))),
            lambda: Node("dec", (Fraction(value),)),
        ]
    elif op == "dec":
        options = [lambda: number(args[0])]
    elif op == "+":
        options = [
            lambda: plus(*rng.sample(args, len(args))),
            lambda: plus(args[0], plus(*args[1:])),
            lambda: negative(plus(*map(negative, args))),
        ]
    elif op == "*":
        options = [lambda: times(*rng.sample(args, len(args)))]
        if len(args) == 2 and args[1].op == "+" and "inv" not in (args[0].op, args[1].op):
            options.append(lambda: plus(*[times(args[0], term) for term in args[1].args]))
    elif op == "/":
        factor = number(rng.randint(2, 9))
        top, bottom = args
        options = [
            lambda: Node("/", (times(factor, top), times(factor, bottom))),
            lambda: times(top, Node("^", (bottom, negative(ONE)))),
            lambda: negative(Node("/", (negative(top), bottom))),
        ]
    elif op == "^" and args[1].op == "num" and args[1].args[0] < 5:
        options = [lambda: times(*[args[0]] * args[1].args[0]) if args[1].args[0] > 1 else node]
    elif op == "neg":
        options = [lambda: times(negative(ONE), args[0])]
    elif op == "sqrt":
        half = Node("/", (ONE, TWO))
        options = [lambda: Node("^", (args[0], half)), lambda: Node("/", (args[0], Node("sqrt", args)))]
    elif op == "percent":
        options = [lambda: Node("/", (args[0], number(100)))]
    elif op == "mixed":
        options = [lambda: plus(*args)]
    elif op == "ln":
        options = [lambda: Node("/", (Node("ln", (power(args[0], 2),)), TWO))]
    elif op == "sin":
        half_angle = Node("/", (args[0], TWO))
        options = [lambda: times(TWO, Node("sin", (half_angle,)), Node("cos", (half_angle,)))]
    elif op == "cos":
        options = [
            lambda: plus(ONE, negative(times(TWO, power(Node("sin", (Node("/", (args[0], TWO)),)), 2))))
        ]
    elif op == "abs":
        options = [lambda: Node("sqrt", (power(args[0], 2),)), lambda: Node("abs", (negative(args[0]),))]
    if not options:
        return plus(node, ZERO) if rng.random() < 0.5 else Node("/", (times(TWO, node), TWO))
    return rng.choice(options)()


def _somewhere(node: Node, rng: random.Random, change: Callable[[Node, random.Random], Node]) -> Node:
    """The tree with `change` applied to one random place that is not an exponent or a bound."""
    places = [i for i, arg in enumerate(node.args) if isinstance(arg, Node) and not (node.op == "^" and i)]
    if not places or node.op == "mixed" or rng.random() < 0.4:
        return change(node, rng)
    place = rng.choice(places)
    args = list(node.args)
    args[place] = _somewhere(args[place], rng, change)
    return Node(node.op, tuple(args))


def rewrite(node: Node, rng: random.Random) -> Node:
    """An equal tree of the same kind, or of one that is read as the same."""
    op, args = node
    if op in ("set", "union"):
        items = [rewrite(item, rng) if rng.random() < 0.5 else item for item in args]
        rng.shuffle(items)
        return Node("list" if op == "set" and rng.random() < 0.3 else op, tuple(items))
    if op == "seq":
        ends = [item if item.op == "inf" else _somewhere(item, rng, _in_other_words) for item in args[2:]]
        return Node("seq", (*args[:2], *ends))
    if op == "matrix":
        return Node(
            "matrix", tuple(tuple(rewrite(c, rng) if rng.random() < 0.3 else c for c in r) for r in args)
        )
    if op == "rel":
        operators, left, right = args
        k = number(rng.randint(2, 6))
        flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "="}[operators[0]]
        return rng.choice(
            [
                Node("rel", ((flipped,), right, left)),
                Node("rel", (operators, times(k, left), times(k, right))),
                Node("rel", (operators, plus(left, negative(right)), ZERO)),
                Node("rel", ((flipped,), negative(left), negative(right))),
            ]
        )
    return _somewhere(node, rng, _in_other_words)


# -- something else


def _changed(node: Node, rng: random.Random) -> Node:
    op, args = node
    if op == "num":
        return number(args[0] + rng.choice([-2, -1, 1, 2, 10]))
    if op == "dec":
        return Node("dec", (args[0] * 10 if rng.random() < 0.3 else args[0] + Fraction(1, 10),))
    if op == "+":
        if rng.random() < 0.5:
            return plus(*args[1:])
        return plus(negative(args[0]), *args[1:])
    if op == "*" and rng.random() < 0.5:
        return plus(*args) if "inv" not in {arg.op for arg in args} else times(*args[:-1])
    if op == "/" and rng.random() < 0.5:
        return Node("/", (args[1], args[0]))
    if op in ("sin", "cos"):
        return Node("cos" if op == "sin" else "sin", args)
    if op in ("abs", "sqrt", "percent", "neg"):
        return args[0]  # type: ignore[no-any-return]
    if op == "var":
        return power(node, 2)
    return rng.choice([negative(node), plus(node, ONE), times(TWO, node)])


def differ(left: Node, right: Node) -> bool:
    """Whether two expressions have clearly different values at some point where both have one."""
    import mpmath

    from shuhari.rewards.numeric import Evaluator

    names = variables(left) | variables(right)
    for base in (0.83, 2.41, 5.77, -1.37):
        point = {name: base + 0.31 * i for i, name in enumerate(sorted(names))}
        try:
            a, b = (Evaluator(mpmath.fp, point, real=True).value(node) for node in (left, right))
        except (Undefined, TooLarge):
            continue
        if abs(a - b) > 1e-6 * max(1, abs(a), abs(b)):
            return True
    return False


def mutate(node: Node, rng: random.Random) -> Node | None:
    """A different answer of the same kind, or None where this try did not change the value."""
    op, args = node
    if op in ("set", "matrix", "union"):
        return _mutate_collection(node, rng)
    if op == "seq":
        opening, closing, *items = args
        choice = rng.random()
        if choice < 0.3 and len(items) == 2 and items[1].op != "inf":
            return Node("seq", (opening, {")": "]", "]": ")"}[closing], *items))
        if choice < 0.5:
            return Node("seq", (opening, closing, *reversed(items))) if items[0] != items[-1] else None
        i = rng.randrange(len(items))
        changed = number(77) if items[i].op == "inf" else mutate(items[i], rng)
        return changed and Node("seq", (opening, closing, *items[:i], changed, *items[i + 1 :]))
    if op == "rel":
        operators, left, right = args
        if operators[0] != "=" and rng.random() < 0.5:
            other = {"<": ">", ">": "<", "<=": "<", ">=": ">"}[operators[0]]
            return Node("rel", ((other,), left, right))
        changed = mutate(right, rng) if right.op != "var" else None
        difference = plus(left, negative(right))
        # Another multiple of the same difference would be the same equation: one side alone changes.
        return changed and Node("rel", (operators, left, changed)) if differ(difference, ZERO) else None
    changed = _somewhere(node, rng, _changed)
    return changed if differ(changed, node) else None


def _mutate_collection(node: Node, rng: random.Random) -> Node | None:
    op, args = node
    if op == "matrix":
        if len(args) != len(args[0]) or rng.random() < 0.6:
            i, j = rng.randrange(len(args)), rng.randrange(len(args[0]))
            changed = mutate(args[i][j], rng)
            row = (*args[i][:j], changed, *args[i][j + 1 :])
            return changed and Node("matrix", (*args[:i], row, *args[i + 1 :]))
        return Node("matrix", tuple(zip(*args, strict=True)))
    if rng.random() < 0.3:
        return Node(op, args[1:]) if len(args) > 2 else None
    if op == "set" and rng.random() < 0.4:
        return Node(op, (*args, number(99)))
    i = rng.randrange(len(args))
    changed = mutate(args[i], rng)
    others = [*args[:i], *args[i + 1 :]]
    if changed is None or (op == "set" and not all(differ(changed, other) for other in others)):
        return None
    return Node(op, (*others, changed))


# -- text


def _wrapped(text: str, rng: random.Random) -> str:
    """The answer as models hand it in."""
    return rng.choice(
        [
            text,
            f"${text}$",
            f"\\boxed{{{text}}}",
            f"The work is done, so the answer is $\\boxed{{{text}}}$.",
            f"<think>Perhaps 12? No.</think>\n<answer>{text}</answer>",
            f"First we note that 3 + 4 = 7.\n#### {text}",
        ]
    )


def _words(kind: str, rng: random.Random) -> tuple[str, str, str]:
    """A gold, an answer that is the same, and one that is not, for kinds without arithmetic."""
    if kind == "choice":
        gold, other = rng.sample("ABCDE", 2)
        same = rng.choice([f"({gold})", f"{gold}.", gold.lower(), f"\\text{{{gold}}}", f"{gold}) the third"])
        return gold, same, rng.choice([other, f"({other})", f"{gold} and {other}", f"{gold}, {other}"])
    gold, other = rng.sample(WORDS, 2)
    same = rng.choice([gold.upper(), f"{gold}.", f"\\text{{{gold}}}", f" {gold.lower()} "])
    return gold, same, rng.choice([other, f"{gold} {other}", f"{gold} or {other}", f"not {gold}", gold[:-1]])


def pairs(kind: str, n: int, seed: int = 0) -> Iterator[Pair]:
    """`n` rewrites and `n` mutations of random golds of one kind, alternating."""
    rng = random.Random(f"{kind} {seed}")
    for _ in range(n):
        if kind in ("choice", "text"):
            gold, same, other = _words(kind, rng)
            yield Pair(kind, gold, _wrapped(same, rng), True)
            yield Pair(kind, gold, _wrapped(other, rng), False)
            continue
        gold_node = _GOLDS[kind](rng)
        changed = None
        while changed is None:
            changed = mutate(gold_node, rng)
            if kind == "tuple" and changed and changed.args[:2] != gold_node.args[:2]:
                changed = None  # a tuple may be written in any brackets
        equal = rewrite(gold_node, rng)
        styles = [Renderer(latex=rng.random() < 0.6, rng=rng) for _ in range(3)]
        gold = styles[0].text(gold_node)
        yield Pair(kind, gold, _wrapped(styles[1].text(equal), rng), True)
        yield Pair(kind, gold, _wrapped(styles[2].text(changed), rng), False)
