"""Answers that say the same have one key in a vote, and others have others."""

import pytest
from hostile import cases

from shuhari.rewards.math.answer_key import answer_key

SAME = [
    ("#### 1/2", "so it is \\boxed{0.50}"),
    ("18", "it follows\n#### $18$."),
    ("1,000", "\\boxed{1000}"),
    ("\\frac{6}{8}", "3/4"),
    ("2^3", "8"),
    ("x^2 + 1", "\\boxed{x^2+1}"),
    ("07", " 07 "),
]
OTHER = [("1/2", "1/3"), ("07", "7"), ("x", "X"), ("x^2", "x^3"), ("Paris", "Rome")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_answer_has_one_key(one: str, other: str) -> None:
    assert answer_key(one) == answer_key(other) is not None


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_answer_has_another_key(one: str, other: str) -> None:
    assert answer_key(one) != answer_key(other)


def test_no_answer_has_no_key_and_nothing_raises() -> None:
    assert answer_key("\\boxed{}") is None
    assert answer_key("") is None
    assert answer_key("\\boxed{1") is None
    for case in cases():
        answer_key(case["answer"])
