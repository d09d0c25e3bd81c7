"""The verifier on pairs written by hand, on rewrites and mutations, and its conventions one by one."""

import json
import random
import sys
from pathlib import Path

import pytest

from shuhari.rewards import error_rates, verify
from shuhari.rewards.math.node import Node, number
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.random_golds import GOLDS
from shuhari.rewards.math.random_pairs import RANDOM_KINDS, differ, mutate
from shuhari.rewards.math.same_expression import same_expression
from shuhari.rewards.math.tree_writer import TreeWriter
from shuhari.rewards.verdict import VERSION

HERE = Path(__file__).parent
PAIRS = [json.loads(line) for line in (HERE / "pairs.jsonl").read_text().splitlines()]


def test_pairs_written_by_hand() -> None:
    """Every label holds: no false positive, no false negative, nothing undecided."""
    assert len(PAIRS) >= 300
    wrong = []
    for number_, pair in enumerate(PAIRS, 1):
        verdict = verify(pair["answer"], pair["gold"], kind=pair["kind"], form=pair.get("form", "any"))
        if verdict.status != pair["expect"]:
            wrong.append((number_, pair, verdict))
    assert not wrong


@pytest.mark.parametrize("kind", RANDOM_KINDS)
def test_rewrites_pass_and_mutations_fail(kind: str) -> None:
    (row,) = error_rates(200, seed=7, kinds=[kind])
    assert (row.refused, row.accepted, row.undecided) == (0, 0, 0)


def test_error_rates_notice_a_bad_verifier() -> None:
    """The rates are measured, not assumed: text equality refuses rewrites."""
    (row,) = error_rates(50, kinds=["expression"], judge=lambda a, g, kind: verify(a, g, kind="text"))
    assert row.refused > 25
    assert row.intervals[0][0] > 0.3


@pytest.mark.parametrize(
    ("answer", "gold", "rung"),
    [
        ("x^2", "x^2", "text"),
        ("x ^ 2", "x^2", "ast"),
        ("0.5", "\\frac{1}{2}", "rational"),
        ("(x+1)^2", "x^2+2x+1", "modular"),
        ("\\sqrt{8}", "2\\sqrt{2}", "numeric"),
        ("\\int_0^1 x\\,dx", "\\frac12", "sympy"),
    ],
)
def test_each_rung_decides(answer: str, gold: str, rung: str) -> None:
    verdict = verify(answer, gold)
    assert (verdict.status, verdict.rung) == ("correct", rung)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("\\sqrt{x^2}", "x"),  # both signs are tried
        ("|x-1000|", "1000-x"),  # and both sides of every constant
        ("\\lfloor x/1000 \\rfloor", "0"),
        ("e^{\\pi\\sqrt{163}}", "262537412640768744"),  # agree to 30 digits
        ("\\sqrt{2}+10^{-150}", "\\sqrt{2}"),
        ("\\sin(2017\\sqrt[5]{2})", "-1"),
        ("5+0\\ln(0)", "5"),
        ("\\sin(x)+10^{-12}", "\\sin(x)"),
        ("2^{-99}", "2^{-60}"),
        ("3=4=5", "5"),
        ("\\frac{1}{\\sin^2(x)+\\cos^2(x)-1}", "5"),
    ],
)
def test_near_misses_are_wrong(answer: str, gold: str) -> None:
    assert verify(answer, gold).status == "wrong"


@pytest.mark.parametrize(
    "gold", ["1/0", "0/0", "nan", "oo", "None", "\\ln(0)", "\\tan(\\pi/2)", "", "((", "\u0665"]
)
def test_a_gold_without_value_is_an_error_even_against_itself(gold: str) -> None:
    assert verify(gold, gold).status == "error"


def test_forms_bind_the_answer_and_not_the_gold() -> None:
    assert verify("x^2+2x", "x(x+2)", form="expanded").status == "correct"
    assert verify("x(x+2)", "x(x+2)", form="expanded").status == "wrong"
    assert verify("x(x+2)", "x^2+2x", form="factored").status == "correct"
    assert verify("2(x^2+2x)", "2x^2+4x", form="factored").status == "wrong"
    assert verify("2+3", "5", form="evaluated").rung == "form"


def test_a_copy_of_the_prompt_is_wrong_and_a_gold_from_it_is_not() -> None:
    prompt = "Compute $\\int_0^1 x^2 \\, dx$."
    for copy in ("\\int_0^1 x^2 \\, dx", "\\int_{0}^{1} x^2 dx", "\\int_0^1 \\left(x^2\\right)dx"):
        assert verify(copy, "1/3", prompt=prompt).reason == "it copies the prompt"
        assert verify(copy, "1/3").status == "correct"  # without the prompt nothing tells a copy
    assert verify("1/3", "1/3", prompt=prompt).status == "correct"
    assert verify("x+1", "x+1", prompt="Which is larger, $x+1$ or $x-1$?").status == "correct"


def test_verdicts_are_the_same_again_and_carry_their_version() -> None:
    first, second = (verify("\\sin(2x)", "2\\sin x\\cos x") for _ in range(2))
    assert first == second
    assert first.version == VERSION


def test_unknown_kind_and_form_are_errors_that_name_the_known() -> None:
    assert "auto" in verify("1", "1", kind="nmber").reason
    assert "reduced" in verify("1", "1", form="reducd").reason
    assert verify("1", "1", kind="nmber").status == "error"


@pytest.mark.parametrize("latex", [False, True])
def test_what_is_rendered_parses_to_an_equal_tree(latex: bool) -> None:
    rng = random.Random(3)
    for kind in ("number", "expression"):
        for _ in range(200):
            node = GOLDS[kind](rng)
            text = TreeWriter(latex=latex, rng=rng).write(node)
            assert same_expression(parse(text), node).equal, text


def test_mutations_are_told_apart_by_values_alone() -> None:
    x = Node("var", ("x",))
    assert differ(x, number(1))
    assert not differ(Node("+", (x, number(0))), x)
    changed = [mutate(number(5), random.Random(seed)) for seed in range(20)]
    assert None not in changed
    assert number(5) not in changed


@pytest.mark.parametrize(
    ("answer", "gold", "prompt"),
    [
        (r"3 \cdot 4", "12", r"What is \(3 \cdot 4\)?"),
        (r"\frac{1}{2}+\frac13", "5/6", r"Compute \(\dfrac{1}{2}+\dfrac{1}{3}\)."),
        ("x=2+3", "5", "Compute 2+3"),
        ("2+3 units", "5", "Compute 2+3"),
    ],
)
def test_copies_in_other_clothes(answer: str, gold: str, prompt: str) -> None:
    assert verify(answer, gold, prompt=prompt).reason == "it copies the prompt"


def test_what_looks_like_a_piece_of_the_prompt_is_no_copy() -> None:
    assert verify(r"\frac{1}{2}", "1/2", prompt=r"$\frac{12}{7}-\frac{17}{14}$").status == "correct"
    assert verify("x+1", "1+x", prompt="Simplify 2x+15-x-14").status == "correct"


def test_a_fault_of_ours_is_an_error_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise KeyError("boom")

    monkeypatch.setattr(sys.modules["shuhari.rewards.math.verify"], "same_answer", broken)
    verdict = verify("x", "y")
    assert (verdict.status, verdict.rung) == ("error", "verifier")
