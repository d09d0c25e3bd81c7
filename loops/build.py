"""The builders: the one place that reads the configuration and chooses by it, and by the kind of environment.

What is built here is handed on by its promise alone: no source asks what kind of environment it plays, and no
evaluation what was trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from shuhari.envs import TaskEnv, TextEnv, Trace
from shuhari.envs.contract import probe, traces
from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.graph import GameGraph, listed
from shuhari.envs.games.simulator import Referees
from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.envs.register import open_env
from shuhari.envs.traces import read_pairs, read_traces
from shuhari.loops.collect.accepted_answers import AcceptedAnswers
from shuhari.loops.collect.fictitious_play import FictitiousPlay
from shuhari.loops.collect.imitate import Imitate
from shuhari.loops.collect.ranked_pairs import RankedPairs, VerifiedPairs
from shuhari.loops.collect.rollout import Rollouts, TextLike
from shuhari.loops.collect.sample_groups import SampleGroups
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.collect.source import Source
from shuhari.loops.config import ALGORITHMS, TrainConfig
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
from shuhari.loops.ranks import ALONE, Ranks
from shuhari.loops.scoreboard import player_of
from shuhari.loops.shared_player import SharedPlayer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.lm_player import Models
from shuhari.policy.policy import LEARNING, Policy, Tokens
from shuhari.policy.render import Renderer

RESERVED = ("default", "random", "expert", "expert_mode", "perfect", "search_alone", "adapter")  # of players
HIDING = {"search_play": False, "fictitious_play": True}  # algorithms of games: whether those hide something
WITHHOLDING = ("imitate", "search_play", "ranked_pairs")  # algorithms that leave withheld positions alone
TRACES = 0  # stream of randomness that the expert writes by; each phase has the one of its place


def experiment_for(env_id: str, env_args: dict[str, Any]) -> str:
    """The experiment whose phases suit an environment that has none of its own."""
    env = open_env(env_id, env_args).unwrapped
    if not isinstance(env, OpenSpielEnv):
        return "problems" if isinstance(env, TaskEnv) else "returns"
    return "listed_game" if env.referee.perfect_information else "hidden_game"


@dataclass
class House:
    """What phases and evaluations of one run share."""

    cfg: TrainConfig
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        """Everything that can be refused is refused here. Raises ValueError."""
        given = self.cfg.policy
        self.policy = Policy(
            given.base,
            rank=given.rank,
            alpha=given.alpha,
            seed=self.cfg.seed,
            adapter=Path(self.cfg.adapter) if self.cfg.adapter else None,
            device=self.ranks.device(given.device),
            dtype=given.dtype,
        )
        if given.max_new_tokens >= self.policy.max_length:
            length = self.policy.max_length
            raise ValueError(f"policy.max_new_tokens={given.max_new_tokens}: the base's context is {length}")
        self.generator, self.env = Generator(self.policy), open_env(self.cfg.env, self.cfg.env_args)
        self.renderer = self._renderer(self.env)
        self.models: Models = partial(SharedPlayer, self.ranks, self.policy, self.renderer)
        probe(self.env)
        self._heldout: dict[str, HeldOutProblems] = {}
        self.notes = list(getattr(self.env.unwrapped, "notes", ()))  # of what phases learn from
        self.names = [name for name in self.cfg.phases if self.cfg.only is None or name in self.cfg.only]
        self.files = {name: self._checked(name, self.cfg.phases[name]) for name in self.names}
        for name in self.names:  # those that are folders are loaded now, and found by their name later
            if (Path(self.reference(name)) / "adapter_config.json").is_file():
                self.policy.adapter_named(self.reference(name), f"phases.{name}.objective.reference")

    def reference(self, name: str) -> str:
        """The name of a phase's reference policy."""
        return getattr(self.cfg.phases[name].objective, "reference", "base")

    def _checked(self, name: str, cfg: Any) -> Sequence[Any]:
        """What a phase's file holds. Raises ValueError for a phase that the environment does not suit."""
        game, where, why = self.game, f"phases.{name}: {cfg.algorithm}", ""
        hides = None if game is None else not game.referee.perfect_information
        if (wanted := HIDING.get(cfg.algorithm, hides)) != hides:
            suited = experiment_for(self.cfg.env, self.cfg.env_args)
            why = f"is for a game that hides {'some' if wanted else 'no'}thing; take experiment={suited}"
        if game is not None and game.withhold and cfg.algorithm not in WITHHOLDING:
            why = "learns from whole games, and so from withheld positions; set env_args.withhold=0"
        talks = game is not None or getattr(self.env.unwrapped, "history", False)
        if talks and cfg.algorithm == "verified_pairs":
            why = "compares whole answers, and here an episode has many; take sample_groups"
        if why:
            raise ValueError(f"{where} {why} (env={self.cfg.env})")
        if (pairs := getattr(cfg, "pairs", None)) is not None:
            return self.fitting(pairs, read_pairs(Path(pairs)), self.renderer.pair)
        if (traces := getattr(cfg, "traces", None)) is not None:
            return self.fitting(traces, read_traces(Path(traces)), self.renderer.trace)
        return ()

    def fitting(
        self, path: str, items: Sequence[Any], tokens: Callable[[Any], tuple[Tokens, ...]]
    ) -> Sequence[Any]:
        """The items that the policy takes; `notes` say how many are left out. Raises ValueError for none."""
        lengths = [len(prompt) + max(map(len, texts)) for prompt, *texts in map(tokens, items)]
        most, longest = self.policy.max_length, max(lengths, default=0)
        kept = [item for item, n in zip(items, lengths, strict=True) if n <= most]
        if len(kept) < len(items):
            text = (
                f"{path}: {len(items) - len(kept)} of {len(items)} entries are longer than the {most} tokens "
                "that the policy takes: left out; policy.base=FOLDER of a model with a context of "
                f"{longest} takes all"
            )
            if not kept:
                raise ValueError(text)
            self.notes.append(text)
        return kept

    @cached_property
    def game(self) -> Any:
        """The environment where it is a game of OpenSpiel's, or None."""
        env = self.env.unwrapped
        return env if isinstance(env, OpenSpielEnv) else None

    def maker(self, phase: str) -> Callable[[], TextLike]:
        """Makes the environment of a phase, or ("") of the run."""
        own = getattr(self.cfg.phases[phase], "env_args", {}) if phase else {}
        return partial(open_env, self.cfg.env, self.cfg.env_args | own)

    def _renderer(self, env: TextLike) -> Renderer:
        return Renderer(self.policy, getattr(env.unwrapped, "instructions", ""))

    def rollouts(self, phase: str) -> Rollouts:
        make = self.maker(phase)
        limit, renderer = self.cfg.policy.max_new_tokens, self._renderer(make())
        return Rollouts(make, self.generator, renderer, limit, self.ranks)

    def heldout(self, phase: str) -> HeldOutProblems:
        """The held-out problems of a phase's environment, or the run's."""
        if phase not in self._heldout:
            self._heldout[phase] = HeldOutProblems(self.maker(phase)(), self.cfg.evaluate_problems)
        return self._heldout[phase]

    @cached_property
    def withheld_N(self) -> Any:
        """Which positions of a listed game are held out, [N]."""
        return np.array([self.game.withholds(turn.observation) for turn in self.graph.turns])

    @cached_property
    def graph(self) -> GameGraph:
        return listed(self.game.game)

    def withholds(self, prompt: str) -> bool:
        """Whether a trace of this prompt must be kept out of training."""
        if self.game is not None:
            return bool(self.game.withholds(prompt))
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
    if (seats := game.referee.game.num_players()) != 2:
        raise ValueError(
            f"{game.game}: has {seats} seat{'s' * (seats > 1)}; games are trained and measured for two, "
            "others can be played and checked"
        )
    if not game.referee.perfect_information:
        return HiddenGame(game.game, game.expert, house.models)
    n, seed = cfg.evaluate_problems, cfg.seed
    return ListedGame(house.graph, game.expert, house.models, house.withheld_N, matches=n, seed=seed)


