"""The whole project on one page: imitate the expert, then play yourself past it, and measure both."""

import time
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

from rich.console import Console

from shuhari.loops.agreement import Disagreement
from shuhari.loops.build import build_evaluation, build_phase, check_phases
from shuhari.loops.config import TrainConfig
from shuhari.loops.distributed import Ranks, join
from shuhari.loops.house import House
from shuhari.loops.phase import Phase
from shuhari.loops.rank_failure import Interrupted, RankLost
from shuhari.loops.report.monitor import write_curves
from shuhari.loops.report.progress import progress_bar
from shuhari.loops.report.report import Report
from shuhari.loops.run_folder import Progress, Run, hardware, prepare_torch, versions
from shuhari.loops.scoreboard import Scoreboard, player_of
from shuhari.loops.watch import Watch

POINTS = 12  # of the learning curve, per phase


class Training:
    """One run. Phases are built when their turn comes; each can be stopped after any round and resumed."""

    def __init__(self, cfg: TrainConfig, ranks: Ranks) -> None:
        """Checks the configuration. Raises ValueError before a folder is made."""
        check_phases(cfg)
        prepare_torch(cfg.threads)
        self.cfg, self.ranks, self.house = cfg, ranks, House(cfg, ranks)
        self.console, self.policy = Console(quiet=not ranks.first), self.house.policy
        own = {name: build_evaluation(self.house, name) for name in self.house.own_envs()}
        shared = self.house.measured(), lambda text: self.run.working(self.console, text)
        self.board = Scoreboard(self.policy, build_evaluation(self.house), own, *shared)
        self.progress, self.warned = Progress(), False

    def main(self, run: Run, resume: bool) -> dict[str, Any]:
        """Measure references, train all phases, report. Asked to stop, it saves and raises `Interrupted`."""
        self.run = run
        self.console.print(str(run.folder), soft_wrap=True)
        saved = self._restore() if resume else {}
        self._started = time.monotonic() - self.progress.seconds
        if not self.board.rows:
            self.measure_references()
            self._save(None)
        with Watch(run.folder, self.board, self.house) as self.watch:
            for phase in self._phases(saved.get("phase")):
                self._train(phase)
                self._close(phase)
        return self.finish()

    def measure_references(self) -> None:
        """Measure the players that need no training, and note what a reader must know of the figures."""
        self.board.measure_references()
        for text in (*self.house.about_prompts, *self.board.evaluation.notes, *self.board.measured.notes):
            self._note(text)

    def finish(self) -> dict[str, Any]:
        """Write and show the report; its data."""
        report = self.report()
        if self.ranks.first:
            report.write(self.run.folder)
            report.show(self.run.folder, self.console)
            write_curves(self.run.folder, report.evaluation.curves_over, report.curves)
        return report.data

    def _phases(self, saved: dict[str, Any] | None) -> Iterator[Phase]:
        """The phases still to do, each built when the one before has ended."""
        for name in self.house.names:
            if name in self.progress.finished:
                continue
            with self.board.working(f"preparing {name}"):
                phase = build_phase(self.house, name, self.progress.replays, self._note)
            if phase is None:
                self.progress.finished.append(name)
                continue
            if saved and saved["name"] == name:
                phase.load_state_dict(saved)
            yield phase

    def _train(self, phase: Phase) -> None:
        """Run rounds until the phase is done. About POINTS times measure the skill and save a checkpoint."""
        every, name = max(1, ceil(phase.total / POINTS)), phase.name
        with progress_bar(self.console) as bar:
            task = bar.add_task(name, total=phase.total, completed=phase.rounds, skill="")
            if phase.rounds == 0:
                self._note(phase.learner.note)
                self.board.measure_companions(phase, before=True)
                bar.update(task, skill=self._measure_skill(phase))
            while not phase.done:
                if self.run.asked_to_stop():
                    self._save(phase)
                    raise Interrupted(f"stopped after step {phase.rounds} of {name}")
                self.watch.round(phase)
                self._warn(phase.warning())
                bar.update(task, completed=phase.rounds)
                if phase.rounds % every == 0 or phase.done:
                    bar.update(task, skill=self._measure_skill(phase))
                    self.watch.samples(phase)
                    self._save(phase)

    def _close(self, phase: Phase) -> None:
        """Record what an ended phase consumed; freeze, measure and save its player."""
        self.progress.close(phase.summary(), phase.failures(self.board.of(phase.name)))
        self.progress.replays |= self.house.replay_for_later(phase)
        self.board.measure_policy(player := player_of(phase.name))
        self.board.measure_companions(phase, before=False)
        if self.ranks.first:
            self.policy.save(self.run.folder / f"adapter-{player}")
            self.report().write(self.run.folder)
        self._save(None)  # last: whoever resumes from here finds both files

    def _warn(self, text: str) -> None:
        if text and not self.warned:
            self.warned = True
            self.console.print(f"warning: {text}", soft_wrap=True, markup=False)

    def _measure_skill(self, phase: Phase) -> str:
        """A point of the learning curve, in words."""
        skill = self.watch.skill(phase, self.progress.updates + phase.learner.updates)
        figure = f"{self.board.of(phase.name).metric} {skill:.3f}"
        if not self.console.is_terminal:  # a log file gets a line where a terminal gets a bar
            self.console.print(f"{phase.name} {phase.rounds}/{phase.total}: {figure}")
        return figure

    def _note(self, text: str) -> None:
        if text and text not in self.progress.notes:  # a resumed run does not repeat its notes
            self.progress.notes.append(text)
            self.console.print(f"note: {text}", markup=False)

    def _save(self, phase: Phase | None) -> None:
        self.progress.seconds = time.monotonic() - self._started
        parts: dict[str, Any] = {"adapter": self.policy.state(), "board": self.board.state_dict()}
        self.ranks.check_equal(list(parts["adapter"].values()))
        self.run.save(parts | {"phase": phase and phase.state_dict(), "progress": dict(vars(self.progress))})

    def _restore(self) -> dict[str, Any]:
        saved = self.run.load()
        try:
            self.progress = Progress(**saved["progress"])
            self.policy.load_state(saved["adapter"])
            self.board.load_state_dict(saved["board"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            where = f"resume={self.run.folder}"
            raise ValueError(f"{where}: the checkpoint is not of this run ({type(error).__name__})") from None
        return saved

    def report(self) -> Report:
        """What is known so far."""
        cfg, board, progress = self.cfg, self.board, self.progress
        data = {
            "experiment": cfg.name,
            "seed": cfg.seed,
            "skill": board.evaluation.metric,
            "hardware": hardware(cfg.threads, self.policy.device, self.policy.dtype, self.ranks.size),
            "versions": versions(),
            "policy": self.policy.summary() | {"format": self.house.renderer.format},
            "evaluation": board.evaluation.counts(),
            "players": board.rows,
            "samples_worth": board.evaluation.samples_worth(board.rows, board.learned(self.house.names)),
            **progress.found(),
            "seconds": round(progress.seconds, 1),
            "measuring_seconds": round(board.seconds, 1),
        }
        return Report(data, board.evaluation, board.own, board.learned(self.house.names), board.levels())


def train(cfg: TrainConfig) -> dict[str, Any]:
    """Start or resume a run; its report. `Interrupted` and `RankLost` say how to go on."""
    run: Run | None = None
    try:
        with join().as_one() as ranks:
            run = Run.resume(Path(cfg.resume), ranks) if cfg.resume else None
            training = Training(run.cfg if run else cfg, ranks)
            run = run or Run.create(cfg, ranks)
            with run:
                return training.main(run, resume=cfg.resume is not None)
    except (Interrupted, RankLost, Disagreement) as stop:
        raise type(stop)(f"{stop}; {run.way_on if run else 'start it anew'}") from None


def evaluate(cfg: TrainConfig) -> dict[str, Any]:
    """Measure an adapter (or, without one, the base) beside the reference players."""
    with join().as_one() as ranks:
        training = Training(cfg, ranks)
        training.run = Run.create(cfg, ranks)
        training.measure_references()
        if cfg.adapter:
            training.board.measure_policy("adapter")
        return training.finish()
