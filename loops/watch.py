"""What a person sees of a run under way: figures of each round, and now and then skill, games and answers."""

import resource
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from shuhari.loops.house import House
from shuhari.loops.learn.memory import GIB
from shuhari.loops.phase import Phase
from shuhari.loops.report.monitor import Monitor, Unwatched
from shuhari.loops.scoreboard import Scoreboard

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, in which the system counts


class Watch:
    """Shows a run's rounds through a monitor. Every rank looks, which asks all of them; the first writes."""

    def __init__(self, folder: Path, board: Scoreboard, house: House) -> None:
        """`folder`: of the run."""
        self.board, self.generator = board, house.generator
        first = house.ranks.first
        self.monitor = Monitor(folder, board.levels(), asdict(house.cfg)) if first else Unwatched()
        self._measured = board.seconds

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.close()

    def round(self, phase: Phase) -> None:
        """Run a round, and show its figures."""
        figures = phase.step() | self._memory()
        vitals = {f"health/{name}": value for name, value in phase.vitals.items()}
        self.monitor.figures(phase.name, phase.rounds, figures | vitals)

    def skill(self, phase: Phase, updates: int) -> float:
        """Measure a point of the learning curve, unless the phase's guard has just done so, and show it.

        `updates`: optimizer steps of the run so far
        """
        known, own = phase.known_skill, phase.name in self.board.own
        skill = self.board.skill(phase.name) if known is None else known
        interval = self.board.of(phase.name).interval(skill, phase.known_scores)
        if own:
            self.monitor.own_skill(phase.name, phase.rounds, skill, interval)
        else:
            self.monitor.skill(phase.name, phase.rounds, updates, skill, interval)
        seconds, self._measured = self.board.seconds - self._measured, self.board.seconds
        self.monitor.figures(phase.name, phase.rounds, {"time/measure_seconds": seconds})
        return skill

    def samples(self, phase: Phase) -> None:
        """Show what the policy does."""
        self.monitor.episode(phase.name, phase.rounds, phase.source.sample())
        self.monitor.samples(phase.name, phase.rounds, phase.source.answers(), phase.source.boards())

    def _memory(self) -> dict[str, float]:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
        found = {"memory/peak_gib": held / GIB}
        if self.generator.policy.device.type == "cuda":
            found["memory/gpu_peak_gib"] = torch.cuda.max_memory_allocated(self.generator.policy.device) / GIB
        return found | {"memory/prompts_remembered": float(len(self.generator.scheduler.prompts))}
