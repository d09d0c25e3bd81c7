"""The whole project on one page: imitate the expert, then play yourself past it, and measure both."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from shuhari.envs import TextEnv, Trace
from shuhari.envs.openspiel import OpenSpielEnv
from shuhari.envs.traces import read_traces
from shuhari.loops.config import TrainConfig, check
from shuhari.loops.evaluate_game import GameEvaluation
from shuhari.loops.evaluate_task import TaskEvaluation
from shuhari.loops.imitate import Imitation
from shuhari.loops.make_env import make_env
from shuhari.loops.monitor import Monitor, progress_bar
from shuhari.loops.phase import Phase
from shuhari.loops.report import write_report
from shuhari.loops.rollout import Rollouts
from shuhari.loops.run import Interrupted, Run, hardware, versions
from shuhari.loops.sampling_selfplay import SamplingSelfplay
from shuhari.loops.search_selfplay import SearchSelfplay
from shuhari.policy.generator import Generator
from shuhari.policy.lm import Policy

POINTS = 20  # of the learning curve, per phase
ROW = {
    "imitate": "imitation",
    "selfplay": "selfplay",
    "harder": "selfplay_harder",
}  # phase -> player it makes
STREAM = {
    "traces": 0,
    "imitate": 1,
    "selfplay": 2,
    "harder": 3,
}  # each use of randomness has a stream of its own


@dataclass
class Progress:
    """What is known so far; all of it is in the checkpoint."""

    finished: list[str] = field(default_factory=list)  # phases
    players: dict[str, Any] = field(default_factory=dict)  # rows of the report
    phases: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    updates: int = 0  # by finished phases
    seconds: float = 0.0
    phase_seconds: float = 0.0  # of the phase under way


class Training:
    """One run. Phases are built when their turn comes; each can be stopped after any step and resumed."""

    def __init__(self, run: Run, console: Console) -> None:
        cfg = run.cfg
        check(cfg)
        self.run, self.cfg, self.console = run, cfg, console
        torch.set_num_threads(cfg.threads)
        self.policy = Policy(
            cfg.policy.base,
            rank=cfg.policy.rank,
            alpha=cfg.policy.alpha,
            seed=cfg.seed,
            adapter=Path(cfg.adapter) if cfg.adapter else None,
        )
        self.generator = Generator(self.policy)
        self.env = make_env(cfg.env, cfg.env_args)
        self.harder_args = cfg.env_args | cfg.harder.env_args
        self.evaluation, self.harder = self._evaluations()
        self.progress = Progress()

    def _evaluations(self) -> tuple[GameEvaluation | TaskEvaluation, TaskEvaluation | None]:
        cfg = self.cfg
        if isinstance(self.env.unwrapped, OpenSpielEnv):
            game = GameEvaluation(
                self.env.unwrapped,
                self.generator,
                matches=cfg.evaluate_problems,
                withhold=cfg.search.withhold,
                seed=cfg.seed,
            )
            return game, None
        tasks = partial(TaskEvaluation, generator=self.generator, n=cfg.evaluate_problems)
        first = tasks(partial(make_env, cfg.env, cfg.env_args), max_new_tokens=cfg.policy.max_new_tokens)
        if "harder" not in cfg.phases:
            return first, None
        if not cfg.harder.env_args:
            raise ValueError("phases: 'harder' needs harder.env_args, the arguments that make the env harder")
        return first, tasks(
            partial(make_env, cfg.env, self.harder_args), max_new_tokens=cfg.policy.max_new_tokens
        )

    def main(self, resume: bool) -> dict[str, Any]:
        """Everything, from references to report. Raises `Interrupted` after saving when asked to stop."""
        started = time.monotonic()
        saved = self._restore() if resume else None
        if not self.progress.players:
            self.console.print(
                f"{self.run.folder}: measuring the players that need no training", highlight=False
            )
            self.progress.players = self.evaluation.references()
            self._measure_harder("base", "expert", "expert_mode")
        self.monitor = Monitor(self.run.folder, self.levels())
        elapsed = self.progress.seconds

        def tick() -> None:
            self.progress.seconds = elapsed + time.monotonic() - started

        for name, phase in self._phases(saved):
            self._train(phase, name, tick)
            self._evaluate(name)
            tick()
            self._save(None)
        self.monitor.close()
        tick()
        return self._report()

    def _phases(self, saved: dict[str, Any] | None) -> Iterator[tuple[str, Phase]]:
        """The phases still to do, each built when the one before has ended."""
        builders: dict[str, Callable[[], Phase | None]] = {
            "imitate": self._imitation,
            "selfplay": self._selfplay,
            "harder": self._harder,
        }
        for name in self.cfg.phases:
            if name in self.progress.finished:
                continue
            phase = builders[name]()
            if phase is None:
                self.progress.finished.append(name)
                continue
            if saved is not None and saved["phase"] is not None and saved["phase_name"] == name:
                phase.load_state_dict(saved["phase"])
            yield name, phase

    def _rng(self, use: str) -> np.random.Generator:
        return np.random.default_rng([self.cfg.seed, STREAM[use]])

    def _imitation(self) -> Phase | None:
        traces = self._traces()
        if not traces:
            self._note("no expert and no traces: imitation was skipped")
            return None
        return Imitation(self.policy, traces, self.cfg.imitate, self._rng("imitate"))

    def _traces(self) -> list[Trace]:
        cfg, env = self.cfg.imitate, self.env.unwrapped
        if cfg.traces is not None:
            traces = read_traces(Path(cfg.traces))
        elif isinstance(env, TextEnv):
            traces = env.expert_traces(cfg.examples, self._rng("traces"))
        else:
            traces = []
        if isinstance(self.evaluation, GameEvaluation) and traces:
            kept = [trace for trace in traces if not self.evaluation.is_withheld(trace.prompt)]
            if not kept:
                raise ValueError("every trace is of a withheld position: lower search.withhold")
            return kept
        return traces

    def _selfplay(self) -> Phase:
        if isinstance(self.evaluation, GameEvaluation):
            e = self.evaluation
            self.progress.players["search_alone"] = e.search_alone(self.cfg.search.continuations)
            return SearchSelfplay(
                self.generator, e.graph, e.table, self.cfg.search, e.withheld_N, self._rng("selfplay")
            )
        return self._sampling("selfplay", self.cfg.env_args, self.cfg.sampling.rounds)

    def _harder(self) -> Phase:
        if self.harder is None:
            raise ValueError("phases: 'harder' is for problems; this environment is a game")
        return self._sampling("harder", self.harder_args, self.cfg.harder.rounds)

    def _sampling(self, name: str, env_args: dict[str, Any], rounds: int) -> Phase:
        make = partial(make_env, self.cfg.env, env_args)
        rollouts = Rollouts(make, self.generator, self.cfg.policy.max_new_tokens)
        return SamplingSelfplay(name, rollouts, self.cfg.sampling, rounds, self._rng(name))

    def _train(self, phase: Phase, name: str, tick: Callable[[], None]) -> None:
        every = max(1, phase.total // POINTS)
        before, started = self.progress.phase_seconds, time.monotonic()
        with progress_bar(self.console) as bar:
            task = bar.add_task(name, total=phase.total, completed=phase.steps, skill="")
            if phase.steps == 0:
                self._show_skill(phase, name, bar, task)
            while not phase.done:
                if self.run.asked_to_stop:
                    tick()
                    self._save(phase, name)
                    raise Interrupted(f"stopped after step {phase.steps} of {name}")
                self.monitor.scalars(name, phase.steps, phase.step())
                self.progress.phase_seconds = before + time.monotonic() - started
                bar.update(task, completed=phase.steps)
                if phase.steps % every == 0 or phase.done:
                    self._show_skill(phase, name, bar, task)
                    self.monitor.text(f"{name}/episode", phase.steps, phase.sample())
                    tick()
                    self._save(phase, name)
        summary = {"name": name, "seconds": round(self.progress.phase_seconds, 1), "steps": phase.steps}
        self.progress.phases.append(summary | asdict(phase.counts))
        self.progress.updates += phase.counts.updates
        self.progress.phase_seconds = 0.0
        self.progress.finished.append(name)

    def _show_skill(self, phase: Phase, name: str, bar: Any, task: Any) -> None:
        evaluation = self.harder if name == "harder" and self.harder is not None else self.evaluation
        skill = evaluation.skill()
        updates = self.progress.updates + phase.counts.updates
        self.monitor.skill(name, phase.steps, updates, skill)
        bar.update(task, skill=f"{self.evaluation.skill_name} {skill:.3f}")
        if not self.console.is_terminal:  # a log file gets a line where a terminal gets a bar
            self.console.print(
                f"{name} {phase.steps}/{phase.total}: {self.evaluation.skill_name} {skill:.3f}"
            )

    def _evaluate(self, name: str) -> None:
        players, row = self.progress.players, ROW[name]
        players[row] = self.evaluation.policy(row)
        if name == "selfplay" and isinstance(self.evaluation, GameEvaluation):
            search = self.cfg.search
            players["selfplay_search"] = self.evaluation.policy_with_search(
                search.continuations, search.sharpness[1]
            )
        self._measure_harder(row)
        self.policy.save(self.run.folder / f"adapter-{row}")

    def _measure_harder(self, *names: str) -> None:
        if self.harder is None:
            return
        rows = self.harder.references() if "base" in names else {names[0]: self.harder.policy(names[0])}
        for name in names:
            if name in rows:
                self.progress.players[name]["harder"] = rows[name]

    def levels(self) -> dict[str, float]:
        """The flat lines of the learning curve."""
        metric = self.evaluation.skill_name
        names = [name for name in ("expert", "expert_mode") if name in self.progress.players]
        return {name: self.progress.players[name][metric] for name in names} | {
            "perfect": self.evaluation.perfect
        }

    def _note(self, text: str) -> None:
        self.progress.notes.append(text)
        self.console.print(f"note: {text}")

    def _save(self, phase: Phase | None, name: str = "") -> None:
        self.run.save(
            {
                "adapter": self.policy.state(),
                "progress": asdict(self.progress),
                "phase_name": name,
                "phase": None if phase is None else phase.state_dict(),
            }
        )

    def _restore(self) -> dict[str, Any]:
        saved = self.run.load()
        self.progress = Progress(**copy.deepcopy(saved["progress"]))
        self.policy.load_state(saved["adapter"])
        if isinstance(self.evaluation, GameEvaluation):
            self.evaluation.references()  # the opponents' tables
        return saved

    def _report(self) -> dict[str, Any]:
        progress = self.progress
        report = {
            "experiment": self.cfg.name,
            "seed": self.cfg.seed,
            "skill": self.evaluation.skill_name,
            "hardware": hardware(self.cfg.threads),
            "versions": versions(),
            "policy": self.policy.describe(),
            "evaluation": self.evaluation.describe(),
            "phases": progress.phases,
            "players": progress.players,
            "notes": progress.notes,
            "seconds": round(progress.seconds, 1),
        }
        write_report(self.run.folder, report, self.levels(), self.console)
        return report


def train(cfg: TrainConfig) -> dict[str, Any]:
    """Run or resume; the report."""
    console = Console()
    run = Run.resume(Path(cfg.resume)) if cfg.resume else Run.create(cfg)
    with run:
        training = Training(run, console)
        try:
            return training.main(resume=cfg.resume is not None)
        except Interrupted as stop:
            raise Interrupted(f"{stop}; go on with: shuhari train resume={run.folder}") from None


def evaluate(cfg: TrainConfig) -> dict[str, Any]:
    """Measure an adapter (or, without one, the base) beside the reference players."""
    console = Console()
    run = Run.create(cfg)
    with run:
        training = Training(run, console)
        training.progress.players = training.evaluation.references()
        if cfg.adapter:
            training.progress.players["adapter"] = training.evaluation.policy("adapter")
        return training._report()
