"""The builders: the one place that reads the configuration and chooses by it, and by the kind of environment.

What is built here is handed on by its promise alone: no source asks what kind of environment it plays, and no
evaluation what was trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from shuhari.envs import TaskEnv, TextEnv, Trace
from shuhari.envs.graph import GameGraph, listed
from shuhari.envs.heldout import HeldOutProblems
from shuhari.envs.make import open_env
from shuhari.envs.openspiel import OpenSpielEnv
from shuhari.envs.simulator import Referees
from shuhari.envs.traces import read_pairs, read_traces
from shuhari.loops.collect.accepted_answers import AcceptedAnswers
from shuhari.loops.collect.fictitious_play import FictitiousPlay
from shuhari.loops.collect.imitate import Imitate
from shuhari.loops.collect.ranked_pairs import RankedPairs, VerifiedPairs
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.sample_groups import SampleGroups
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.collect.source import Source
from shuhari.loops.config import ALGORITHMS, PhaseConfig, TrainConfig
from shuhari.loops.evaluate.evaluation import Evaluation
from shuhari.loops.evaluate.hidden_game import HiddenGame
from shuhari.loops.evaluate.listed_game import ListedGame
from shuhari.loops.evaluate.problems import Problems
from shuhari.loops.evaluate.returns import Returns
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.learn.stopping import EarlyStopping
from shuhari.loops.phases import Phase
from shuhari.loops.scoreboard import player_of
from shuhari.policy.generator import Generator
from shuhari.policy.lm import LEARNING, Policy
from shuhari.policy.player import LMPlayer, Models
from shuhari.policy.render import Renderer

HIDING = {"search_play": False, "fictitious_play": True}  # algorithms of games: whether those hide something
TRACES = 0  # stream of randomness that the expert writes by; each phase has the one of its place
TextLike = gymnasium.Env[str, str]


def experiment_for(env_id: str, env_args: dict[str, Any]) -> str:
    """The experiment whose phases suit an environment that has none of its own."""
    env = open_env(env_id, env_args).unwrapped
    if not isinstance(env, OpenSpielEnv):
        return "problems"
    return "listed_game" if env.referee.perfect_information else "hidden_game"


@dataclass
class House:
    """What phases and evaluations of one run share."""

    cfg: TrainConfig

    def __post_init__(self) -> None:
        """Everything that can be refused is refused here. Raises ValueError."""
        given = self.cfg.policy
        self.policy = Policy(
            given.base,
            rank=given.rank,
            alpha=given.alpha,
            seed=self.cfg.seed,
            adapter=Path(self.cfg.adapter) if self.cfg.adapter else None,
            device=given.device,
            dtype=given.dtype,
        )
        if given.max_new_tokens >= self.policy.max_length:
            length = self.policy.max_length
            raise ValueError(f"policy.max_new_tokens={given.max_new_tokens}: the base's context is {length}")
        self.renderer, self.generator = Renderer(self.policy), Generator(self.policy)
        self.models: Models = partial(LMPlayer, self.policy, self.renderer)
        self.env = open_env(self.cfg.env, self.cfg.env_args)
        observation, _ = self.env.reset(seed=0)
        if not isinstance(observation, str):
            kind = type(observation).__name__
            raise ValueError(
                f"env={self.cfg.env}: its observations are {kind}, not text; wrap it in one that writes"
            )
        self._heldout: dict[str, HeldOutProblems] = {}
        self.names = [name for name in self.cfg.phases if self.cfg.only is None or name in self.cfg.only]
        self.files = {name: self._checked(name, self.cfg.phases[name]) for name in self.names}

    def _checked(self, name: str, cfg: Any) -> Sequence[Any]:
        """What a phase's file holds. Raises ValueError for a phase that the environment does not suit."""
        hides = None if self.game is None else not self.game.referee.perfect_information
        if (wanted := HIDING.get(cfg.algorithm, hides)) != hides:
            kind = "a game that hides something" if wanted else "a game that hides nothing"
            suited = f"experiment={experiment_for(self.cfg.env, self.cfg.env_args)}"
            raise ValueError(
                f"phases.{name}: {cfg.algorithm} is for {kind}; for env={self.cfg.env} take {suited}"
            )
        traces, pairs = getattr(cfg, "traces", None), getattr(cfg, "pairs", None)
        return read_pairs(Path(pairs)) if pairs else read_traces(Path(traces)) if traces else ()

    @property
    def game(self) -> OpenSpielEnv | None:
        env = self.env.unwrapped
        return env if isinstance(env, OpenSpielEnv) else None

    def maker(self, phase: str) -> Callable[[], TextLike]:
        """Makes the environment of a phase, or ("") of the run."""
        own = getattr(self.cfg.phases[phase], "env_args", {}) if phase else {}
        return partial(open_env, self.cfg.env, self.cfg.env_args | own)

    def rollouts(self, phase: str) -> Rollouts:
        return Rollouts(self.maker(phase), self.generator, self.renderer, self.cfg.policy.max_new_tokens)

    def heldout(self, phase: str) -> HeldOutProblems:
        """The held-out problems of a phase's environment, or the run's."""
        if phase not in self._heldout:
            self._heldout[phase] = HeldOutProblems(self.maker(phase)(), self.cfg.evaluate_problems)
        return self._heldout[phase]

    @cached_property
    def withheld_N(self) -> Any:
        """Which positions of a listed game are held out, [N]."""
        assert self.game is not None
        return np.array([self.game.withholds(turn.observation) for turn in self.graph.turns])

    @cached_property
    def graph(self) -> GameGraph:
        assert self.game is not None
        return listed(self.game.game)

    def withholds(self, prompt: str) -> bool:
        """Whether a trace of this prompt must be kept out of training."""
        if self.game is not None:
            return self.game.withholds(prompt)
        return any(self.heldout(phase).withholds(prompt) for phase in ("", *self.own_envs()))

    def own_envs(self) -> list[str]:
        """The phases that play an environment of other arguments."""
        return [name for name in self.names if getattr(self.cfg.phases[name], "env_args", {})]

    def replay_for_later(self, phase: Phase) -> dict[str, list[Any]]:
        """A phase's replay, under its name, where a later phase starts with it."""
        wanted = any(getattr(cfg, "replay_of", "") == phase.name for cfg in self.cfg.phases.values())
        return {phase.name: phase.source.replay.items} if wanted else {}

    def rng(self, place: int) -> np.random.Generator:
        return np.random.default_rng([self.cfg.seed, place])