def build_phase(
    house: House, name: str, replays: dict[str, list[Any]], note: Callable[[str], None]
) -> Phase | None:
    """A phase by its configuration, or None where there is nothing to learn from, which is noted."""
    cfg, place = house.cfg.phases[name], list(house.cfg.phases).index(name) + 1
    traces = _traces(house, name, cfg) if cfg.algorithm == "imitate" else ()
    for text in house.notes:
        note(text)
    if cfg.algorithm == "imitate":
        traces = _allowed(house, traces, note)
        if not traces:
            note("no expert and no traces: imitation was skipped")
            return None
        imitate = Imitate(house.generator, house.renderer, traces, cfg, house.rng(place))
        learner = _learner(house, name, imitate)
        settings = {"patience": cfg.patience, "entropy_floor": cfg.entropy_floor}
        return Phase(name, imitate, learner, EarlyStopping(learner, imitate.heldout, **settings))
    given = _allowed(house, house.files[name], note)
    source = SOURCES[cfg.algorithm](house, name, cfg, house.rng(place), replays.get, given)
    return Phase(name, source, _learner(house, name, source))


def _traces(house: House, name: str, cfg: Any) -> Sequence[Trace]:
    env = house.env.unwrapped
    if cfg.traces is None and isinstance(env, TextEnv):
        written = traces(env, cfg.examples, house.rng(TRACES))
        return house.fitting("the expert", written, house.renderer.trace)
    return house.files[name]


