"""The report at the end of a run: as JSON for programs, as Markdown for readers, and in the terminal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from shuhari.loops.evaluate.evaluation import Column, Curves, Evaluation, percent
from shuhari.loops.report.curve import draw_curve
from shuhari.loops.report.monitor import read_metrics

ORDER = (
    "random", "base", "expert", "expert_mode", "imitation", "search_alone",
    "selfplay", "selfplay_search", "selfplay_harder", "adapter",
)  # fmt: skip


MARKDOWN_COLUMNS = 80  # of the learning curve in report.md
METRICS_LEGEND = (
    "What the environment measures beside the reward: means of greedy episodes, with 95% intervals."
)
MOST_SHOWN = 64  # most samples or simulations of the table of curves
FEWEST_POINTS = 3  # of a curve that is worth a table
NARROWEST = 40  # columns of a terminal that still gets a learning curve


@dataclass(frozen=True)
class Report:
    """The report of a run, or of one evaluation.

    data: what `report.json` holds
    evaluation: the kind of evaluation that measured the players
    phase_evaluations: by phase, the evaluation of its own problems; its rows are inside the players' rows
    trained: players that the sentence may be about; it is about the first of them that was measured
    levels: skills of other players, which the learning curve shows as lines
    """

    data: dict[str, Any]
    evaluation: Evaluation[Any]
    phase_evaluations: dict[str, Evaluation[Any]]
    trained: Sequence[str]
    levels: dict[str, float]

    @property
    def sentence(self) -> str:
        return self.evaluation.sentence(self.data["players"], self.trained)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The heads of the columns, and a row for each player."""
        players = self.data["players"]
        names = self._in_order()
        columns = [*self.evaluation.columns]
        for phase, evaluation in self.phase_evaluations.items():
            columns += [inside(column, phase, first=n == 0) for n, column in enumerate(evaluation.brief())]
        cells = [[column.cell(players[name]) for column in columns] for name in names]
        shown = [c for c in range(len(columns)) if any(row[c] is not None for row in cells)]
        heads = ["player", *(columns[c].head for c in shown)]
        return heads, [[name, *(row[c] or "" for c in shown)] for name, row in zip(names, cells, strict=True)]

    def metrics(self) -> tuple[list[str], list[list[str]]]:
        """The same of what the environments measure beside the reward: means with their intervals."""
        players = self.data["players"]
        kinds = {(): ""} | {(phase,): f"{phase} " for phase in self.phase_evaluations}
        known: dict[str, dict[str, str]] = {name: {} for name in self._in_order()}
        for path, prefix in kinds.items():
            for name, cells in known.items():
                row = players[name]
                for phase in path:
                    row = row.get(phase, {})
                for metric, figure in row.get("metrics", {}).items():
                    low, high = figure["ci95"]
                    cells[f"{prefix}{metric}"] = f"{figure['mean']:.4g} ({low:.4g} to {high:.4g})"
        heads = list(dict.fromkeys(head for cells in known.values() for head in cells))
        rows = [[name, *(cells.get(head, "") for head in heads)] for name, cells in known.items() if cells]
        return ["player", *heads], rows

    @property
    def curves(self) -> dict[str, Curves]:
        """Skill against the number of samples or simulations, by player and kind."""
        return self.evaluation.curves(self.data["players"])

    def samples(self) -> tuple[list[str], list[list[str]]]:
        """The same as a table; no rows where curves are short."""
        curves = self.curves
        known = sorted({k for kinds in curves.values() for curve in kinds.values() for k in curve})
        ks = [k for k in known if k <= MOST_SHOWN]
        rows = [
            [f"{name}, {kind.replace('_', ' ')}", *(percent(curve.get(k)).rstrip("%") for k in ks)]
            for name in self._in_order()
            for kind, curve in curves.get(name, {}).items()
        ]
        return ["player", *map(str, ks)], rows if len(ks) >= FEWEST_POINTS else []

    @property
    def worth(self) -> list[str]:
        """How many earlier samples one is worth, as one sentence, or none."""
        worth = self.data.get("samples_worth")
        return [worth["sentence"]] if worth else []

    @property
    def health(self) -> list[str]:
        """That all is well, or a line for each figure that is not; nothing where nothing was trained."""
        block = self.data.get("health", {"checks": ()})
        lines = [
            f"health: {c['verdict']}: {c['phase']}: {c['name']} is {c['value']:g}, healthy is {c['healthy']} "
            f"({c['what']})"
            for c in block["checks"]
            if c["verdict"] != "ok"
        ]
        return lines or ["health: ok"] * bool(block["checks"])

    @property
    def gates(self) -> list[str]:
        """A line for each phase that had a gate: how it ended, and what was taken back."""
        lines = []
        for phase in self.data["phases"]:
            if gate := phase.get("gate"):
                back = ", ".join(map(str, gate["went_back"]))
                taken = f"went back after round {back}" if back else "never went back"
                lines.append(
                    f"gate: {phase['name']}: {len(gate['looks'])} looks at {gate['compared']}; {taken}; "
                    f"ends with round {gate['ends_with']} of {phase['steps']}"
                )
        return lines

    def shown(self) -> dict[str, Any]:
        """What a reader sees, as report.json keeps it: whoever draws it needs no evaluation."""
        heads, rows = self.table()
        tables = [{"title": "", "heads": heads, "rows": rows, "legend": self.evaluation.legend}]
        heads, rows = self.metrics()
        tables += (
            [{"title": "metrics", "heads": heads, "rows": rows, "legend": METRICS_LEGEND}] if rows else []
        )
        return {
            "sentence": self.sentence,
            "unit": self.evaluation.unit,
            "levels": self.levels,
            "tables": tables,
            "curves": {
                "over": self.evaluation.curves_over,
                "title": self.evaluation.curves_title,
                "legend": self.evaluation.curves_legend,
                "players": self.curves,
            },
            "lines": [*self.worth, *self.gates, *self.health],
        }

    def _in_order(self) -> list[str]:
        """The players' names as they stand in tables."""
        return sorted(self.data["players"], key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER))

    def write(self, folder: Path) -> None:
        """Write `report.json` and `report.md`."""
        data = self.data | {"shown": self.shown()}
        (folder / "report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        lines = [f"# {self.data['experiment']}, seed {self.data['seed']}", "", self.sentence, ""]
        lines += [line for failure in self.data.get("failures", ()) for line in (f"**{failure}**", "")]
        lines += [*_as_markdown(*self.table()), "", self.evaluation.legend, ""]
        heads, rows = self.metrics()
        lines += [METRICS_LEGEND, "", *_as_markdown(heads, rows), ""] if rows else []
        heads, rows = self.samples()
        title, legend = self.evaluation.curves_title, self.evaluation.curves_legend
        lines += [title, "", *_as_markdown(heads, rows), "", legend, ""] if rows else []
        lines += [text for line in self.worth for text in (line, "")]
        lines += [text for line in (*self.gates, *self.health) for text in (line, "")]
        if curve := self._curve(folder, MARKDOWN_COLUMNS):
            lines += ["```text", curve, "```", ""]
        (folder / "report.md").write_text("\n".join([*lines, *self._facts(), ""]), encoding="utf-8")

    def show(self, folder: Path, console: Console) -> None:
        """Print the table, the learning curve and the sentence."""
        self._show_table(console, f"{self.data['experiment']}, seed {self.data['seed']}", *self.table())
        console.print(self.evaluation.legend)
        heads, rows = self.metrics()
        if rows:
            self._show_table(console, "metrics", heads, rows)
            console.print(METRICS_LEGEND)
        heads, rows = self.samples()
        if rows:
            self._show_table(console, self.evaluation.curves_title, heads, rows)
            console.print(self.evaluation.curves_legend)
        if console.width >= NARROWEST and (
            curve := self._curve(folder, min(console.width, MARKDOWN_COLUMNS))
        ):
            console.print(f"\n{curve}\n", markup=False, highlight=False)
        console.print(self.sentence, style="bold")
        for line in self.worth:
            console.print(line, markup=False)
        for note in self.data["notes"]:
            console.print(f"note: {note}", markup=False)
        for failure in self.data.get("failures", ()):
            console.print(failure, style="bold", soft_wrap=True, markup=False)
        for line in (*self.gates, *self.health):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        console.print(f"report: {folder / 'report.md'}", soft_wrap=True, markup=False)
        console.print(f"as a page: shuhari report {folder}", soft_wrap=True, markup=False)
        console.print(f"dashboard: shuhari monitor {folder}", soft_wrap=True, markup=False)

    @staticmethod
    def _show_table(console: Console, title: str, heads: list[str], rows: list[list[str]]) -> None:
        """As a table or, where the terminal is too narrow for all columns, as several of fewer columns; where
        even one does not fit beside the players, as a list."""

        def table(columns: list[int], title: str | None = None) -> Table:
            made = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, title=title)
            for column in (0, *columns):
                made.add_column(heads[column], justify="right" if column else "left", no_wrap=True)
            for row in rows:
                cells = [row[column] for column in (0, *columns)]
                made.add_row(*cells, style="bold" if row[0].startswith("selfplay") else None)
            return made

        def fits(columns: list[int]) -> bool:
            unbounded = console.options.update(width=10_000)
            return Measurement.get(console, unbounded, table(columns)).maximum <= console.width

        parts: list[list[int]] = [[]]
        for column in range(1, len(heads)):
            if parts[-1] and not fits([*parts[-1], column]):
                parts.append([])
            parts[-1].append(column)
        if all(map(fits, parts)):
            for n, columns in enumerate(parts):
                console.print(table(columns, title if n == 0 else None))
            return
        console.print(title, style="italic")
        for row in rows:
            figures = [f"{head} {cell}" for head, cell in zip(heads[1:], row[1:], strict=True) if cell]
            console.print(f"{row[0]}: {', '.join(figures)}", markup=False)

    def _curve(self, folder: Path, columns: int) -> str:
        """The learning curve, or "" where nothing was trained."""
        metrics = read_metrics(folder)
        return draw_curve(metrics, self.levels, self.data["skill"], columns) if metrics else ""

    def _facts(self) -> list[str]:
        """What the figures rest on, as a Markdown list."""
        data = self.data
        counts = [f"{name.replace('_', ' ')} {value:,}" for name, value in data["evaluation"].items()]
        lines = [f"- Evaluation: {', '.join(counts)}."]
        lines += [
            f"- Phase {p['name']}: {p['seconds']:.0f} s of training, {p['steps']} steps, "
            f"{p['updates']} updates, {p['episodes']:,} episodes, {p['tokens']:,} tokens in losses."
            for p in data["phases"]
        ]
        for name in ("policy", "hardware", "versions"):
            lines.append(f"- {name.title()}: {', '.join(f'{k} {v}' for k, v in data[name].items())}.")
        seconds, measuring = (round(data[name]) for name in ("seconds", "measuring_seconds"))
        lines.append(f"- Whole run: {seconds} s, of which measuring took {measuring} s.")
        return lines + [f"- Note: {note}" for note in data["notes"]]


def _as_markdown(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def inside(column: Column, phase: str, first: bool) -> Column:
    """A column of a phase's own evaluation, whose row is inside a player's row under the phase's name."""
    head = phase if first else f"{phase} {column.head}"
    return Column(head, lambda row: column.cell(row[phase]) if phase in row else None)
