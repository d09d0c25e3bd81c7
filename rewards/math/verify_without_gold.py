"""Verifiers of problems with many right answers: an answer is checked by the property it must have.

Each extracts and parses the answer like `verify`, and judges garbage in the same way.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from shuhari.rewards.math.derivative import derivative
from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.node import Node, TooLarge, Undefined, Unparsable, walk
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.rational import rational
from shuhari.rewards.math.same_expression import require_value, same_expression
from shuhari.rewards.math.tree_views import as_assignment
from shuhari.rewards.sandbox.worker_pool import WorkerFault
from shuhari.rewards.verdict import Status, Verdict


def _verify_property(completion: str, has_property: Callable[[Node], bool | str | None]) -> Verdict:
    """The verdict on a completion. `has_property` takes the answer's tree.

    It returns True, False, the reason why the answer is wrong, or None if it cannot decide.
    """
    start = time.perf_counter()

    def verdict(status: Status, rung: str, reason: str = "") -> Verdict:
        return Verdict(status, reason, rung, (time.perf_counter() - start) * 1e3)

    try:
        text = extract(completion)
        if not text.isascii():
            raise Unparsable("not ASCII")
        found = has_property(parse(text))
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


def verify_antiderivative(completion: str, integrand: str, name: str = "x") -> Verdict:
    """Whether the answer's derivative is the integrand. Any constant of integration is right."""

    def is_antiderivative(answer: Node) -> bool | str | None:
        assignment = as_assignment(answer)
        tree = assignment[1] if assignment else answer
        require_value(tree)
        return same_expression(derivative(tree, name), parse(integrand)).equal

    return _verify_property(completion, is_antiderivative)


def verify_unknowns(
    completion: str, names: Sequence[str], holds: Callable[[Mapping[str, Fraction]], bool]
) -> Verdict:
    """Whether the answer's values of the unknowns satisfy the equations: whether `holds(values)`.

    The answer for one unknown is `x=3` or `3`. For several it is `x=3, y=4` in any order, or `(3,4)` in the
    order of `names`.
    """

    def satisfies(answer: Node) -> bool | str:
        items = list(answer.args) if answer.op == "list" else [answer]
        if answer.op == "seq":
            items = list(answer.args[2:])
        values: dict[str, Fraction] = {}
        if len(items) != len(names):
            return f"{len(names)} values are asked for"
        for name, item in zip(names, items, strict=True):
            assignment = as_assignment(item)
            value = rational(assignment[1] if assignment else item)
            if value is None:
                return "not a number"
            values[assignment[0] if assignment else name] = Fraction(value)
        return set(values) == set(names) and holds(values)

    return _verify_property(completion, satisfies)


def verify_countdown(completion: str, numbers: Sequence[int], target: int) -> Verdict:
    """Whether the answer makes `target` of exactly these numbers, each used once, with + - * / ( )."""

    def makes_target(answer: Node) -> bool | str:
        if answer.op == "rel":
            if answer.args[0] != ("=",) or rational(answer.args[2]) != target:
                return "an expression is asked for"
            answer = answer.args[1]
        used: list[int] = []
        for node in walk(answer):
            if node.op == "num":
                used.append(node.args[0])
            elif node.op not in ("+", "*", "/", "neg", "inv"):
                return f"{node.op} is not allowed"
        if Counter(used) != Counter(numbers):
            return "not these numbers, each once"
        return rational(answer) == target or "another value"

    return _verify_property(completion, makes_target)
