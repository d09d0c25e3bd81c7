import pytest

from shuhari.rewards import Verdict, verify_integer


@pytest.mark.parametrize("text", ["42", " 42\n", "+42", "0042"])
def test_right(text: str) -> None:
    assert verify_integer(text, 42).status == "correct"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "43",
        "-42",
        "42.0",
        "42 43",
        "4 2",
        "the answer is 42",
        "٤٢",
        "４２",
        "1e1",
        "0x2a",
        "__import__('os')",
        "4_2",
        "9" * 5000,
    ],
)
def test_wrong(text: str) -> None:
    verdict = verify_integer(text, 42)
    assert verdict.status == "wrong"
    assert verdict.reason
    assert verdict.counts


def test_the_last_tag_wins() -> None:
    assert verify_integer("=42 or =43", 43, tag="=").status == "correct"
    assert verify_integer("=43 or =42", 43, tag="=").status == "wrong"
    assert verify_integer("43", 43, tag="=").status == "wrong"


def test_unknown_and_error_do_not_count() -> None:
    assert not Verdict("unknown").counts
    assert not Verdict("error").counts
