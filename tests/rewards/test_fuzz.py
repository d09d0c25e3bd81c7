"""Random text, and random mathematics, for as long as the budget lasts: nothing raises, nothing dawdles."""

import importlib.util
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shuhari.rewards import verify
from shuhari.rewards.math.random_pairs import RANDOM_KINDS, random_pairs

PIECES = (
    "1 2 0 10 3.5 .5 x y a e i \\pi pi + - * / ^ ** ( ) [ ] { } \\{ \\} | , ; = < > \\le \\frac "
    "\\dfrac \\sqrt \\sqrt[3] \\sin cos ln log_2 \\log ! % \\% ^\\circ \\text{ cm} \\boxed{ } \\left( "
    "\\right) \\cdot \\pm \\infty \\cup \\int_0^1 dx \\sum_{k=1}^{3} \\binom 1,234 \\overline{3} nan oo "
    "0.\\overline{3} and or ' \\begin{pmatrix} & \\\\ \\end{pmatrix} <think> </think> "
    "#### \\ $ _ : ~ \x00 \u0663"
).split(" ")
STATUSES = {"correct", "wrong", "unknown", "error"}


def judge_in_time(answer: str, gold: str, kind: str = "auto") -> None:
    start = time.perf_counter()
    verdict = verify(answer, gold, kind=kind)
    assert verdict.status in STATUSES
    assert time.perf_counter() - start < 5, (answer, gold)


def formulas() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@settings(
    max_examples=400,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(formulas() | st.text(max_size=60), formulas(), st.sampled_from(["auto", *RANDOM_KINDS]))
def test_any_text_gets_a_verdict(answer: str, gold: str, kind: str) -> None:
    judge_in_time(answer, gold, kind)


def _run(seconds: float, seed: int) -> int:
    """Grammar and mutation fuzzing of the parser and the ladder; how many pairs were judged."""
    rng = random.Random(seed)
    stock = [p for kind in RANDOM_KINDS for p in random_pairs(kind, 20, seed)]
    n, deadline = 0, time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        pair = rng.choice(stock)
        text = list(pair.answer)
        for _ in range(rng.randint(0, 4)):
            at = rng.randrange(len(text) + 1)
            text[at : at + rng.randint(0, 3)] = (
                rng.choice(PIECES) if rng.random() < 0.7 else chr(rng.randrange(256))
            )
        answer = "".join(text)
        judge_in_time(
            answer, rng.choice([pair.gold, answer, rng.choice(stock).gold]), rng.choice(["auto", pair.kind])
        )
        n += 1
    return n


def test_fuzz_5_seconds() -> None:
    assert _run(5, seed=0) > 40


@pytest.mark.long
def test_fuzz_10_minutes() -> None:
    assert _run(600, seed=1) > 10_000


ATHERIS = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")


def _atheris(seconds: int, folder: Path) -> str:
    """What it reports; it ends with 0 unless an input raised."""
    script = Path(__file__).with_name("fuzz_atheris.py")
    # Its inputs grow from length 0: without this it would spend a short run on empty answers.
    options = [f"-max_total_time={seconds}", "-seed=1", "-len_control=0", "-max_len=200", "-timeout=60"]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@ATHERIS
def test_coverage_guided_fuzz_15_seconds(tmp_path: Path) -> None:
    assert "DONE" in _atheris(10, tmp_path)


@ATHERIS
@pytest.mark.long
def test_coverage_guided_fuzz_10_minutes(tmp_path: Path) -> None:
    assert "DONE" in _atheris(600, tmp_path)
