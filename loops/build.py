"""The builders: the only code that chooses by the configuration and by the kind of environment.

What they build is used through its interface only. No source asks what kind of environment it plays, and no
evaluation asks what was trained.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from shuhari.envs import TaskEnv, TextEnv, Trace
from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.graph import GameGraph, game_graph
from shuhari.envs.games.simulator import Referees
from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.envs.registry import CannotOpen, open_env
from shuhari.envs.trace_files import read_pairs, read_traces
from shuhari.envs.validation import expert_traces, try_episodes
from shuhari.loops.collect.accepted_answers import AcceptedAnswers
from shuhari.loops.collect.fictitious_play import FictitiousPlay
from shuhari.loops.collect.imitate import Imitate
from shuhari.loops.collect.ranked_pairs import RankedPairs, VerifiedPairs
from shuhari.loops.collect.rollout import Rollouts, TextLike
from shuhari.loops.collect.sample_groups import SampleGroups
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.collect.source import Source
from shuhari.loops.config import TrainConfig
from shuhari.loops.distributed import SINGLE_PROCESS, Ranks
from shuhari.loops.evaluate.evaluation import Evaluation
from shuhari.loops.evaluate.hidden_game import HiddenGame
from shuhari.loops.evaluate.listed_game import ListedGame
from shuhari.loops.evaluate.problems import Problems
from shuhari.loops.evaluate.returns import Returns
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.memory import TrainingMemory, free_memory
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.learn.stopping import EarlyStopping
from shuhari.loops.phase import Phase
from shuhari.loops.scoreboard import player_of
from shuhari.loops.sharded_player import ShardedPlayer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.lm_player import Models
from shuhari.policy.load import CheckpointError
from shuhari.policy.policy import LEARNING, Policy, Tokens
from shuhari.policy.render import Renderer

# Names that no phase may have, because players have them.
RESERVED = ("default", "random", "expert", "expert_mode", "perfect", "search_alone", "adapter")
HIDING = {"search_play": False, "fictitious_play": True}  # by algorithm: whether its games hide something
WITHHOLDING = ("imitate", "search_play", "ranked_pairs")  # algorithms that never train on withheld positions
EXPERT_STREAM = 0  # the expert's stream of random numbers; a phase's stream has the phase's number, from 1


def open_run_env(env_id: str, env_args: dict[str, Any]) -> TextLike:
    """The environment of a run. Raises ValueError that names the keys env and env_args."""
    try:
        return open_env(env_id, env_args)
    except CannotOpen as error:
        arguments = f", env_args={env_args}" if env_args else ""
        raise ValueError(f"env={env_id}{arguments}: {error.reason}") from None


def experiment_for(env_id: str, env_args: dict[str, Any]) -> str:
    """The generic experiment whose phases suit an environment."""
    env = open_run_env(env_id, env_args).unwrapped
    if not isinstance(env, OpenSpielEnv):
        return "problems" if isinstance(env, TaskEnv) else "returns"
    return "listed_game" if env.referee.perfect_information else "hidden_game"


@dataclass
class House:
    """What the phases and evaluations of one run share: policy, generator, renderer and environment."""

    cfg: TrainConfig
    ranks: Ranks = SINGLE_PROCESS

    def __post_init__(self) -> None:
        """Raises ValueError for all that can be refused before the run begins."""
        given = self.cfg.policy
        try:
            self.policy = Policy(
                given.base,
                rank=given.rank,
                alpha=given.alpha,
                seed=self.cfg.seed,
                adapter=Path(self.cfg.adapter) if self.cfg.adapter else None,
                device=self.ranks.device(given.device),
                dtype=given.dtype,
            )
        except CheckpointError as error:
            raise ValueError(f"{'' if error.argument == 'adapter' else 'policy.'}{error}") from None
        if given.max_new_tokens >= self.policy.max_length:
            length = self.policy.max_length
            raise ValueError(f"policy.max_new_tokens={given.max_new_tokens}: the base's context is {length}")
        self.generator, self.env = Generator(self.policy), open_run_env(self.cfg.env, self.cfg.env_args)
        self.memory = self._training_memory()
        self.longest = min(
            self.policy.max_length, 2 * given.max_new_tokens
        )  # tokens of a text, as far as known
        self.renderer = self._renderer(self.env)
        self.models: Models = partial(ShardedPlayer, self.ranks, self.policy, self.renderer)
        try_episodes(self.env)
        self._heldout: dict[str, HeldOutProblems] = {}
        self.notes = list(getattr(self.env.unwrapped, "notes", ()))  # about what the phases learn from
        self.names = [name for name in self.cfg.phases if self.cfg.only is None or name in self.cfg.only]
        for name in self.names:
            self._check_suits(name, self.cfg.phases[name])
        self.files = {name: self._read_file(self.cfg.phases[name]) for name in self.names}
        for name in self.names:  # a reference that is a folder is loaded now, so that a bad one is refused
            if (Path(self.reference(name)) / "adapter_config.json").is_file():
                self.policy.adapter_named(self.reference(name), f"phases.{name}.objective.reference")

    def _training_memory(self) -> TrainingMemory:
        """What is free now, on all ranks, less what the generator will take."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if self.policy.device.type == "cpu" else 1
        free = free_memory(self.policy.device, here) - self.generator.engine.budget.size
        return TrainingMemory(self.policy, min(self.ranks.gather(max(0, free))))

    def reference(self, name: str) -> str:
        """The name of a phase's reference policy."""
        return getattr(self.cfg.phases[name].objective, "reference", "base")

    def _check_suits(self, name: str, cfg: Any) -> None:
        """Raises ValueError for a phase that does not suit the environment."""
        game, why = self.game, ""
        hides = None if game is None else not game.referee.perfect_information
        if (wanted := HIDING.get(cfg.algorithm, hides)) != hides:
            suited = experiment_for(self.cfg.env, self.cfg.env_args)
            why = f"is for a game that hides {'some' if wanted else 'no'}thing; take experiment={suited}"
        if game is not None and game.withhold and cfg.algorithm not in WITHHOLDING:
            why = "learns from whole games, and so from withheld positions; set env_args.withhold=0"
        has_turns = game is not None or getattr(self.env.unwrapped, "history", False)
        if has_turns and cfg.algorithm == "verified_pairs":
            why = "compares whole answers, and here an episode has several; take sample_groups"
        if why:
            raise ValueError(f"phases.{name}: {cfg.algorithm} {why} (env={self.cfg.env})")

    def _read_file(self, cfg: Any) -> Sequence[Any]:
        """The pairs or traces in a phase's file, where it has one."""
        if (pairs := getattr(cfg, "pairs", None)) is not None:
            return self.fitting(pairs, read_pairs(Path(pairs)), self.renderer.pair)
        if (traces := getattr(cfg, "traces", None)) is not None:
            return self.fitting(traces, read_traces(Path(traces)), self.renderer.trace)
        return ()

    def fitting(
        self, path: str, items: Sequence[Any], tokens: Callable[[Any], tuple[Tokens, ...]]
    ) -> Sequence[Any]:
        """The items that are not too long for the policy. A note says how many are left out.

        path: where the items are from
        tokens: an item's prompt and completions
        Raises ValueError if all are too long.
        """
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
        self.longest = max(self.longest, *(n for n in lengths if n <= most), 0)
        self.memory.check(self.longest, path)
        return kept

    @cached_property
    def game(self) -> Any:
        """The environment if it is a game of OpenSpiel's, else None."""
        env = self.env.unwrapped
        return env if isinstance(env, OpenSpielEnv) else None

    def maker(self, phase: str) -> Callable[[], TextLike]:
        """A function that makes the environment of a phase or, for "", of the run."""
        extra = getattr(self.cfg.phases[phase], "env_args", {}) if phase else {}
        return partial(open_run_env, self.cfg.env, self.cfg.env_args | extra)

    def _renderer(self, env: TextLike) -> Renderer:
        return Renderer(self.policy, getattr(env.unwrapped, "instructions", ""))

    def rollouts(self, phase: str) -> Rollouts:
        make = self.maker(phase)
        limit, renderer = self.cfg.policy.max_new_tokens, self._renderer(make())
        return Rollouts(make, self.generator, renderer, limit, self.ranks)

    def heldout(self, phase: str) -> HeldOutProblems:
        """The held-out problems of a phase's environment or, for "", of the run's."""
        if phase not in self._heldout:
            self._heldout[phase] = HeldOutProblems(self.maker(phase)(), self.cfg.evaluate_problems)
        return self._heldout[phase]

    @cached_property
    def withheld_N(self) -> Any:
        """Whether each position of a listed game is held out, [N]."""
        return np.array([self.game.withholds(turn.observation) for turn in self.graph.turns])

    @cached_property
    def graph(self) -> GameGraph:
        return game_graph(self.game.game)

    def withholds(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of training."""
        if self.game is not None:
            return bool(self.game.withholds(prompt))
        return any(self.heldout(phase).withholds(prompt) for phase in ("", *self.own_envs()))

    def own_envs(self) -> list[str]:
        """The phases whose environment has arguments of its own."""
        return [name for name in self.names if getattr(self.cfg.phases[name], "env_args", {})]

    def replay_for_later(self, phase: Phase) -> dict[str, list[Any]]:
        """A phase's replay, under its name, if a later phase starts with it."""
        wanted = any(getattr(cfg, "replay_of", "") == phase.name for cfg in self.cfg.phases.values())
        return {phase.name: phase.source.replay.items} if wanted else {}

    def rng(self, stream: int) -> np.random.Generator:
        """A stream of random numbers of this run."""
        return np.random.default_rng([self.cfg.seed, stream])


def build_evaluation(house: House, phase: str = "") -> Evaluation[Any]:
    """The evaluation of the run's environment or, with `phase`, of that phase's own."""
    cfg, game = house.cfg, house.game
    if game is None:
        env, rollouts, heldout = house.maker(phase)().unwrapped, house.rollouts(phase), house.heldout(phase)
        if isinstance(env, TaskEnv):
            return Problems(rollouts, env, heldout, samples=cfg.evaluate_samples)
        return Returns(rollouts, heldout)
    if phase:
        raise ValueError(f"phases.{phase}.env_args: only problems take arguments here; {cfg.env} is a game")
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
    """The phase of that name, or None, with a note, if it has nothing to learn from.

    replays: of earlier phases, by name
    note: takes what a reader of the report must know
    """
    cfg, rng = house.cfg.phases[name], house.rng(list(house.cfg.phases).index(name) + 1)
    if cfg.algorithm == "imitate":
        return _imitation(house, name, cfg, rng, note)
    for text in house.notes:
        note(text)
    given = _allowed(house, house.files[name], note)
    source = SOURCES[cfg.algorithm](house, name, cfg, rng, replays.get, given)
    return Phase(name, source, _learner(house, name, source))


def _imitation(
    house: House, name: str, cfg: Any, rng: np.random.Generator, note: Callable[[str], None]
) -> Phase | None:
    found = _traces(house, name, cfg)
    for text in house.notes:
        note(text)
    if not (allowed := _allowed(house, found, note)):
        note("no expert and no traces: imitation was skipped")
        return None
    imitate = Imitate(house.generator, house.renderer, allowed, cfg, rng)
    learner = _learner(house, name, imitate)
    stopping = EarlyStopping(learner, imitate.heldout, patience=cfg.patience, entropy_floor=cfg.entropy_floor)
    return Phase(name, imitate, learner, stopping)


def _traces(house: House, name: str, cfg: Any) -> Sequence[Trace]:
    """The traces of the phase's file or, without one, of the environment's expert."""
    env = house.env.unwrapped
    if cfg.traces is None and isinstance(env, TextEnv):
        written = expert_traces(env, cfg.examples, house.rng(EXPERT_STREAM))
        return house.fitting("the expert", written, house.renderer.trace)
    return house.files[name]


def _allowed(house: House, items: Sequence[Any], note: Callable[[str], None]) -> Sequence[Any]:
    """The traces or pairs whose prompts are not held out. A note says how many are left out."""
    kept = [item for item in items if not house.withholds(item.task)]
    if len(kept) < len(items):
        note(f"{len(items) - len(kept)} of {len(items)} entries have held-out prompts: left out")
    if items and not kept:
        raise ValueError("every entry has a held-out prompt: there is nothing left to learn from")
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
    chosen, longest = house.memory.plan(house.longest, cfg.micro_batch), house.longest
    check = partial(house.memory.check, where=f"phases.{name}")
    check(longest)
    return Learner(
        policy,
        cfg.objective,
        optimizer,
        micro_batch=chosen.tokens,
        checkpointed=chosen.checkpointed,
        reference=reference,
        ranks=house.ranks,
        check=check,
        note=house.memory.line(chosen, longest, name),
    )


def check_phases(cfg: TrainConfig) -> None:
    """Raise ValueError for a phase whose name is taken, or that refers to a missing phase or player."""
    players, with_replay = ["base"], list[str]()  # those that exist before the phase begins
    for name, phase in cfg.phases.items():
        where, player = f"phases.{name}", player_of(name)
        if player in (*RESERVED, *players) or not name.isidentifier():
            raise ValueError(f"{where}: the name {player!r} is taken, or is not a word; choose another")
        if (earlier := getattr(phase, "replay_of", "")) not in ("", *with_replay):
            known = ", ".join(with_replay) or "none"
            raise ValueError(f"{where}.replay_of={earlier}: the phases before it that have a replay: {known}")
        reference = getattr(phase.objective, "reference", "base")
        if reference not in players and not (Path(reference) / "adapter_config.json").is_file():
            known = f"give an adapter's folder or one of {', '.join(players)}"
            raise ValueError(f"{where}.objective.reference={reference}: {known}")
        if cfg.only is None or name in cfg.only:
            players.append(player)
            with_replay += [name] if phase.algorithm == "accepted_answers" else []
