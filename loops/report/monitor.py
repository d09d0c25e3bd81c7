"""How a run is watched: TensorBoard, and a metrics file for the learning curve."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from shuhari.envs.games.board_view import BoardView
from shuhari.loops.report import hyperparameters, layout, pictures
from shuhari.loops.report.layout import SKILL
from shuhari.loops.report.tags import tag_of

POLICY = "policy"  # the run of events of the policy


class Monitor:
    """Writes TensorBoard's events under the tags of `tags.py`, the skill also to `metrics.jsonl`, for the
    report's learning curve, and sample episodes to `episodes.jsonl`.

    The policy's events are one run, each level's another, with the same tag for the skill, and so each has
    its own color. Of what is written, `layout.py` makes the dashboard; `tags.txt` keeps the tags for a
    resumed run.
    """

    def __init__(self, folder: Path, levels: dict[str, float], config: Mapping[str, Any]) -> None:
        """`levels`: the skills of other players, such as the expert, by name. `config`: of the run."""
        self._levels, self._events = levels, folder / "tensorboard"
        self._writer = SummaryWriter(str(self._events / POLICY))
        self._level_writers = {name: SummaryWriter(str(self._events / name)) for name in levels}
        self._config_writer = SummaryWriter(str(self._events / hyperparameters.FOLDER))
        _add(self._config_writer, hyperparameters.as_summary(config))
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._episodes = (folder / "episodes.jsonl").open("a", encoding="utf-8")
        self._tags = dict.fromkeys(_lines(self._events / "tags.txt"))

    def figures(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Figures of a phase after `step` rounds, by the names under which they are measured."""
        tags = {tag_of(phase, name): value for name, value in values.items()}
        _add_scalars(self._writer, tags, step)
        self._lay_out(tags)

    def skill(self, phase: str, step: int, updates: int, value: float, interval: tuple[float, float]) -> None:
        """The present skill with its 95% interval, after `step` rounds of this phase and `updates` optimizer
        steps of the run."""
        self._add_point(self._writer, "", updates, value, interval)
        for name, level in self._levels.items():
            self._add_point(self._level_writers[name], "", updates, level, (level, level))
        self._config_writer.add_scalar(hyperparameters.TAG, value, updates)
        record = {"phase": phase, "step": step, "updates": updates, "skill": value, "ci95": interval}
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()

    def own_skill(self, phase: str, step: int, value: float, interval: tuple[float, float]) -> None:
        """The same of a phase that plays another environment: not on the chart of the others."""
        self._lay_out(self._add_point(self._writer, f"{phase}/", step, value, interval))

    def episode(self, phase: str, step: int, text: str) -> None:
        """A sample episode, for TensorBoard and as a line of `episodes.jsonl`."""
        tag = f"{phase}/episode"
        self._episodes.write(json.dumps({"tag": tag, "step": step, "text": text}) + "\n")
        self._writer.add_text(tag, "```\n" + text + "\n```", step)

    def samples(self, phase: str, step: int, answers: str, views: Sequence[BoardView]) -> None:
        """Answers, as Markdown, and what the policy would play in a few positions; either may be empty."""
        if answers:
            self._writer.add_text(f"{phase}/answers", answers, step)
        if views:
            self._writer.add_image(f"{phase}/boards", pictures.boards(views), step, dataformats="HWC")

    @staticmethod
    def _add_point(
        writer: SummaryWriter, prefix: str, step: int, value: float, interval: tuple[float, float]
    ) -> list[str]:
        """A skill and its interval. TensorBoard draws a band only where all three have the same steps."""
        tags = [f"{prefix}{name}" for name in SKILL]
        _add_scalars(writer, dict(zip(tags, (value, *interval), strict=True)), step)
        return tags

    def _lay_out(self, tags: Iterable[str]) -> None:
        """Write the layout again if one of these tags comes for the first time."""
        if new := [tag for tag in tags if tag not in self._tags]:
            self._tags |= dict.fromkeys(new)
            with (self._events / "tags.txt").open("a", encoding="utf-8") as file:
                file.writelines(f"{tag}\n" for tag in new)
            _add(self._writer, layout.as_summary(self._tags))

    def close(self) -> None:
        """Write everything to disk and close it."""
        self._metrics.close()
        self._episodes.close()
        for writer in (self._writer, self._config_writer, *self._level_writers.values()):
            writer.close()


class Unwatched(Monitor):
    """Writes nothing: of several ranks the first writes."""

    def __init__(self) -> None:
        pass

    def figures(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        pass

    def skill(self, phase: str, step: int, updates: int, value: float, interval: tuple[float, float]) -> None:
        pass

    def own_skill(self, phase: str, step: int, value: float, interval: tuple[float, float]) -> None:
        pass

    def episode(self, phase: str, step: int, text: str) -> None:
        pass

    def samples(self, phase: str, step: int, answers: str, views: Sequence[BoardView]) -> None:
        pass

    def close(self) -> None:
        pass


def write_curves(folder: Path, over: str, curves: Mapping[str, Mapping[str, Mapping[int, float]]]) -> None:
    """Skill against a number, in TensorBoard: a chart for each kind, a line for each player, and all of them
    in one figure.

    over: what the number counts, samples or simulations; it stands where steps stand elsewhere
    curves: by player, kind and number
    """
    lines = {}
    for player, kinds in curves.items():
        with SummaryWriter(str(folder / "tensorboard" / player)) as writer:
            for kind, curve in kinds.items():
                lines[f"{player}, {kind.replace('_', ' ')}"] = curve
                for k, value in curve.items():
                    writer.add_scalar(f"{over}/{kind}", value, k)
    if lines:
        with SummaryWriter(str(folder / "tensorboard" / POLICY)) as writer:
            writer.add_image(f"curves/{over}", pictures.curves(over, lines), dataformats="HWC")


def _add(writer: SummaryWriter, summary: Any, step: int | None = None) -> None:
    """An event for which SummaryWriter has no method of its own."""
    file_writer: Any = writer.file_writer
    file_writer.add_summary(summary, step)


def _add_scalars(writer: SummaryWriter, values: Mapping[str, float], step: int) -> None:
    """All of them as one event: one by one they would cost ten times as much, in each round."""
    found = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()]
    _add(writer, Summary(value=found), step)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The skill over the run. Where a resumed run has repeated a step, the later record counts."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({(record["phase"], record["step"]): record for record in records}.values())
