"""What a run shows at its end: `report.json` for programs, `report.md` and a table for people."""

import json
import math
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from shuhari.loops.curve import draw_curve
from shuhari.loops.monitor import read_metrics

ORDER = (
    "random", "base", "expert", "expert_mode", "imitation", "search_alone",
    "selfplay", "selfplay_search", "selfplay_harder", "adapter",
)  # fmt: skip
LEARNED = ("selfplay", "imitation", "adapter")  # the policy a verdict speaks of: the first of these there is

LEGEND = {
    "game": (
        "critical, all: share of (critical) positions in which the best move is played. worst case: value "
        "from the first and the second seat against every reply. vs: wins-draws-losses, every opening from "
        "both seats."
    ),
    "task": (
        "greedy: held-out problems solved by the most probable answer, with Wilson's 95% interval. pass@k: "
        "by k samples at temperature 1. fixed: of the problems that the expert gets wrong, the share "
        "solved. harder: greedy, then pass@1, on problems harder than any trace."
    ),
    "hidden": (
        "nash_conv: what both seats together could win by answering best, 0 in an equilibrium. vs: mean "
        "return, in either seat as often."
    ),
}


METRIC = {  # which figure decides, and what it says of a policy
    "game": ("optimal_critical", "plays the best move in {} of critical positions"),
    "hidden": ("nash_conv", "leaves its opponents {} to win by their best answers"),
    "task": ("greedy", "solves {} of held-out problems"),
}


def _percent(value: float | None) -> str:
    """Rounded down, so that only what is perfect reads as 100%."""
    return "" if value is None else f"{math.floor(value * 1000 + 1e-6) / 10:.1f}%"


def _game_cells(row: dict[str, Any]) -> dict[str, str]:
    cells = {
        "critical": _percent(row["optimal_critical"]),
        "all": _percent(row["optimal_all"]),
    }
    if "optimal_critical_seen" in row:
        cells["seen"] = _percent(row["optimal_critical_seen"])
        cells["withheld"] = _percent(row["optimal_critical_withheld"])
    worst = row["worst_case"]
    if None not in worst.values():  # too many replies to follow
        cells["worst case"] = f"{worst['0']:+.2f} {worst['1']:+.2f}"
    for opponent in ("expert", "perfect"):
        match = row["versus"].get(opponent)
        cells[f"vs {opponent}"] = f"{match['wins']}-{match['draws']}-{match['losses']}" if match else ""
    return cells


def _task_cells(row: dict[str, Any]) -> dict[str, str]:
    low, high = row["ci95"]["greedy"]
    cells = {
        "greedy": _percent(row["greedy"]),
        "ci95": f"{100 * low:.1f}-{100 * high:.1f}",
        "pass@1": _percent(row["pass_at"]["1"]),
        "pass@2": _percent(row["pass_at"]["2"]),
        "fixed": _percent(row.get("expert_failed_solved")),
    }
    if "harder" in row:
        cells |= {
            "harder": _percent(row["harder"]["greedy"]),
            "pass@1 ": _percent(row["harder"]["pass_at"]["1"]),
        }
    return cells


def _hidden_cells(row: dict[str, Any]) -> dict[str, str]:
    versus = {n: row["versus"].get(n, {}).get("mean_return") for n in ("random", "expert", "perfect")}
    return {"nash_conv": f"{row['nash_conv']:.3f}"} | {
        f"vs {n}": "" if value is None else f"{value:+.3f}" for n, value in versus.items()
    }


def _kind(row: dict[str, Any]) -> str:
    return "game" if "worst_case" in row else "hidden" if "nash_conv" in row else "task"


