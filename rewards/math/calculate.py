"""A calculator for policies: exact arithmetic by our parser, and sympy in the killable worker."""

from shuhari.rewards.math import with_sympy as algebra
from shuhari.rewards.math.exact import rational
from shuhari.rewards.math.node import CALCULUS, Node, TooLarge, Undefined, Unparsable, number, operators
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.printing import Renderer
from shuhari.rewards.math.scalar import require_value
from shuhari.rewards.sandbox.worker_pool import WorkerFault, default_pool


def calculate(expression: str) -> str:
    """The value as text: a fraction where it is rational, else a closed form.

    Raises ValueError with what is wrong, in one line, for anything that has no value.
    """
    try:
        if not expression.isascii():
            raise Unparsable("not ASCII")
        node = parse(expression)
        value = rational(node)
        if value is not None:
            return Renderer().text(number(value))
        if not operators(node) & CALCULUS:
            require_value(node)
        closed: Node | None = default_pool().call(algebra.closed_form, node)
    except (Unparsable, TooLarge, Undefined) as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except WorkerFault as fault:
        raise ValueError(f"gave up: {fault}") from None
    if closed is None:
        raise ValueError("no closed form found")
    return Renderer().text(closed)
