"""Several runs: which are seeds of one experiment, and what they come to together.

Few seeds are summed up by the interquartile mean, with a 95% interval by the percentile bootstrap over seeds
(Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv:2108.13264; theirs resamples within each task, and here each experiment is one).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shuhari.loops.report_page.run_reader import RunRecord

RESAMPLES = 10_000
NOT_SETTINGS = ("seed", "out", "resume", "threads")  # keys in which seeds of one experiment may differ


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean without the lowest and the highest quarter, each rounded down to whole values."""
    ordered, cut = np.sort(np.asarray(values, dtype=float)), len(values) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95% interval of the interquartile mean; None of a single value, which says nothing of others."""
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).choice(np.asarray(values, dtype=float), (RESAMPLES, len(values)))
    cut = len(values) // 4
    means = np.sort(drawn, axis=1)[:, cut : len(values) - cut].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Seeds:
    """Runs of one experiment that differ in the seed only. label: its name, with what sets it apart."""

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def metric(self) -> str:
        return self.runs[0].metric

    @property
    def unit(self) -> str:
        return next((str(run.shown["unit"]) for run in self.runs if "unit" in run.shown), "")

    def skills(self) -> dict[str, list[float]]:
        """Of each player, its skill in every run that measured it."""
        names = dict.fromkeys(name for run in self.runs for name in run.players)
        return {
            name: [float(run.players[name][self.metric]) for run in self.runs if name in run.players]
            for name in names
        }

    def curve(self) -> list[dict[str, Any]]:
        """The interquartile mean of the learning curves, at the steps that all runs have measured."""
        by_step = [{(p["phase"], p["step"]): p for p in run.metrics} for run in self.runs]
        shared = [key for key in by_step[0] if all(key in points for points in by_step)]
        return [
            {
                "phase": phase,
                "step": step,
                "updates": float(np.median([points[phase, step]["updates"] for points in by_step])),
                "skill": interquartile_mean([points[phase, step]["skill"] for points in by_step]),
            }
            for phase, step in shared
        ]


def group(runs: Iterable[RunRecord]) -> list[Seeds]:
    """Runs of the same experiment and settings together, in the order in which they were named."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        settings = _dotted({k: v for k, v in run.config.items() if k not in NOT_SETTINGS})
        groups.setdefault(
            json.dumps([run.name, run.metric, settings], sort_keys=True, default=str), []
        ).append(run)
    found = list(groups.values())
    names = [runs[0].name for runs in found]
    return [
        Seeds(_label(same[0], [other[0] for other in found if other[0].name == same[0].name]), tuple(same))
        if names.count(same[0].name) > 1
        else Seeds(same[0].name, tuple(same))
        for same in found
    ]


def _label(run: RunRecord, rivals: Sequence[RunRecord]) -> str:
    """A run's name, with the settings in which it differs from others of that name."""
    settings = [_dotted(other.config) for other in rivals]
    own = _dotted(run.config)
    keys = [k for k in own if k not in NOT_SETTINGS and len({str(s.get(k)) for s in settings}) > 1]
    return f"{run.name} ({', '.join(f'{key}={own[key]}' for key in keys) or run.folder})"


def _dotted(node: Any, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of nested mappings."""
    try:
        items = node.items()
    except AttributeError:
        return {prefix.rstrip("."): node}
    return {k: v for key, value in items for k, v in _dotted(value, f"{prefix}{key}.").items()}
