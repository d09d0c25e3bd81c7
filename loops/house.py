"""What the phases and evaluations of a run share: environment, policy, generator and renderer.

Each is opened once, and checked before the run begins.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from shuhari.envs import TaskEnv, TextEnv, Trace
from shuhari.envs.files.trace_files import read_pairs, read_traces
from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.graph import GameGraph, game_graph
from shuhari.envs.games.simulator import Referees, Simulator
from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.envs.registry import CannotOpen, open_env
from shuhari.envs.validation import expert_traces, try_episodes
from shuhari.loops.collect.rollout import Rollouts, TextLike
from shuhari.loops.collect.validation import Validation
from shuhari.loops.config import TrainConfig
from shuhari.loops.distributed import SINGLE_PROCESS, Ranks
from shuhari.loops.learn.memory import TrainingMemory, free_memory
from shuhari.loops.learn.objectives import reference_of
from shuhari.loops.measured import Measured, facts_of
from shuhari.loops.phase import Phase
from shuhari.loops.run_folder import versions
from shuhari.loops.sharded_player import ShardedPlayer
from shuhari.policy.base_source import SHIPPED, names_in
from shuhari.policy.chat_renderer import build_renderer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.lm_player import Models
from shuhari.policy.load import CheckpointError
from shuhari.policy.policy import Policy, Tokens
from shuhari.policy.render import Renderer

HIDING = {"search_play": False, "fictitious_play": True}  # by algorithm: whether its games hide something
WITHHOLDING = ("imitate", "search_play", "ranked_pairs")  # algorithms that never train on withheld positions
EXAMPLES_STREAM = 2**32  # of random numbers, for worked examples in prompts


def open_run_env(env_id: str, env_args: dict[str, Any]) -> TextLike:
    """The environment of a run. Raises ValueError that names the keys env and env_args."""
    try:
        return open_env(env_id, env_args)
    except CannotOpen as error:
        arguments = f", env_args={env_args}" if env_args else ""
        raise ValueError(f"env={env_id}{arguments}: {error.reason}") from None


def experiment_for(env_id: str, env_args: dict[str, Any], base: str = "") -> str:
    """The generic experiment whose phases suit an environment and, where one is given, the base."""
    env = open_run_env(env_id, env_args).unwrapped
    if not isinstance(env, OpenSpielEnv) or env.seats == 1:
        of_problems = "problems" if base in ("", *names_in(SHIPPED)) else "chat"
        return of_problems if isinstance(env, TaskEnv) else "returns"
    return "board_game" if env.referee.perfect_information else "hidden_game"


def why_untrained(game: OpenSpielEnv) -> str:
    """Why a game of several seats is neither trained nor measured; "" where it is."""
    if game.seats != 2:
        return (
            f"{game.game}: has {game.seats} seats; games are trained and measured for one or two, others can "
            "be played and checked"
        )
    if game.referee.perfect_information and not game.referee.duel:
        return (
            f"{game.game}: its seats do not play for one win, at the end; it can be played and checked, and "
            "not trained or measured"
        )
    return ""


def policies_named(phase: Any) -> list[tuple[str, str]]:
    """The keys of a phase under which policies are named, and those names."""
    opponents = [("opponents", named) for named in getattr(phase, "opponents", ())]
    return [("objective.reference", reference_of(phase.objective) or "base"), *opponents]


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
        self.examples = self._worked_examples()
        self.renderer = self._renderer(self.env)
        self.models: Models = partial(ShardedPlayer, self.ranks, self.policy, self.renderer)
        try_episodes(self.env)
        self._heldout: dict[str, HeldOutProblems] = {}
        self._validation: dict[str, Validation] = {}
        self.notes = list(getattr(self.env.unwrapped, "notes", ()))  # about what the phases learn from
        self.names = [name for name in self.cfg.phases if self.cfg.only is None or name in self.cfg.only]
        for name in self.names:
            self._check_suits(name, self.cfg.phases[name])
        self.files = {name: self._read_file(self.cfg.phases[name]) for name in self.names}
        for name in self.names:  # adapters that are folders are loaded now, so that a bad one is refused
            for key, path in policies_named(self.cfg.phases[name]):
                if (Path(path) / "adapter_config.json").is_file():
                    self.policy.adapter_named(path, f"phases.{name}.{key}")

    def _training_memory(self) -> TrainingMemory:
        """What is free now, on all ranks, less what the generator will take."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if self.policy.device.type == "cpu" else 1
        free = free_memory(self.policy.device, here) - self.generator.engine.budget.size
        return TrainingMemory(self.policy, min(self.ranks.gather(max(0, free))))

    @property
    def about_prompts(self) -> list[str]:
        """What a reader of the report must know of how prompts are written."""
        turns = bool(getattr(self.env.unwrapped, "history", False))
        return [*self.policy.notes, *self.renderer.notes(turns)]

    def measured(self) -> Measured:
        """Rows of players that need no training, which other runs of the same measure share."""
        cfg, policy = self.cfg, self.policy
        facts = facts_of(self.env, cfg.env_args)
        if facts is not None:
            own = {name: cfg.phases[name].env_args for name in self.own_envs()}
            sizes = cfg.evaluate_problems, cfg.evaluate_samples, cfg.policy.max_new_tokens, cfg.seed
            prompts = [self.renderer.format, cfg.policy.template, self.examples]
            facts["model"] = [
                policy.base_mark,
                policy.forward_pass,
                policy.dtype,
                policy.device.type,
                prompts,
            ]
            facts |= {
                "id": cfg.env,
                "own": own,
                "sizes": sizes,
                "threads": cfg.threads,
                "versions": versions(),
            }
        return Measured(Path(cfg.out) / ".measured", facts, self.ranks)

    def reference(self, name: str) -> str:
        """The name of a phase's reference policy."""
        return reference_of(self.cfg.phases[name].objective) or "base"

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
            return self.fitting(pairs, read_pairs(Path(pairs), self.notes.append), self.renderer.pair)
        if (traces := getattr(cfg, "traces", None)) is not None:
            found = read_traces(Path(traces), cfg.turns, self.notes.append)
            return self.fitting(traces, found, self.renderer.trace)
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
            first, n = next((item, n) for item, n in zip(items, lengths, strict=True) if n > most)
            place = f", the first is {first.where} with {n}" if first.where else ""
            text = (
                f"{path}: {len(items) - len(kept)} of {len(items)} entries are longer than the {most} tokens "
                f"that the policy takes{place}: left out; policy.base=FOLDER of a model with a context of "
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
        """The environment if it is a game of OpenSpiel's in which seats play against one another, else None:
        alone, a seat earns rewards as in any environment."""
        env = self.env.unwrapped
        return env if isinstance(env, OpenSpielEnv) and env.seats > 1 else None

    def maker(self, phase: str) -> Callable[[], TextLike]:
        """A function that makes the environment of a phase or, for "", of the run."""
        extra = getattr(self.cfg.phases[phase], "env_args", {}) if phase else {}
        return partial(open_run_env, self.cfg.env, self.cfg.env_args | extra)

    def _worked_examples(self) -> Sequence[Trace]:
        """What `policy.examples` asks for. Raises ValueError where nobody writes worked examples."""
        if not (n := self.cfg.policy.examples):
            return ()
        env = self.env.unwrapped
        written = expert_traces(env, n, self.rng(EXAMPLES_STREAM)) if isinstance(env, TextEnv) else []
        files = [p.traces for p in self.cfg.phases.values() if getattr(p, "traces", None) is not None]
        found = written or [trace for path in files for trace in read_traces(Path(path))][:n]
        if not found:
            raise ValueError(
                f"policy.examples={n}: {self.cfg.env} has no expert who writes them; give "
                "phases.imitate.traces=FILE"
            )
        return [trace for trace in found if not trace.turns]

    def _renderer(self, env: TextLike) -> Renderer:
        given = self.cfg.policy
        try:
            return build_renderer(
                self.policy,
                getattr(env.unwrapped, "instructions", ""),
                format=given.format,
                template=given.template,
                examples=self.examples,
            )
        except CheckpointError as error:
            raise ValueError(f"policy.{error}") from None

    def rollouts(self, phase: str) -> Rollouts:
        make = self.maker(phase)
        limit, renderer = self.cfg.policy.max_new_tokens, self._renderer(make())
        return Rollouts(make, self.generator, renderer, limit, self.ranks)

    def heldout(self, phase: str) -> HeldOutProblems:
        """The held-out problems of a phase's environment or, for "", of the run's."""
        if phase not in self._heldout:
            self._heldout[phase] = HeldOutProblems(self.maker(phase)(), self.cfg.evaluate_problems)
        return self._heldout[phase]

    def validation(self, phase: str) -> Validation:
        """The problems that steer a phase, of its environment or, for "", of the run's."""
        if phase not in self._validation:
            judged, wanted = isinstance(self.env.unwrapped, TaskEnv), self.cfg.evaluate_problems
            self._validation[phase] = Validation(self.rollouts(phase), judged, wanted)
        return self._validation[phase]

    @cached_property
    def graph(self) -> GameGraph | None:
        """All positions of the game; None where they are too many, or chance moves."""
        if self.game.referee.chance_moves:
            return None
        try:
            return game_graph(self.game.game)
        except MemoryError:
            return None

    @cached_property
    def simulator(self) -> Simulator:
        """Plays the game: by the list of its positions, where there is one."""
        return self.graph or Referees(self.game.game)

    def withholds(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of training."""
        if self.game is not None:
            return bool(self.game.withholds(prompt))
        sides = [(self.heldout(phase), self.validation(phase)) for phase in ("", *self.own_envs())]
        return any(side.withholds(prompt) for pair in sides for side in pair)

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
