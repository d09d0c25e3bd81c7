"""Compare two players of finished runs problem by problem, pooled over the runs:

python benchmarks/paired.py selfplay imitation runs/legs/*/report.json

Prints the mean difference of greedy answers, of pass@1 and of pass@k (all samples), each with its interval,
99% unless --level says otherwise. Runs of one experiment measure the same problems, so the differences of one
problem are averaged over the runs first, and the interval is a normal one over problems.
"""

import argparse
import json
from math import sqrt
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

FIGURES = ("greedy", "pass@1", "pass@k")


def scores(row: dict[str, Any], samples: int) -> dict[str, list[float | None]]:
    """What a player's answers to each problem are worth; None: there is no verdict."""
    outcomes = row["outcomes"]
    return {
        "greedy": [None if mark == "?" else float(mark) for mark in outcomes["greedy"]],
        "pass@1": [right / samples for right in outcomes["right"]],
        "pass@k": [float(right > 0) for right in outcomes["right"]],
    }


def differences(reports: list[dict[str, Any]], player: str, rival: str) -> dict[str, list[float]]:
    """By figure: for each problem the mean difference over the runs in which both have a verdict."""
    found: dict[str, dict[int, list[float]]] = {figure: {} for figure in FIGURES}
    for report in reports:
        samples = report["evaluation"]["samples_per_problem"]
        mine, other = (scores(report["players"][name], samples) for name in (player, rival))
        for figure in FIGURES:
            for problem, (a, b) in enumerate(zip(mine[figure], other[figure], strict=True)):
                if a is not None and b is not None:
                    found[figure].setdefault(problem, []).append(a - b)
    return {figure: [fmean(by[problem]) for problem in sorted(by)] for figure, by in found.items()}


def interval(values: list[float], level: float) -> tuple[float, float, float]:
    """Mean, and the ends of its interval."""
    mean = fmean(values)
    half = NormalDist().inv_cdf((1 + level) / 2) * stdev(values) / sqrt(len(values))
    return mean, mean - half, mean + half


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("player")
    parser.add_argument("rival")
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--level", type=float, default=0.99)
    given = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in given.reports]
    for path, report in zip(given.reports, reports, strict=True):
        for name in (given.player, given.rival):
            if "outcomes" not in report["players"].get(name, {}):
                parser.error(f"{path}: has no outcomes of {name}; players: {', '.join(report['players'])}")
    seeds = ", ".join(str(report["seed"]) for report in reports)
    of = f"{reports[0]['experiment']}, seeds {seeds}"
    print(f"{of}: {given.player} less {given.rival}, {given.level:.0%} intervals")
    for figure, values in differences(reports, given.player, given.rival).items():
        mean, low, high = interval(values, given.level)
        print(f"{figure:7} {mean:+.4f} ({low:+.4f} to {high:+.4f}), {len(values)} problems")


if __name__ == "__main__":
    main()
