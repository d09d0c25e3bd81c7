"""Print finished runs as one Markdown table: python benchmarks/results_table.py runs/*/*/report.json"""

import json
import sys
from pathlib import Path
from typing import Any

GAME = ("optimal_critical", "optimal_critical_sampled", "optimal_critical_seen", "optimal_critical_withheld")
HIDDEN = ("nash_conv",)
PAID = ("mean_return", "95% interval", "sampled", "its 95% interval", "legal unmasked")
TASK = ("greedy", "pass@1", "expert_failed_solved", "harder greedy", "harder pass@1")


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A player's figures under the names of the heads."""
    flat = {key: row[key] for key in (*GAME, *HIDDEN, "greedy", "expert_failed_solved") if key in row}
    if None not in row.get("worst_case", {"0": None}).values():
        flat["worst case"] = f"{row['worst_case']['0']:+g} / {row['worst_case']['1']:+g}"
    if "pass_at" in row:
        flat["pass@1"] = row["pass_at"]["1"]
    if "harder" in row:
        flat["harder greedy"] = row["harder"]["greedy"]
        flat["harder pass@1"] = row["harder"]["pass_at"]["1"]
    if "mean_return" in row:
        intervals = (
            "{:.5g} to {:.5g}".format(*row["ci95"][key]) for key in ("mean_return", "mean_return_sampled")
        )
        means = (f"{row[key]:.5g}" for key in ("mean_return", "mean_return_sampled"))
        flat |= dict(zip((PAID[1], PAID[3]), intervals, strict=True)) | dict(
            zip((PAID[0], PAID[2]), means, strict=True)
        )
        flat |= {PAID[4]: row["legal_mass"]} if row["legal_mass"] is not None else {}
    return {key: value if isinstance(value, str) else f"{value:.4f}" for key, value in flat.items()}


def main(paths: list[str]) -> None:
    """One row for each player of each run; columns that no row fills are left out."""
    rows = []
    for path in paths:
        report = json.loads(Path(path).read_text())
        for player, row in report["players"].items():
            rows.append(
                {
                    "run": report["experiment"],
                    "seed": str(report["seed"]),
                    "player": player,
                    "run, s": f"{report['seconds']:.0f}",
                }
                | cells(row)
            )
    names = {row["run"] for row in rows}
    order = (
        *(("run",) if len(names) > 1 else ()),
        "seed",
        "player",
        *GAME,
        "worst case",
        *HIDDEN,
        *PAID,
        *TASK,
        "run, s",
    )
    heads = [head for head in order if any(head in row for row in rows)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row.get(head, '') for head in heads)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
