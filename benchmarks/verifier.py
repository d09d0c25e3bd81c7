"""The verifier beside math-verify, on the same pairs in the same run: rates, error rates, disagreements.

    python benchmarks/verifier.py                 a table, and the disagreements
    python benchmarks/verifier.py --json          one JSON object
    python benchmarks/verifier.py --markdown      the disagreements as a table, for docs/verifier.md

Speed is on one core, with our caches emptied before every pass. math-verify is given what we extract, between
dollar signs, so that neither is charged for the other's idea of where an answer stands.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shuhari.rewards import verify
from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.gold import read_gold
from shuhari.rewards.math.node import Unparsable
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.random_pairs import RANDOM_KINDS, random_pairs
from shuhari.rewards.statistics import wilson

PAIRS = Path(__file__).parents[1] / "tests" / "rewards" / "pairs.jsonl"
CHEAP = ("text", "ast", "rational", "modular", "parse", "limit", "value")
PASSES = 5
WORDS = ("choice", "text")  # what math-verify is not asked to judge


def theirs(answer: str, gold: str) -> bool:
    """math-verify's judgement."""
    import math_verify

    try:
        text = extract(answer)
    except Unparsable:
        text = ""
    return bool(math_verify.verify(math_verify.parse(f"${extract(gold)}$"), math_verify.parse(f"${text}$")))


def cold() -> None:
    """Forget what earlier passes parsed."""
    parse.cache_clear()
    read_gold.cache_clear()


def speed(corpus: list[dict[str, str]]) -> dict[str, Any]:
    """Rates on the corpus, ours and theirs interleaved; split by the rung that decided."""
    cheap = [verify(c["answer"], c["gold"], kind=c["kind"]).rung in CHEAP for c in corpus]
    ours: list[list[float]] = []
    other: list[list[float]] = []
    for _ in range(PASSES):
        cold()
        ours.append([_timed(lambda c=c: verify(c["answer"], c["gold"], kind=c["kind"])) for c in corpus])
        if len(other) < 2:  # theirs takes seconds, and varies little
            other.append([_timed(lambda c=c: theirs(c["answer"], c["gold"])) for c in corpus])
    rows: dict[str, Any] = {}
    for name, chosen in (("rungs_1_4", cheap), ("overall", [True] * len(corpus))):
        mine = [sum(t for t, c in zip(times, chosen, strict=True) if c) for times in ours]
        peer = [sum(t for t, c in zip(times, chosen, strict=True) if c) for times in other]
        n = sum(chosen)
        rows[name] = {
            "n": n,
            "ours_per_s": round(n / statistics.median(mine)),
            "ours_spread": [round(n / max(mine)), round(n / min(mine))],
            "math_verify_per_s": round(n / statistics.median(peer), 1),
            "ratio": round(statistics.median(peer) / statistics.median(mine), 1),
        }
    outside = [
        t
        for times in ours
        for t, c in zip(times, corpus, strict=True)
        if "\\int" not in c["answer"] + c["gold"]
    ]
    rows["p99_ms"] = round(1e3 * sorted(outside)[int(0.99 * len(outside))], 3)
    return rows


def _timed(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def accuracy(corpus: list[dict[str, str]]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Errors of both on labelled pairs, by kind, and where they disagree."""
    counts = {
        name: {"false_positive": 0, "false_negative": 0, "unknown": 0} for name in ("ours", "ours_auto")
    }
    counts["math_verify"] = {"false_positive": 0, "false_negative": 0}
    judged = same = 0
    disagreements = []
    for c in corpus:
        right = c["expect"] == "correct"
        same += right
        for name, kind in (("ours", c["kind"]), ("ours_auto", "auto")):
            verdict = verify(c["answer"], c["gold"], kind=kind, form=c.get("form", "any"))
            counts[name]["unknown"] += not verdict.counts
            counts[name]["false_positive"] += verdict.status == "correct" and not right
            counts[name]["false_negative"] += verdict.status != "correct" and right
            if name == "ours":
                mine = verdict
        if c["kind"] in WORDS or c.get("form", "any") != "any":
            continue
        judged += 1
        accepted = theirs(c["answer"], c["gold"])
        counts["math_verify"]["false_positive"] += accepted and not right
        counts["math_verify"]["false_negative"] += right and not accepted
        if accepted != (mine.status == "correct"):
            row = {key: c[key] for key in ("answer", "gold", "kind", "expect")}
            disagreements.append(row | {"ours": mine.status, "math_verify": str(accepted).lower()})
    figures: dict[str, Any] = {"n": len(corpus), "correct": same, "judged_by_math_verify": judged, **counts}
    for name in ("ours", "math_verify"):
        n = len(corpus) if name == "ours" else judged
        for error in ("false_positive", "false_negative"):
            figures[name][f"{error}_ci95"] = wilson(figures[name][error] / n, n)
    return figures, disagreements


def rewrites(n: int) -> list[dict[str, str]]:
    """`n` equal and `n` other answers, spread over every kind, as labelled pairs."""
    return [
        {"answer": p.answer, "gold": p.gold, "kind": p.kind, "expect": "correct" if p.same else "wrong"}
        for kind in RANDOM_KINDS
        for p in random_pairs(kind, n // len(RANDOM_KINDS), seed=2026)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--rewrites", type=int, default=2000, help="rewrites, and as many mutations")
    parser.add_argument("--markdown", action="store_true", help="print the disagreements as a table")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    logging.disable(logging.CRITICAL)
    written = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    mixed = [c for c in written if c["kind"] not in WORDS and c.get("form", "any") == "any"][::2]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        by_hand, disagreements = accuracy(written)
        generated, more = accuracy(rewrites(options.rewrites))
        speeds = speed(mixed)
    report = {
        "hardware": {"processor": platform.processor() or platform.machine(), "cores_used": 1},
        "versions": {name: version(name) for name in ("math-verify", "sympy", "mpmath")}
        | {"python": platform.python_version()},
        "speed": speeds,
        "by_hand": by_hand,
        "rewrites": generated,
        "disagreements": {"by_hand": disagreements, "rewrites": len(more)},
    }
    if options.json:
        print(json.dumps(report))
        return
    if options.markdown:
        print("| answer | gold | kind | judged | ours | math-verify |\n|---|---|---|---|---|---|")
        for row in disagreements:
            cells = [f"`{row[key]!a}`".replace("|", "\\|") for key in ("answer", "gold")]
            verdict = "correct" if row["math_verify"] == "true" else "wrong"
            print(f"| {' | '.join([*cells, row['kind'], row['expect'], row['ours'], verdict])} |")
        return
    for name in ("rungs_1_4", "overall"):
        row = speeds[name]
        rates = f"{row['ours_per_s']}/s, math-verify {row['math_verify_per_s']}/s"
        print(f"{name}: {rates}: {row['ratio']}x (n={row['n']})")
    print(f"p99 outside the worker: {speeds['p99_ms']} ms")
    for name, figures in (("by hand", by_hand), ("rewrites and mutations", generated)):
        print(f"{name}, n={figures['n']} ({figures['judged_by_math_verify']} put to math-verify):")
        for who in ("ours", "ours_auto", "math_verify"):
            print(f"  {who}: {figures[who]}")
    for row in disagreements:
        judged = f"ours {row['ours']:8} math-verify {row['math_verify']:6}"
        print(f"{row['expect']:8} {judged} {row['answer']!a} | {row['gold']!a}")


if __name__ == "__main__":
    sys.exit(main())
