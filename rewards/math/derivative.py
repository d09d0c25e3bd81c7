"""Derivatives of trees, by the usual rules. Antiderivatives are checked by them."""

from shuhari.rewards.math.node import Node, Unparsable, number, variables

ZERO, ONE = number(0), number(1)


def derivative(node: Node, name: str) -> Node:
    """d(node)/d(name), not simplified. Raises Unparsable if a rule is missing."""
    if name not in variables(node):
        return ZERO
    op, args = node
    if op == "var":
        return ONE
    if op == "+":
        return Node("+", tuple(derivative(arg, name) for arg in args))
    if op == "neg":
        return Node("neg", (derivative(args[0], name),))
    if op == "*":
        terms = [Node("*", (*args[:i], derivative(f, name), *args[i + 1 :])) for i, f in enumerate(args)]
        return Node("+", tuple(terms))
    if op == "/":
        return derivative(Node("*", (args[0], Node("inv", (args[1],)))), name)
    if op == "inv":
        square = Node("^", (args[0], number(2)))
        return Node("neg", (Node("/", (derivative(args[0], name), square)),))
    if op == "^":
        base, power = args
        if name not in variables(power):
            less = Node("+", (power, number(-1)))
            return Node("*", (power, Node("^", (base, less)), derivative(base, name)))
        # b^p = e^(p ln b)
        logarithm = Node("*", (power, Node("ln", (base,))))
        return Node("*", (node, derivative(logarithm, name)))
    if op in _RULES and len(args) == 1:
        return Node("*", (_RULES[op](args[0]), derivative(args[0], name)))
    raise Unparsable(f"no rule for the derivative of {op}")


def _power(node: Node, exponent: int) -> Node:
    return Node("^", (node, number(exponent)))


_RULES = {
    "sin": lambda x: Node("cos", (x,)),
    "cos": lambda x: Node("neg", (Node("sin", (x,)),)),
    "tan": lambda x: _power(Node("cos", (x,)), -2),
    "ln": lambda x: Node("inv", (x,)),
    "exp": lambda x: Node("exp", (x,)),
    "sqrt": lambda x: Node("inv", (Node("*", (number(2), Node("sqrt", (x,)))),)),
    "arctan": lambda x: Node("inv", (Node("+", (ONE, _power(x, 2))),)),
    "arcsin": lambda x: Node("inv", (Node("sqrt", (Node("+", (ONE, Node("neg", (_power(x, 2),)))),)),)),
    "sinh": lambda x: Node("cosh", (x,)),
    "cosh": lambda x: Node("sinh", (x,)),
    "abs": lambda x: Node("sign", (x,)),
}
