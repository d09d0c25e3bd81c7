"""The whole project on one page: imitate the expert, then play yourself past it, and measure both."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic
from rich.console import Console

from shuhari.envs import TextEnv, Trace
from shuhari.envs.openspiel import OpenSpielEnv
from shuhari.envs.traces import read_traces
from shuhari.loops.config import TrainConfig, check
from shuhari.loops.evaluate_game import GameEvaluation
from shuhari.loops.evaluate_hidden import HiddenEvaluation
from shuhari.loops.evaluate_task import TaskEvaluation
from shuhari.loops.hidden_selfplay import HiddenSelfplay
from shuhari.loops.imitate import Imitation
from shuhari.loops.make_env import make_env, must_speak_text
from shuhari.loops.monitor import Monitor, progress_bar
from shuhari.loops.phase import Phase
from shuhari.loops.report import print_report, write_report
from shuhari.loops.rollout import Rollouts
from shuhari.loops.run import Interrupted, Run, hardware, versions
from shuhari.loops.sampling_selfplay import SamplingSelfplay
from shuhari.loops.search_selfplay import SearchSelfplay
from shuhari.policy.generator import Generator
from shuhari.policy.lm import Policy

Evaluation = GameEvaluation | HiddenEvaluation | TaskEvaluation
POINTS = 12  # of the learning curve, per phase
UNCOUNTED = 0.05  # share of episodes without a verdict above which a person is told
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
    replay: list[Any] = field(default_factory=list)  # what self-play has verified, for a harder phase to keep


class Training:
    """One run. Phases are built when their turn comes; each can be stopped after any step and resumed."""

    def __init__(self, cfg: TrainConfig, console: Console) -> None:
        """Everything that can be refused is refused here, before a folder is made."""
        check(cfg)
        self.cfg, self.console = cfg, console
        torch.set_num_threads(cfg.threads)
        # Some of torch's CPU kernels add in whatever order their threads arrive, unless told not to.
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.policy = Policy(
            cfg.policy.base,
            rank=cfg.policy.rank,
            alpha=cfg.policy.alpha,
            seed=cfg.seed,
            adapter=Path(cfg.adapter) if cfg.adapter else None,
            device=cfg.policy.device,
            dtype=cfg.policy.dtype,
        )
        if cfg.policy.max_new_tokens >= self.policy.max_length:
            length = self.policy.max_length
            raise ValueError(
                f"policy.max_new_tokens={cfg.policy.max_new_tokens}: the base's context is {length}"
            )
        self.generator = Generator(self.policy)
        self.env = make_env(cfg.env, cfg.env_args)
        must_speak_text(cfg.env, self.env)
        self.harder_args = cfg.env_args | cfg.harder.env_args
        self.traces = None if cfg.imitate.traces is None else read_traces(Path(cfg.imitate.traces))
        self.evaluation, self.harder = self._evaluations()
        self.progress = Progress()
        self.warned: set[str] = set()

    def _evaluations(self) -> tuple[Evaluation, TaskEvaluation | None]:
        cfg = self.cfg
        if isinstance(env := self.env.unwrapped, OpenSpielEnv):
            if "harder" in cfg.phases:
                raise ValueError(f"phases: 'harder' is for problems; {cfg.env} is a game")
            if not env.referee.perfect_information:
                return HiddenEvaluation(env, self.generator, cfg.seed), None
            n, withhold = cfg.evaluate_problems, cfg.search.withhold
            return GameEvaluation(env, self.generator, matches=n, withhold=withhold, seed=cfg.seed), None
        tasks = partial(TaskEvaluation, generator=self.generator, n=cfg.evaluate_problems)
        first = tasks(partial(make_env, cfg.env, cfg.env_args), max_new_tokens=cfg.policy.max_new_tokens)
        if "harder" not in cfg.phases:
            return first, None
        if not cfg.harder.env_args:
            raise ValueError("phases: 'harder' needs harder.env_args, the arguments that make the env harder")
        return first, tasks(
            partial(make_env, cfg.env, self.harder_args), max_new_tokens=cfg.policy.max_new_tokens
        )

    def main(self, run: Run, resume: bool) -> dict[str, Any]:
        """Everything, from references to report. Raises `Interrupted` after saving when asked to stop."""
        self.run = run
        saved = self._restore() if resume else None
        self._started = time.monotonic() - self.progress.seconds
        if not self.progress.players:
            self.console.print(f"{run.folder}: measuring the players that need no training", soft_wrap=True)
            self.progress.players = self.evaluation.references()
            self._measure_harder("base", "expert", "expert_mode")
            if isinstance(self.evaluation, TaskEvaluation) and not self.evaluation.splits:
                self._note("this env has no held-out side: it may be measured on problems it was trained on")
            self._save(None)
        self.monitor = Monitor(run.folder, self.levels())
        try:
            for name, phase in self._phases(saved):
                self._train(phase, name)
                self._evaluate(name)
                self._save(None)
                write_report(run.folder, self.report(), self.levels())
        finally:
            self.monitor.close()
        report = self.report()
        write_report(run.folder, report, self.levels())
        print_report(run.folder, report, self.console)
        return report

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
            if saved is not None and saved["phase_name"] == name:
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
        env = self.env.unwrapped
        if self.traces is not None:
            traces = self.traces
        elif isinstance(env, TextEnv):
            traces = env.expert_traces(self.cfg.imitate.examples, self._rng("traces"))
        else:
            traces = []
        evaluations = [e for e in (self.evaluation, self.harder) if e is not None]
        kept = [t for t in traces if not any(e.is_withheld(t.task) for e in evaluations)]
        if len(kept) < len(traces):
            self._note(f"{len(traces) - len(kept)} of {len(traces)} traces are of held-out prompts: left out")
        if traces and not kept:
            raise ValueError("every trace is of a held-out prompt: there is nothing left to imitate")
        return kept

    def _selfplay(self) -> Phase:
        e, cfg, rng = self.evaluation, self.cfg.search, self._rng("selfplay")
        if not isinstance(e, TaskEvaluation):
            self.progress.players["search_alone"] = e.search_alone(cfg)
        if isinstance(e, GameEvaluation):
            return SearchSelfplay(self.generator, e.graph, e.table, cfg, e.withheld_N, rng)
        if isinstance(e, HiddenEvaluation):
            return HiddenSelfplay(self.generator, e.game, cfg, rng)
        return self._sampling("selfplay", self.cfg.env_args, self.cfg.sampling.rounds)

    def _harder(self) -> Phase:
        phase = self._sampling("harder", self.harder_args, self.cfg.harder.rounds)
        phase.replay = list(self.progress.replay)  # or what was learned before would be forgotten
        return phase

    def _sampling(self, name: str, env_args: dict[str, Any], rounds: int) -> SamplingSelfplay:
        make = partial(make_env, self.cfg.env, env_args)
        rollouts = Rollouts(make, self.generator, self.cfg.policy.max_new_tokens)
        return SamplingSelfplay(rollouts, self.cfg.sampling, rounds, self._rng(name))

    def _train(self, phase: Phase, name: str) -> None:
        every = max(1, phase.total // POINTS)
        before, started = self.progress.phase_seconds, time.monotonic()
        with progress_bar(self.console) as bar:
            task = bar.add_task(name, total=phase.total, completed=phase.steps, skill="")
            if phase.steps == 0:
                self._show_skill(phase, name, bar, task)
            while not phase.done:
                if self.run.asked_to_stop:
                    self._save(phase, name)
                    raise Interrupted(f"stopped after step {phase.steps} of {name}")
                figures = phase.step()
                self.monitor.scalars(name, phase.steps, figures)
                if figures.get("uncounted", 0.0) > UNCOUNTED and isinstance(phase, SamplingSelfplay):
                    self._warn(name, phase)
                self.progress.phase_seconds = before + time.monotonic() - started
                bar.update(task, completed=phase.steps)
                if phase.steps % every == 0 or phase.done:
                    self._show_skill(phase, name, bar, task)
                    self.monitor.text(f"{name}/episode", phase.steps, phase.sample())
                    self._save(phase, name)
        summary = {"name": name, "seconds": round(self.progress.phase_seconds, 1), "steps": phase.steps}
        self.progress.phases.append(summary | asdict(phase.counts))
        self.progress.updates += phase.counts.updates
        self.progress.phase_seconds = 0.0
        if isinstance(phase, SamplingSelfplay):
            self.progress.replay = phase.replay
        self.progress.finished.append(name)

    def _warn(self, name: str, phase: SamplingSelfplay) -> None:
        """Say, once a phase, that too many episodes have no verdict: they teach nothing."""
        if name not in self.warned:
            self.warned.add(name)
            share = f"over {UNCOUNTED:.0%} of a round's episodes have no verdict and are left out"
            self.console.print(f"warning: {name}: {share}; the first: {phase.trouble}", soft_wrap=True)

    def _show_skill(self, phase: Phase, name: str, bar: Any, task: Any) -> None:
        if name == "harder" and self.harder is not None:  # other problems: not on the chart of the others
            figure = f"{self.harder.skill_name} {(skill := self.harder.skill()):.3f}"
            self.monitor.scalars(name, phase.steps, {"skill": skill})
        else:
            figure = f"{self.evaluation.skill_name} {(skill := self.evaluation.skill()):.3f}"
            self.monitor.skill(name, phase.steps, self.progress.updates + phase.counts.updates, skill)
        bar.update(task, skill=figure)
        if not self.console.is_terminal:  # a log file gets a line where a terminal gets a bar
            self.console.print(f"{name} {phase.steps}/{phase.total}: {figure}")

    def _evaluate(self, name: str) -> None:
        players, row = self.progress.players, ROW[name]
        players[row] = self.evaluation.policy(row)
        if name == "selfplay" and isinstance(self.evaluation, GameEvaluation):
            players["selfplay_search"] = self.evaluation.policy_with_search(self.cfg.search)
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
        if text in self.progress.notes:  # said before the run was stopped
            return
        self.progress.notes.append(text)
        self.console.print(f"note: {text}")

    def _save(self, phase: Phase | None, name: str = "") -> None:
        self.progress.seconds = time.monotonic() - self._started
        self.run.save(
            {
                "adapter": self.policy.state(),
                "progress": dict(vars(self.progress)),
                "evaluation": self.evaluation.state_dict(),
                "harder": self.harder.state_dict() if self.harder is not None else None,
                "phase_name": name,
                "phase": None if phase is None else phase.state_dict(),
            }
        )

    def _restore(self) -> dict[str, Any]:
        saved = self.run.load()
        try:
            self.progress = Progress(**saved["progress"])
            self.policy.load_state(saved["adapter"])
            self.evaluation.load_state_dict(saved["evaluation"])
            if self.harder is not None:
                self.harder.load_state_dict(saved["harder"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            where = f"resume={self.run.folder}"
            raise ValueError(f"{where}: the checkpoint is not of this run ({type(error).__name__})") from None
        return saved

    def report(self) -> dict[str, Any]:
        """What is known so far, in the form of `report.json`."""
        progress = self.progress
        return {
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


def train(cfg: TrainConfig) -> dict[str, Any]:
    """Run or resume; the report."""
    console = Console()
    run = Run.resume(Path(cfg.resume)) if cfg.resume else None
    training = Training(run.cfg if run is not None else cfg, console)
    with run or Run.create(cfg) as run:
        try:
            return training.main(run, resume=cfg.resume is not None)
        except Interrupted as stop:
            raise Interrupted(f"{stop}; go on with: shuhari train resume={run.folder}") from None


def evaluate(cfg: TrainConfig) -> dict[str, Any]:
    """Measure an adapter (or, without one, the base) beside the reference players."""
    console = Console()
    training = Training(cfg, console)
    run = Run.create(cfg)
    training.progress.players = training.evaluation.references()
    if cfg.adapter:
        training.progress.players["adapter"] = training.evaluation.policy("adapter")
    report = training.report()
    write_report(run.folder, report, training.levels())
    print_report(run.folder, report, console)
    return report