# Evaluations


def build_evaluation(house: House, phase: str = "") -> Evaluation[Any]:
    """Of the run's environment, or of a phase's own."""
    cfg, game = house.cfg, house.game
    if game is None:
        env, rollouts, heldout = house.maker(phase)().unwrapped, house.rollouts(phase), house.heldout(phase)
        if isinstance(env, TaskEnv):
            return Problems(rollouts, env, heldout, samples=cfg.evaluate_samples)
        return Returns(rollouts, heldout)
    if phase:
        raise ValueError(f"phases.{phase}.env_args: other arguments are for problems; {cfg.env} is a game")
    if game.referee.game.num_players() != 2:
        raise ValueError(f"{game.game}: a game is measured for two seats")
    if not game.referee.perfect_information:
        return HiddenGame(game.game, game.expert, house.models)
    n, seed = cfg.evaluate_problems, cfg.seed
    return ListedGame(house.graph, game.expert, house.models, house.withheld_N, matches=n, seed=seed)


# Phases


def build_phase(
    house: House, name: str, replays: dict[str, list[Any]], note: Callable[[str], None]
) -> Phase | None:
    """A phase by its configuration, or None where there is nothing to learn from, which is noted."""
    cfg, place = house.cfg.phases[name], list(house.cfg.phases).index(name) + 1
    if cfg.algorithm == "imitate":
        traces = _traces(house, name, cfg, note)
        if not traces:
            note("no expert and no traces: imitation was skipped")
            return None
        imitate = Imitate(house.generator, house.renderer, traces, cfg, house.rng(place))
        learner = _learner(house, name, imitate)
        settings = {"patience": cfg.patience, "entropy_floor": cfg.entropy_floor}
        return Phase(name, imitate, learner, EarlyStopping(learner, imitate.heldout, **settings))
    source = SOURCES[cfg.algorithm](house, name, cfg, house.rng(place), replays)
    return Phase(name, source, _learner(house, name, source))


