"""What was got wrong in the field, by kind: `field.jsonl`, whose `not` means anything but correct."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shuhari.rewards import verify

PAIRS = [json.loads(line) for line in Path(__file__).with_name("field.jsonl").read_text().splitlines()]
GROUPS = sorted({pair["group"] for pair in PAIRS})

AGAIN = """
import json, sys
from shuhari.rewards import verify
for line in sys.stdin:
    print(verify(**json.loads(line)).status)
"""


def _arguments(pair: dict[str, str]) -> dict[str, str]:
    return {key: pair[key] for key in ("answer", "gold", "kind", "prompt") if key in pair}


@pytest.mark.parametrize("group", GROUPS)
def test_every_pair_of_a_group(group: str) -> None:
    wrong = []
    for pair in PAIRS:
        if pair["group"] == group:
            verdict = verify(**_arguments(pair))
            if (verdict.status == "correct") != (pair["expect"] == "correct"):
                wrong.append((pair, verdict))
    assert not wrong


@pytest.mark.long
def test_a_verdict_is_the_same_in_every_process() -> None:
    """The primes and hashes differ from process to process, and the verdicts do not."""
    sampled = [pair for pair in PAIRS if "break" in pair["group"] or "sum" in pair["group"]]
    lines = "\n".join(json.dumps(_arguments(pair)) for pair in sampled)
    here = [verify(**_arguments(pair)).status for pair in sampled]
    assert len(here) > 100
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", AGAIN], input=lines, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == here


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("|x-10^{40}|", "10^{40}-x"),  # a piece far beyond every sampled point
        ("\\max(0,\\min(x-10^{15},y-10^{15}))", "0"),  # a cell far away in the plane
        ("\\lfloor x \\rfloor", "x-\\frac{1}{2}+\\frac{\\arctan(\\cot(\\pi x))}{\\pi}"),  # pieces without end
        ("\\sqrt{(x-y)^2+(y-z)^2-2(x-y)(y-z)}", "x-2y+z"),  # a plane's square, seen from one side
        ("f(x)", "f x"),  # a function, or a factor
        ("\\sum_{k=1}^{n} f(k)", "n f(k)"),
        ("40\\text{ kg}", "40\\text{ km}"),
    ],
)
def test_what_is_not_proven_is_not_correct(answer: str, gold: str) -> None:
    assert verify(answer, gold).status != "correct"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("|x-10^{40}|", "\\sqrt{(10^{40}-x)^2}"),
        ("\\max(x,y)+\\min(x,y)", "x+y"),
        ("\\frac{x+y+|x-y|}{2}", "\\max(x,y)"),
        ("\\sqrt{a^2b^2}", "|ab|"),
        ("\\ln(x+\\sqrt{x^2+1})", "-\\ln(\\sqrt{1+x^2}-x)"),
        ("\\sqrt{(e^x-3)^2}", "|3-e^x|"),
        ("\\sum_{j=0}^{n} (b_j + c\\, a_{n-j})", "c\\sum_{k=0}^{n} a_k + \\sum_{i=0}^{n} b_i"),
        ("100\\text{ cm}", "1\\text{ m}"),
        ("36\\text{ km/h}", "10 \\text{ metres per second}"),
    ],
)
def test_what_is_proven_on_every_piece_is_correct(answer: str, gold: str) -> None:
    assert verify(answer, gold).status == "correct"


def test_families_with_other_parameters_are_undecided_and_domains_are_not() -> None:
    gold = "\\frac{\\pi}{4}+k\\pi, k\\in\\mathbb{Z}"
    assert verify(gold.replace("k", "n"), gold).status == "unknown"
    assert verify("\\mathbb{R}\\setminus\\{1\\}", "\\mathbb{R}\\setminus\\{0\\}").status == "wrong"


def test_a_gold_that_cannot_be_read_is_matched_by_the_same_text_alone() -> None:
    for gold in ("12:00", "1, 2, \\ldots, n", "(10^9)!", "n=3k, k \\in \\mathbb{Z}"):
        assert verify(f" {gold} ", gold).status == "correct"
    assert verify("5", "1, 2, \\ldots, n").status == "error"
