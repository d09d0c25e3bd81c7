"""Watching a run: TensorBoard, a metrics file for the curve, and a progress bar."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def progress_bar(console: Console) -> Progress:
    """Phase, bar, count, rate, remaining time and the current `skill` field."""
    counted = TextColumn("{task.description:<16}"), BarColumn(bar_width=30), MofNCompleteColumn()
    timed = _Rate(), TimeRemainingColumn(), TextColumn("{task.fields[skill]}")
    return Progress(*counted, *timed, console=console, refresh_per_second=4)


class Monitor:
    """Scalars go to TensorBoard; the skill also to `metrics.jsonl`, from which the report draws its curve.

    `skill` is drawn over all phases in one chart, with one flat line per reference level (expert, perfect):
    TensorBoard overlays lines that have one tag and different folders.
    """

    def __init__(self, folder: Path, references: dict[str, float]) -> None:
        self._folder, self._references = folder, references
        self._writer = SummaryWriter(str(folder / "tensorboard" / "policy"))
        self._lines = {name: SummaryWriter(str(folder / "tensorboard" / name)) for name in references}
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._episodes = (folder / "episodes.jsonl").open("a", encoding="utf-8")

    def scalars(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Figures of one update."""
        for name, value in values.items():
            self._writer.add_scalar(f"{phase}/{name}", value, step)

    def skill(self, phase: str, step: int, updates: int, value: float) -> None:
        """The current skill, after `step` steps of this phase and `updates` of the run."""
        self._writer.add_scalar("skill", value, updates)
        for name, level in self._references.items():
            self._lines[name].add_scalar("skill", level, updates)
        self._metrics.write(
            json.dumps({"phase": phase, "step": step, "updates": updates, "skill": value}) + "\n"
        )
        self._metrics.flush()

    def text(self, tag: str, step: int, text: str) -> None:
        """A sample episode, shown as it is; also a line of `episodes.jsonl`."""
        self._episodes.write(json.dumps({"tag": tag, "step": step, "text": text}) + "\n")
        self._writer.add_text(tag, "```\n" + text + "\n```", step)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        """Flush everything to disk."""
        self._metrics.close()
        self._episodes.close()
        for writer in (self._writer, *self._lines.values()):
            writer.close()


class Unwatched(Monitor):
    """Writes nothing: of several ranks the first writes."""

    def __init__(self) -> None:
        pass

    def scalars(self, phase: str, step: int, values: dict[str, float]) -> None:
        pass

    def skill(self, phase: str, step: int, updates: int, value: float) -> None:
        pass

    def text(self, tag: str, step: int, text: str) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The skill over the run; where a resumed run repeats a step, the later record counts."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({(record["phase"], record["step"]): record for record in records}.values())