def table_rows(players: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Column heads and one row a player."""
    names = [name for name in ORDER if name in players]
    draw = {"game": _game_cells, "hidden": _hidden_cells, "task": _task_cells}
    cells = [draw[_kind(players[name])](players[name]) for name in names]
    heads = list(dict.fromkeys(head for row in cells for head in row))
    return ["player", *heads], [
        [n, *(c.get(h, "") for h in heads)] for n, c in zip(names, cells, strict=True)
    ]


def verdict(players: dict[str, dict[str, Any]]) -> str:
    """One sentence: has the policy passed its expert, and everything it could be mistaken for?"""
    name = next((n for n in LEARNED if n in players), None)
    if name is None:
        return "Nothing was trained: the table shows the reference players only."
    kind = _kind(players[name])
    metric, what = METRIC[kind]
    rivals = [n for n in ("expert", "expert_mode", "imitation", "search_alone") if n in players and n != name]
    # Exact figures are compared as they are; on a sample of problems the whole interval must lie above.
    surely = players[name]["ci95"]["greedy"][0] if kind == "task" else players[name][metric] or 0.0
    sign = -1 if kind == "hidden" else 1  # of NashConv, less is better
    beaten = [n for n in rivals if sign * surely > sign * (players[n][metric] or 0.0)]
    said = "{:.3f}".format if kind == "hidden" else _percent
    compared = ", ".join(f"{n} {said(players[n][metric])}" for n in rivals)
    own = said(players[name][metric] or 0.0)
    sentence = f"{name} {what.format(own)}" + (f" ({compared})" if compared else "")
    if kind == "game":
        worst = players[name]["worst_case"].values()
        if None not in worst:
            sentence += (
                " and never loses, whatever the reply" if min(worst) >= 0 else " and can still be beaten"
            )
    if "expert" not in players:
        return f"{sentence}; there is no expert to compare it with."
    if len(beaten) == len(rivals):
        return f"{sentence}: it has passed its expert and everything it could be mistaken for."
    unbeaten = [n for n in rivals if n not in beaten]
    if "expert" in beaten:
        return f"{sentence}: it has passed its expert, but not {' and '.join(unbeaten)}."
    return f"{sentence}: it has not passed {' or '.join(unbeaten)}."


def write_report(folder: Path, report: dict[str, Any], references: dict[str, float]) -> None:
    """Write `report.json`, `report.md` and `curve.svg`."""
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    heads, rows = table_rows(report["players"])
    metrics = read_metrics(folder)
    lines = [f"# {report['experiment']}, seed {report['seed']}", "", verdict(report["players"]), ""]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", _legend(heads)]
    if metrics:
        (folder / "curve.svg").write_text(draw_curve(metrics, references, report["skill"]), encoding="utf-8")
        lines += ["", f"![{report['skill']} over the optimizer's steps](curve.svg)"]
    lines += ["", *_facts(report), ""]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def print_report(folder: Path, report: dict[str, Any], console: Console) -> None:
    """The table and the verdict, for a person."""
    heads, rows = table_rows(report["players"])
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=f"{report['experiment']}, seed {report['seed']}",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "player" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row, style="bold" if row[0].startswith("selfplay") else None)
    console.print(table)
    console.print(_legend(heads))
    console.print(verdict(report["players"]), style="bold")
    for note in report["notes"]:
        console.print(f"note: {note}")
    console.print(f"report: {folder / 'report.md'}", soft_wrap=True)
    console.print(f"TensorBoard: tensorboard --logdir {folder}", soft_wrap=True)


def _legend(heads: list[str]) -> str:
    return LEGEND["game" if "critical" in heads else "hidden" if "nash_conv" in heads else "task"]


def _facts(report: dict[str, Any]) -> list[str]:
    machine = report["hardware"]
    counts = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in report["evaluation"].items())
    lines = [f"- Evaluation: {counts}."]
    lines += [
        f"- Phase {p['name']}: {p['seconds']:.0f} s, {p['steps']} steps, {p['updates']} updates, "
        f"{p['episodes']:,} episodes, {p['tokens']:,} tokens in losses."
        for p in report["phases"]
    ]
    lines.append(f"- Policy: {', '.join(f'{k} {v}' for k, v in report['policy'].items())}.")
    lines.append(f"- Hardware: {', '.join(f'{k} {v}' for k, v in machine.items())}.")
    lines.append(f"- Versions: {', '.join(f'{k} {v}' for k, v in report['versions'].items())}.")
    lines.append(f"- Whole run: {report['seconds']:.0f} s.")
    return lines + [f"- Note: {note}" for note in report["notes"]]
