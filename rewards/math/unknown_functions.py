"""Undefined functions and sequences, such as f(x) and a_{n+1}: a variable takes the place of each call."""

from typing import Any

from shuhari.rewards.math.node import Node, operators, walk
from shuhari.rewards.math.residue import Residue, indexed

CALLS = frozenset({"call", "sub"})


def calls_as_variables(node: Node) -> Node:
    """The tree with a variable in place of every call: the same variable if the arguments are equal.

    Raises Undefined if an argument has no value.
    """
    if not operators(node) & CALLS:
        return node
    return _calls_as_variables(node)


def _calls_as_variables(node: Node) -> Node:
    if node.op in CALLS:
        if (name := indexed(node)) is not None:
            return Node("var", (name,))
        return Node("var", (f"{node.args[0]}({Residue().value(node):x})",))

    def replaced(arg: Any) -> Any:
        if isinstance(arg, Node):
            return _calls_as_variables(arg)
        if type(arg) is tuple and arg and isinstance(arg[0], Node):
            return tuple(map(_calls_as_variables, arg))
        return arg

    return Node(node.op, tuple(map(replaced, node.args)))


def has_hashed_arguments(node: Node) -> bool:
    """Whether a call's arguments were hashed: then different hashes do not prove different arguments."""
    for part in walk(node):
        if part.op in CALLS:
            residue = Residue()
            residue.value(Node("call", part.args))
            if residue.opaque:
                return True
    return False
