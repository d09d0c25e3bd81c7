"""Random pairs of a gold and an answer, labelled equal or not: rewrites and mutations.

A rewrite says the same as the gold in another form, a mutation says something else. The labels hold by
construction, and for mutated expressions by a point at which the values differ. The verifier is never asked.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from shuhari.rewards.math.node import Node, TooLarge, Undefined, number, variables
from shuhari.rewards.math.random_golds import GOLDS, ONE, negative, plus, power, times
from shuhari.rewards.math.tree_writer import TreeWriter

WORDS = ["Monday", "parallelogram", "even", "increasing", "Evelyn", "ellipse", "acute", "North America"]
ZERO, TWO = number(0), number(2)
RANDOM_KINDS = (*GOLDS, "choice", "text")


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer, a gold, and whether they are equal."""

    kind: str
    gold: str
    answer: str
    same: bool


def _in_other_words(node: Node, rng: random.Random) -> Node:
    """An equal tree of another form, for a number or expression."""
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
    """The tree with `change` applied at one random place that is not an exponent."""
    places = [i for i, arg in enumerate(node.args) if isinstance(arg, Node) and not (node.op == "^" and i)]
    if not places or node.op == "mixed" or rng.random() < 0.4:
        return change(node, rng)
    place = rng.choice(places)
    args = list(node.args)
    args[place] = _somewhere(args[place], rng, change)
    return Node(node.op, tuple(args))


def rewrite(node: Node, rng: random.Random) -> Node:
    """An equal tree of the same kind, or of a kind that is compared as the same."""
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
    """Whether two expressions have clearly different values at some point."""
    import mpmath

    from shuhari.rewards.math.evaluator import Evaluator

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
    """A different answer of the same kind, or None if this attempt did not change the value."""
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
        # Only one side is changed, because a multiple of both sides would be the same equation.
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


def _wrapped(text: str, rng: random.Random) -> str:
    """The answer in a completion such as models write."""
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
    """A gold, an equal answer and a different one, for the kinds `choice` and `text`."""
    if kind == "choice":
        gold, other = rng.sample("ABCDE", 2)
        same = rng.choice([f"({gold})", f"{gold}.", gold.lower(), f"\\text{{{gold}}}", f"{gold}) the third"])
        return gold, same, rng.choice([other, f"({other})", f"{gold} and {other}", f"{gold}, {other}"])
    gold, other = rng.sample(WORDS, 2)
    same = rng.choice([gold.upper(), f"{gold}.", f"\\text{{{gold}}}", f" {gold.lower()} "])
    return gold, same, rng.choice([other, f"{gold} {other}", f"{gold} or {other}", f"not {gold}", gold[:-1]])


def random_pairs(kind: str, n: int, seed: int = 0) -> Iterator[Pair]:
    """`n` rewrites and `n` mutations of random golds of one kind, alternating."""
    rng = random.Random(f"{kind} {seed}")
    for _ in range(n):
        if kind in ("choice", "text"):
            gold, same, other = _words(kind, rng)
            yield Pair(kind, gold, _wrapped(same, rng), True)
            yield Pair(kind, gold, _wrapped(other, rng), False)
            continue
        gold_node = GOLDS[kind](rng)
        changed = None
        while changed is None:
            changed = mutate(gold_node, rng)
            if kind == "tuple" and changed and changed.args[:2] != gold_node.args[:2]:
                changed = None  # tuples are equal whatever their brackets are
        equal = rewrite(gold_node, rng)
        writers = [TreeWriter(latex=rng.random() < 0.6, rng=rng) for _ in range(3)]
        gold = writers[0].write(gold_node)
        yield Pair(kind, gold, _wrapped(writers[1].write(equal), rng), True)
        yield Pair(kind, gold, _wrapped(writers[2].write(changed), rng), False)
