"""What lies in a run's folder, read as far as it can be: a missing or damaged file is named, not fatal.

It needs no model, no environment and no torch: a page is made in less than a second.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

MARKS = ("config.yaml", "report.json", "metrics.jsonl")  # any of them makes a folder a run
Figures = dict[str, Any]


class NoRunError(ValueError):
    """A folder is no run; the message says what to do."""


@dataclass
class RunRecord:
    """A run's folder.

    config, report: {} where they are missing or damaged
    metrics: the points of the learning curve, as {phase, step, updates, skill}
    episodes: sample episodes, oldest first, as {tag, step, text}
    faults: a line for each file that is missing or damaged
    """

    folder: Path
    config: Figures = field(default_factory=dict)
    report: Figures = field(default_factory=dict)
    metrics: list[Figures] = field(default_factory=list)
    episodes: list[Figures] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(
            self.report.get("experiment") or self.config.get("name") or self.folder.resolve().parent.name
        )

    @property
    def seed(self) -> str:
        return str(self.report.get("seed", self.config.get("seed", "unknown")))

    @property
    def shown(self) -> Figures:
        """The report's sentence, tables and curves, as they were shown at the end of the run."""
        return dict(self.report.get("shown") or {})

    @property
    def metric(self) -> str:
        """The name of the skill."""
        return str(self.report.get("skill") or "skill")

    @property
    def players(self) -> dict[str, Figures]:
        """The rows of all players that have the skill, in the order of the report's table."""
        known = {
            name: row
            for name, row in self.report.get("players", {}).items()
            if row.get(self.metric) is not None
        }
        order = [row[0] for row in next((t["rows"] for t in self.shown.get("tables", ())), ())]
        return {name: known[name] for name in (*order, *known) if name in known}

    @property
    def phases(self) -> list[str]:
        """The phases that the configuration asks for."""
        names, only = list(self.config.get("phases") or {}), self.config.get("only")
        return [name for name in names if only is None or name in only]

    @property
    def unfinished(self) -> str:
        """Why the report is not the last word, or ""."""
        trained = [str(phase["name"]) for phase in self.report.get("phases", ())]
        ended = [str(name) for name in self.report.get("ended", trained)]
        left = [name for name in self.phases if name not in ended]
        if self.report and not (
            trained and left
        ):  # where nothing is trained, the report is written at the end
            return ""
        said = f"{' and '.join(ended)} ended, {' and '.join(left)} did not" if ended else "no phase has ended"
        return f"This run has not finished: {said}. The page shows what is there; make it again later."


def read_run(folder: Path) -> RunRecord:
    """Read a run. Raises NoRunError, in one line with a remedy, where there is none."""
    if not any((folder / name).is_file() for name in MARKS):
        if not folder.is_dir():
            raise NoRunError(f"{folder}: there is no such folder; give a run's, as runs/EXPERIMENT/TIME")
        held = newest_run(folder)
        remedy = f"did you mean {held}?" if held else "give a run's folder, as runs/EXPERIMENT/TIME"
        raise NoRunError(f"{folder}: is no run (no {' or '.join(MARKS)} there); {remedy}")
    run = RunRecord(folder)
    run.config = _read(run, "config.yaml", lambda text: OmegaConf.to_container(OmegaConf.create(text))) or {}
    if (folder / "report.json").exists():
        run.report = _read(run, "report.json", json.loads) or {}
    points = _lines(run, "metrics.jsonl", ("phase", "step", "updates", "skill"))
    # Where a resumed run has repeated a step, the later record counts.
    run.metrics = list({(point["phase"], point["step"]): point for point in points}.values())
    run.episodes = list(_lines(run, "episodes.jsonl", ("tag", "step", "text")))
    return run


def newest_run(folder: Path) -> Path | None:
    """The run below a folder that was written last, or None."""
    written = [path for mark in MARKS for path in folder.glob(f"*/**/{mark}")]
    return max(written, key=lambda path: path.stat().st_mtime).parent if written else None


def _read(run: RunRecord, name: str, parse: Any) -> Figures | None:
    """A file that holds one mapping, or None."""
    path = run.folder / name
    try:
        return dict(parse(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        run.faults.append(f"{path}: is missing")
    except Exception as error:  # YAML, OmegaConf and JSON have unrelated ways to say "not this"
        run.faults.append(f"{path}: is damaged ({' '.join(str(error).split())[:120]})")
    return None


def _lines(run: RunRecord, name: str, keys: tuple[str, ...]) -> Iterator[Figures]:
    """The records of a file of JSON lines that have all these keys."""
    path, bad = run.folder / name, 0
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        run.faults.append(f"{path}: is missing")
        return
    for line in lines:
        try:
            record = dict(json.loads(line))
            if not record.keys() >= set(keys):
                raise ValueError
        except (ValueError, TypeError):
            bad += 1
        else:
            yield record
    if bad:
        run.faults.append(f"{path}: {bad} of {len(lines)} lines are damaged and left out")
