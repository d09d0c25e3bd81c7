"""The syntax tree of a mathematical answer, the limits on its size, and the errors of judging it."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

# Larger input is refused before anything is computed. Answers in the known data sets are far smaller.
MAX_CHARS = 4000
MAX_TOKENS = 600
MAX_DEPTH = 40
MAX_DIGITS = 1000  # of one literal; below CPython's own limit of 4,300, where int() raises
MAX_BITS = 20_000  # of any exact number, intermediate results included


class Unparsable(ValueError):
    """The parser cannot read the text."""


class TooLarge(ValueError):
    """A limit on size, depth or magnitude was exceeded."""


class Undefined(ValueError):
    """The expression has no value, for instance because it divides by zero."""


class Node(NamedTuple):
    """One node of a tree. Trees are compared and hashed by value.

    Leaves: `num` (int, not negative), `dec` (Fraction, written with a point), `var` and `const` (name;
    constants are pi, e and i), `inf`. Arithmetic: `+` and `*` (two or more), `neg`, `inv` (a divisor within
    a product), `/`, `^`, `mixed` (whole, fraction), `fact`, `percent`, `deg`, `pm` (the value before it, the
    term, its sign). A known function's `op` is its name. Calculus: `diff` (body, variable), `int` (body,
    variable, bounds), `sum` and `prod` (variable, bounds, body), `lim` (variable, point, direction, body).
    Names with arguments: `call` (an undefined function, its arguments), `sub` (a letter, its computed
    subscripts). Structures: `rel` (operators, sides), `all` (relations that hold together), `congruent`
    (sides, modulus), `list`, `set`, `union`, `cap`, `minus` (sets), `matrix` and `cases` (rows), `seq`
    (open, close, items: a tuple or an interval), `unit` (value, Unit), `text`.
    """

    op: str
    args: tuple[Any, ...]


def number(value: int | Fraction) -> Node:
    """The node of an exact number."""
    if isinstance(value, Fraction) and value.denominator != 1:
        top = Node("num", (abs(value.numerator),))
        node = Node("/", (top, Node("num", (value.denominator,))))
    else:
        node = Node("num", (abs(int(value)),))
    return Node("neg", (node,)) if value < 0 else node


def children(node: Node) -> list[Node]:
    """The nodes directly below, also those inside tuples of arguments."""
    found = []
    for arg in node.args:
        if isinstance(arg, Node):
            found.append(arg)
        elif isinstance(arg, tuple):
            found += [item for item in arg if isinstance(item, Node)]
    return found


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes below it."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo += children(node)


def operators(node: Node) -> set[str]:
    """Every `op` that occurs in the tree."""
    found, todo = set(), [node]
    while todo:
        op, args = todo.pop()
        found.add(op)
        for arg in args:
            if isinstance(arg, Node):
                todo.append(arg)
            elif type(arg) is tuple:
                todo += [item for item in arg if isinstance(item, Node)]
    return found


BINDERS = {"sum": 0, "prod": 0, "lim": 0, "int": 1, "diff": 1}  # which argument is the bound variable


def variables(node: Node) -> frozenset[str]:
    """Names of the free variables."""
    if node.op == "var":
        return frozenset(node.args)
    names: frozenset[str] = frozenset().union(*map(variables, children(node)))
    if node.op in BINDERS:
        bounded = node.op in ("sum", "prod", "lim") or len(node.args) > 2
        return names - frozenset(node.args[BINDERS[node.op]].args) if bounded else names
    if node.op == "call" or node.op == "sub":
        return names | {f"{node.args[0]}{'(' if node.op == 'call' else '_'}"}
    return names


def substituted(node: Node, name: str, value: Node) -> Node:
    """The tree with `value` in place of every free variable `name`."""

    def replace(part: Any) -> Any:
        if not isinstance(part, Node):
            return tuple(map(replace, part)) if type(part) is tuple else part
        if part.op == "var":
            return value if part.args[0] == name else part
        bounded = part.op in ("sum", "prod", "lim") or (part.op == "int" and len(part.args) > 2)
        if bounded and part.args[BINDERS[part.op]].args[0] == name:
            # An inner index of the same name hides `name` in its body, but not in its bounds.
            body = 0 if part.op == "int" else len(part.args) - 1
            kept = (BINDERS[part.op], body)
            return Node(part.op, tuple(a if i in kept else replace(a) for i, a in enumerate(part.args)))
        return Node(part.op, tuple(map(replace, part.args)))

    replaced: Node = replace(node)
    return replaced


STRUCTURES = frozenset("rel list all congruent set seq union cap minus matrix cases unit text pm inf".split())
CALCULUS = frozenset({"diff", "int", "sum", "prod", "lim"})
