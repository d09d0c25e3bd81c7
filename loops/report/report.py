"""What a run shows at its end: one report, for programs (JSON), for readers (Markdown) and for a terminal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from shuhari.loops.evaluate.evaluation import Column, Evaluation
from shuhari.loops.report.curve import draw_curve
from shuhari.loops.report.monitor import read_metrics

ORDER = (
    "random", "base", "expert", "expert_mode", "imitation", "search_alone",
    "selfplay", "selfplay_search", "selfplay_harder", "adapter",
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """`data` is what `report.json` holds; the evaluations know how its rows are read.

    own: evaluations of phases, whose rows stand within the players' rows
    learned: players of whom the sentence may speak, the first of them that there is
    levels: flat lines of the learning curve
    """

    data: dict[str, Any]
    evaluation: Evaluation[Any]
    own: dict[str, Evaluation[Any]]
    learned: Sequence[str]
    levels: dict[str, float]

    @property
    def sentence(self) -> str:
        return self.evaluation.sentence(self.data["players"], self.learned)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Column heads and one row a player."""
        players = self.data["players"]
        names = sorted(players, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER))
        columns = list(self.evaluation.columns)
        for phase, evaluation in self.own.items():
            for number, column in enumerate(evaluation.brief()):
                head = f"{phase} {column.head}" if number else phase
                cell = lambda row, p=phase, c=column: c.cell(row[p]) if p in row else None  # noqa: E731
                columns.append(Column(head, cell))
        cells = [[column.cell(players[name]) for column in columns] for name in names]
        shown = [c for c in range(len(columns)) if any(row[c] is not None for row in cells)]
        heads = ["player", *(columns[c].head for c in shown)]
        return heads, [[name, *(row[c] or "" for c in shown)] for name, row in zip(names, cells, strict=True)]

    def write(self, folder: Path) -> None:
        """Write `report.json`, `report.md` and `curve.svg`."""
        (folder / "report.json").write_text(json.dumps(self.data, indent=2) + "\n", encoding="utf-8")
        skill, metrics = self.data["skill"], read_metrics(folder)
        if metrics:
            (folder / "curve.svg").write_text(draw_curve(metrics, self.levels, skill), encoding="utf-8")
        curve = ["", f"![{skill} over the optimizer's steps](curve.svg)"] if metrics else []
        lines = [f"# {self.data['experiment']}, seed {self.data['seed']}", "", self.sentence, ""]
        lines += [line for failure in self.data.get("failures", ()) for line in (f"**{failure}**", "")]
        heads, rows = self.table()
        lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += ["", self.evaluation.legend, *curve, "", *self._facts(), ""]
        (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")

    def show(self, folder: Path, console: Console) -> None:
        """The table and the sentence, for a person; a list where the terminal is too narrow for the table."""
        heads, rows = self.table()
        title = f"{self.data['experiment']}, seed {self.data['seed']}"
        table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, title=title)
        for head in heads:
            table.add_column(head, justify="left" if head == "player" else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row, style="bold" if row[0].startswith("selfplay") else None)
        unbounded = console.options.update(width=10_000)
        if Measurement.get(console, unbounded, table).minimum <= console.width:
            console.print(table)
        else:
            console.print(title, style="italic")
            for row in rows:
                figures = [f"{head} {cell}" for head, cell in zip(heads[1:], row[1:], strict=True) if cell]
                console.print(f"{row[0]}: {', '.join(figures)}", markup=False)
        console.print(self.evaluation.legend)
        console.print(self.sentence, style="bold")
        for note in self.data["notes"]:
            console.print(f"note: {note}", markup=False)
        for failure in self.data.get("failures", ()):
            console.print(failure, style="bold", soft_wrap=True, markup=False)
        console.print(f"report: {folder / 'report.md'}", soft_wrap=True, markup=False)
        console.print(f"TensorBoard: tensorboard --logdir {folder}", soft_wrap=True, markup=False)

    def _facts(self) -> list[str]:
        data = self.data
        counts = ", ".join(
            f"{name.replace('_', ' ')} {value:,}" for name, value in data["evaluation"].items()
        )
        lines = [f"- Evaluation: {counts}."]
        lines += [
            f"- Phase {p['name']}: {p['seconds']:.0f} s, {p['steps']} steps, {p['updates']} updates, "
            f"{p['episodes']:,} episodes, {p['tokens']:,} tokens in losses."
            for p in data["phases"]
        ]
        for name in ("policy", "hardware", "versions"):
            lines.append(f"- {name.title()}: {', '.join(f'{k} {v}' for k, v in data[name].items())}.")
        lines.append(f"- Whole run: {data['seconds']:.0f} s.")
        return lines + [f"- Note: {note}" for note in data["notes"]]
