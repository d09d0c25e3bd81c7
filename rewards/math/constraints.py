"""Answers checked by what they must satisfy, where there may be many right ones.

Each check extracts and parses an answer like `verify`, and judges garbage in the same way.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from shuhari.rewards.math.derivative import derivative
from shuhari.rewards.math.exact import rational
from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.node import Node, TooLarge, Undefined, Unparsable, walk
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.reading import assigned
from shuhari.rewards.math.scalar import require_value, same_expression
from shuhari.rewards.sandbox.worker_pool import WorkerFault
from shuhari.rewards.verdict import Status, Verdict


def checked(completion: str, check: Callable[[Node], bool | str | None]) -> Verdict:
    """The verdict on the tree of a completion's answer: `check` tells whether it is right, or why not."""
    start = time.perf_counter()

    def verdict(status: Status, rung: str, reason: str = "") -> Verdict:
        return Verdict(status, reason, rung, (time.perf_counter() - start) * 1e3)

    try:
        text = extract(completion)
        if not text.isascii():
            raise Unparsable("not ASCII")
        found = check(parse(text))
    except Unparsable as error:
        return verdict("wrong", "parse", str(error))
    except Undefined as error:
        return verdict("wrong", "value", str(error))
    except (TooLarge, RecursionError) as error:
        return verdict("wrong", "limit", str(error))
    except WorkerFault as fault:
        return verdict("wrong" if fault.exhausted else "error", "worker", str(fault))
    if found is None:
        return verdict("unknown", "check", "undecided")
    if found is True:
        return verdict("correct", "check")
    return verdict("wrong", "check", found or "it does not satisfy the problem")


def by_derivative(completion: str, integrand: str, name: str = "x") -> Verdict:
    """Whether the answer's derivative is the integrand; any constant of integration will do."""

    def check(answer: Node) -> bool | str | None:
        found = assigned(answer)
        tree = found[1] if found else answer
        require_value(tree)
        return same_expression(derivative(tree, name), parse(integrand)).equal

    return checked(completion, check)


def by_substitution(
    completion: str, names: Sequence[str], holds: Callable[[Mapping[str, Fraction]], bool]
) -> Verdict:
    """Whether the answer's values satisfy the equations.

    One unknown is answered by `x=3` or `3`, several by `x=3, y=4` in any order, or by `(3,4)` in that of
    `names`.
    """

    def check(answer: Node) -> bool | str:
        items = list(answer.args) if answer.op == "list" else [answer]
        if answer.op == "seq":
            items = list(answer.args[2:])
        values: dict[str, Fraction] = {}
        if len(items) != len(names):
            return f"{len(names)} values are asked"
        for name, item in zip(names, items, strict=True):
            found = assigned(item)
            value = rational(found[1] if found else item)
            if value is None:
                return "not a number"
            values[found[0] if found else name] = Fraction(value)
        return set(values) == set(names) and holds(values)

    return checked(completion, check)


def by_leaves(completion: str, numbers: Sequence[int], target: int) -> Verdict:
    """Whether the answer makes `target` of exactly these numbers, each used once, with + - * / ( )."""

    def check(answer: Node) -> bool | str:
        if answer.op == "rel":
            if answer.args[0] != ("=",) or rational(answer.args[2]) != target:
                return "an expression is asked"
            answer = answer.args[1]
        leaves: list[int] = []
        for node in walk(answer):
            if node.op == "num":
                leaves.append(node.args[0])
            elif node.op not in ("+", "*", "/", "neg", "inv"):
                return f"{node.op} is not allowed"
        if Counter(leaves) != Counter(numbers):
            return "not these numbers, each once"
        return rational(answer) == target or "another value"

    return checked(completion, check)
