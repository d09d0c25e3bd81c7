"""A calculator for policies: exact arithmetic, and sympy in a process that can be killed."""

from shuhari.rewards.math import sympy_functions
from shuhari.rewards.math.node import CALCULUS, Node, TooLarge, Undefined, Unparsable, number, operators
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.rational import rational
from shuhari.rewards.math.same_expression import require_value
from shuhari.rewards.math.tree_writer import TreeWriter
from shuhari.rewards.sandbox.worker_pool import WorkerFault, default_pool


def calculate(expression: str) -> str:
    """The value as text: a fraction if it is rational, else a closed form.

    Raises ValueError with the reason in one line if there is no value.
    """
    try:
        if not expression.isascii():
            raise Unparsable("not ASCII")
        node = parse(expression)
        value = rational(node)
        if value is not None:
            return TreeWriter().write(number(value))
        if not operators(node) & CALCULUS:
            require_value(node)
        closed: Node | None = default_pool().call(sympy_functions.closed_form, node)
    except (Unparsable, TooLarge, Undefined) as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except WorkerFault as fault:
        raise ValueError(f"gave up: {fault}") from None
    if closed is None:
        raise ValueError("no closed form found")
    return TreeWriter().write(closed)