def _traces(house: House, name: str, cfg: Any, note: Callable[[str], None]) -> Sequence[Trace]:
    env = house.env.unwrapped
    traces = house.files[name]
    if cfg.traces is None and isinstance(env, TextEnv):
        traces = env.expert_traces(cfg.examples, house.rng(TRACES))
    kept = [trace for trace in traces if not house.withholds(trace.task)]
    if len(kept) < len(traces):
        note(f"{len(traces) - len(kept)} of {len(traces)} traces are of held-out prompts: left out")
    if traces and not kept:
        raise ValueError("every trace is of a held-out prompt: there is nothing left to imitate")
    return kept


def _search_play(house: House, name: str, cfg: Any, rng: np.random.Generator, _: Any) -> Source:
    starts = np.flatnonzero((house.graph.moves_N > 0) & ~house.withheld_N)
    models, seed = house.models, house.cfg.seed
    return SearchPlay(house.graph, starts, models(LEARNING), cfg, rng, seed)


def _fictitious_play(house: House, name: str, cfg: Any, rng: np.random.Generator, _: Any) -> Source:
    assert house.game is not None
    simulator = Referees(house.game.game)
    return FictitiousPlay(simulator, house.models(LEARNING), cfg, rng, house.cfg.seed)


SOURCES: dict[str, Callable[..., Source]] = {
    "search_play": _search_play,
    "fictitious_play": _fictitious_play,
    "sample_groups": lambda house, name, cfg, rng, _: SampleGroups(house.rollouts(name), cfg, rng),
    "accepted_answers": lambda house, name, cfg, rng, replays: AcceptedAnswers(
        house.rollouts(name), cfg, rng, replays.get(cfg.replay_of)
    ),
    "ranked_pairs": lambda house, name, cfg, rng, _: RankedPairs(house.renderer, house.files[name], cfg, rng),
    "verified_pairs": lambda house, name, cfg, rng, _: VerifiedPairs(house.rollouts(name), cfg, rng),
}


def _learner(house: House, name: str, source: Source) -> Learner:
    cfg, policy = house.cfg.phases[name], house.policy
    parameters, rate = list(policy.parameters.values()), cfg.learning_rate
    if cfg.optimizer == "muon":
        optimizer = Optimizer(parameters, learning_rate=rate, steps=source.updates)
    else:
        optimizer = Optimizer(
            [], learning_rate=rate, rest=parameters, rest_learning_rate=rate, steps=source.updates
        )
    reference = None
    if "reference" in OBJECTIVES[cfg.objective.name].needs:
        reference = policy.adapter_named(cfg.objective.reference, f"phases.{name}.objective.reference")
    return Learner(policy, cfg.objective, optimizer, micro_batch=cfg.micro_batch, reference=reference)


def check_phases(cfg: TrainConfig) -> None:
    """Raise ValueError, naming the key, for phases that cannot be built whatever the environment."""
    if unknown := [name for name in cfg.only or () if name not in cfg.phases]:
        raise ValueError(f"only={cfg.only}: {unknown[0]!r} is not one of {', '.join(cfg.phases)}")
    players = ["base"]  # that there are by then
    for name, phase in cfg.phases.items():
        if not isinstance(phase, PhaseConfig) or phase.algorithm not in ALGORITHMS:
            raise ValueError(f"phases.{name}: algorithm is one of {', '.join(ALGORITHMS)}")
        if phase.objective.name not in OBJECTIVES:
            raise ValueError(f"phases.{name}.objective: one of {', '.join(OBJECTIVES)}")
        if phase.optimizer not in ("muon", "adamw"):
            raise ValueError(f"phases.{name}.optimizer={phase.optimizer}: muon or adamw")
        earlier = getattr(phase, "replay_of", "")
        if earlier and not hasattr(cfg.phases.get(earlier), "replay"):
            raise ValueError(f"phases.{name}.replay_of={earlier}: no earlier phase of that name has a replay")
        reference = getattr(phase.objective, "reference", "base")
        if reference not in players and not (Path(reference) / "adapter_config.json").is_file():
            known = f"give an adapter's folder or one of {', '.join(players)}"
            raise ValueError(f"phases.{name}.objective.reference={reference}: {known}")
        players += [player_of(name)] if cfg.only is None or name in cfg.only else []
