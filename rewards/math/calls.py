"""Functions and sequences that nobody defined, such as f(x) and a_{n+1}, and sums of a few terms."""

from shuhari.rewards.math.exact import Residue, indexed, rational
from shuhari.rewards.math.node import CALCULUS, Node, number, operators, substituted, walk

CALLS = frozenset({"call", "sub"})
MAX_TERMS = 200  # of a sum that is written out
MAX_NODES = 4000  # in all of its terms


def settled(node: Node) -> Node:
    """The tree with a variable for every call: the same one where the arguments are the same.

    Raises Undefined where an argument has no value.
    """
    if not operators(node) & CALLS:
        return node
    return _settled(node)


def _settled(node: Node) -> Node:
    if node.op in CALLS:
        if (name := indexed(node)) is not None:
            return Node("var", (name,))
        return Node("var", (f"{node.args[0]}({Residue().value(node):x})",))
    return Node(
        node.op,
        tuple(
            _settled(arg)
            if isinstance(arg, Node)
            else tuple(map(_settled, arg))
            if type(arg) is tuple and arg and isinstance(arg[0], Node)
            else arg
            for arg in node.args
        ),
    )


def guesses(node: Node) -> bool:
    """Whether some call's arguments were only hashed: other hashes do not mean other arguments then."""
    for part in walk(node):
        if part.op in CALLS:
            residue = Residue()
            residue.value(Node("call", part.args))
            if residue.opaque:
                return True
    return False


def written_out(node: Node) -> Node:
    """The tree with every sum and product between two numbers written out, where it is short."""
    if not operators(node) & {"sum", "prod"}:
        return node
    args = tuple(written_out(arg) if isinstance(arg, Node) else arg for arg in node.args)
    node = Node(node.op, args)
    if node.op not in ("sum", "prod"):
        return node
    index, low, high, body = args
    first, last = rational(low), rational(high)
    if first is None or last is None or first.denominator != 1 or last.denominator != 1:
        return node
    count, size = int(last - first) + 1, sum(1 for _ in walk(body))
    if not 0 < count <= MAX_TERMS or count * size > MAX_NODES or operators(body) & CALCULUS:
        return node
    terms = tuple(substituted(body, index.args[0], number(int(first) + k)) for k in range(count))
    return terms[0] if count == 1 else Node("+" if node.op == "sum" else "*", terms)
