"""Short sums and products, written out term by term."""

from shuhari.rewards.math.node import CALCULUS, Node, number, operators, substituted, walk
from shuhari.rewards.math.rational import rational

MAX_TERMS = 200  # of one sum
MAX_NODES = 4000  # in all terms of one sum


def write_out_sums(node: Node) -> Node:
    """The tree with every short sum and product between two numbers written out."""
    if not operators(node) & {"sum", "prod"}:
        return node
    args = tuple(write_out_sums(arg) if isinstance(arg, Node) else arg for arg in node.args)
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
