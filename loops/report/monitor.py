"""How a run is watched: TensorBoard, a metrics file for the learning curve, and a progress bar."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

LONG = 2.0  # seconds, after which a line says what took them


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def progress_bar(console: Console) -> Progress:
    """It shows the phase, a bar, the count of steps, their rate, the remaining time and the field `skill`."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[skill]}"),
    )
    return Progress(*columns, console=console, refresh_per_second=4)


@contextmanager
def working(console: Console, text: str) -> Iterator[None]:
    """Say what is being done while it is: on a terminal with the time so far, elsewhere in a line at its end,
    if it took longer than `LONG` seconds."""
    started = time.monotonic()
    if console.is_terminal:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True) as shown:
            shown.add_task(text)
            yield
    else:
        yield
        if (seconds := time.monotonic() - started) > LONG:
            console.print(f"{text}: {seconds:.0f} s", markup=False)


class Monitor:
    """Writes scalars to TensorBoard, and the skill also to `metrics.jsonl`, for the report's learning curve.

    TensorBoard shows the skill over all phases in one chart, with a flat line for each level, because it
    overlays scalars of the same tag from different folders.
    """

    def __init__(self, folder: Path, levels: dict[str, float]) -> None:
        """`levels`: the skills of other players, such as the expert, by name."""
        self._levels = levels
        self._writer = SummaryWriter(str(folder / "tensorboard" / "policy"))
        self._level_writers = {name: SummaryWriter(str(folder / "tensorboard" / name)) for name in levels}
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._episodes = (folder / "episodes.jsonl").open("a", encoding="utf-8")

    def scalars(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Figures of one round."""
        for name, value in values.items():
            self._writer.add_scalar(f"{phase}/{name}", value, step)

    def skill(self, phase: str, step: int, updates: int, value: float) -> None:
        """The present skill, after `step` rounds of this phase and `updates` optimizer steps of the run."""
        self._writer.add_scalar("skill", value, updates)
        for name, level in self._levels.items():
            self._level_writers[name].add_scalar("skill", level, updates)
        record = {"phase": phase, "step": step, "updates": updates, "skill": value}
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()

    def text(self, tag: str, step: int, text: str) -> None:
        """A sample episode, for TensorBoard and as a line of `episodes.jsonl`."""
        self._episodes.write(json.dumps({"tag": tag, "step": step, "text": text}) + "\n")
        self._writer.add_text(tag, "```\n" + text + "\n```", step)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        """Write everything to disk and close it."""
        self._metrics.close()
        self._episodes.close()
        for writer in (self._writer, *self._level_writers.values()):
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


def write_curves(folder: Path, over: str, curves: Mapping[str, Mapping[str, Mapping[int, float]]]) -> None:
    """Skill against a number, in TensorBoard: a chart for each kind, a line for each player.

    over: what the number counts, samples or simulations; it stands where steps stand elsewhere
    curves: by player, kind and number
    """
    for player, kinds in curves.items():
        with SummaryWriter(str(folder / "tensorboard" / player)) as writer:
            for kind, curve in kinds.items():
                for k, value in curve.items():
                    writer.add_scalar(f"{over}/{kind}", value, k)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The skill over the run. Where a resumed run has repeated a step, the later record counts."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({(record["phase"], record["step"]): record for record in records}.values())