def _allowed(house: House, items: Sequence[Any], note: Callable[[str], None]) -> Sequence[Any]:
    """Traces or pairs of prompts that are not held out; how many are left out is noted."""
    kept = [item for item in items if not house.withholds(item.task)]
    if len(kept) < len(items):
        note(f"{len(items) - len(kept)} of {len(items)} traces are of held-out prompts: left out")
    if items and not kept:
        raise ValueError("every trace is of a held-out prompt: there is nothing left to learn from")
    return kept


def _search_play(house: House, name: str, cfg: Any, rng: np.random.Generator, *_: Any) -> Source:
    starts = np.flatnonzero((house.graph.moves_N > 0) & ~house.withheld_N)
    models, seed = house.models, house.cfg.seed
    return SearchPlay(house.graph, starts, models(LEARNING), cfg, rng, seed)


def _fictitious_play(house: House, name: str, cfg: Any, rng: np.random.Generator, *_: Any) -> Source:
    simulator = partial(Referees, house.game.game)
    return FictitiousPlay(simulator, house.models(LEARNING), cfg, rng, house.cfg.seed)


SOURCES: dict[str, Callable[..., Source]] = {
    "search_play": _search_play,
    "fictitious_play": _fictitious_play,
    "sample_groups": lambda house, name, cfg, rng, *_: SampleGroups(house.rollouts(name), cfg, rng),
    "accepted_answers": lambda house, name, cfg, rng, replay, _: AcceptedAnswers(
        house.rollouts(name), cfg, rng, replay(cfg.replay_of)
    ),
    "ranked_pairs": lambda house, name, cfg, rng, _, pairs: RankedPairs(house.renderer, pairs, cfg, rng),
    "verified_pairs": lambda house, name, cfg, rng, *_: VerifiedPairs(house.rollouts(name), cfg, rng),
}


def _learner(house: House, name: str, source: Source) -> Learner:
    cfg, policy = house.cfg.phases[name], house.policy
    parameters, rate = list(policy.parameters.values()), cfg.learning_rate
    matrices, rest = (parameters, []) if cfg.optimizer == "muon" else ([], parameters)
    rates = {"learning_rate": rate, "rest_learning_rate": rate}
    optimizer = Optimizer(matrices, rest=rest, steps=source.updates, **rates)
    reference = policy.adapter_named(house.reference(name), f"phases.{name}.objective.reference")
    given = {"micro_batch": cfg.micro_batch, "reference": reference, "ranks": house.ranks}
    return Learner(policy, cfg.objective, optimizer, **given)


def check_phases(cfg: TrainConfig) -> None:
    """Raise ValueError, naming the key, for phases that cannot be built whatever the environment."""
    if unknown := [name for name in cfg.only or () if name not in cfg.phases]:
        raise ValueError(f"only={cfg.only}: {unknown[0]!r} is not one of {', '.join(cfg.phases)}")
    players, replays = ["base"], list[str]()  # that there are by then
    for name, phase in cfg.phases.items():
        where = f"phases.{name}"
        goal: Any = getattr(phase, "objective", None)
        wanted = getattr(goal, "name", "")
        if type(phase) is not ALGORITHMS.get(getattr(phase, "algorithm", "")):
            raise ValueError(f"{where}: choose its algorithm by phase@{where}=A: {', '.join(ALGORITHMS)}")
        kind = OBJECTIVES.get(wanted)
        if kind is None or type(goal) is not kind.config:
            raise ValueError(f"{where}: choose by objective@{where}.objective=O: {', '.join(OBJECTIVES)}")
        if lacks := [need for need in kind.needs if need not in (*phase.gives, "reference")]:
            raise ValueError(f"{where}: {wanted} needs {lacks[0]}, which {phase.algorithm} does not give")
        if phase.optimizer not in ("muon", "adamw"):
            raise ValueError(f"{where}.optimizer={phase.optimizer}: muon or adamw")
        if player_of(name) in (*RESERVED, *players) or not name.isidentifier():
            raise ValueError(f"{where}: the name {player_of(name)!r} is taken, or is none; choose another")
        if (earlier := getattr(phase, "replay_of", "")) not in ("", *replays):
            known = ", ".join(replays) or "none"
            raise ValueError(f"{where}.replay_of={earlier}: the phases before it that have a replay: {known}")
        reference = getattr(goal, "reference", "base")
        if reference not in players and not (Path(reference) / "adapter_config.json").is_file():
            known = f"give an adapter's folder or one of {', '.join(players)}"
            raise ValueError(f"{where}.objective.reference={reference}: {known}")
        if cfg.only is None or name in cfg.only:
            players.append(player_of(name))
            replays += [name] if phase.algorithm == "accepted_answers" else []
