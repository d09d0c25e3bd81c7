"""From what a person types to environments and players. A mistake ends the command in one line."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.graph import game_graph
from shuhari.envs.games.players import PerfectPlayer
from shuhari.envs.games.simulator import Referees
from shuhari.envs.player import Floats, GreedyPlayer, Player, RandomPlayer
from shuhari.envs.registry import load_plugins, open_env, parse_arguments
from shuhari.envs.types import Turn
from shuhari.loops.cli.messages import fail, suggest

if TYPE_CHECKING:  # torch takes seconds to import, and not every player needs it
    from shuhari.policy.policy import Policy
    from shuhari.policy.render import Renderer
    from shuhari.policy.tree_search import TreeSearch

PLAYERS = (
    "random, expert, perfect, base, a folder of an adapter, search:32 (tree search with random games), or "
    "search:32:FOLDER (with that policy, or search:32:base)"
)
WORDS = ("random", "expert", "perfect", "base", "search:32")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `Players` reads."""
    parser.add_argument("--sample", action="store_true", help="policies draw moves; else the likeliest")
    add_policy_options(parser)


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """Those that say how a policy is loaded, all that `Players.language_model` reads."""
    parser.add_argument("--base", help="of adapters (the one that each names), and of the player base")
    parser.add_argument("--format", default="auto", help="chat or plain (chat where the base has a template)")
    parser.add_argument("--device", default="auto", help="cpu or cuda (a GPU where there is one)")
    parser.add_argument("--dtype", default="auto", help="float32, bfloat16 (on a GPU the default), float16")


def open_text_env(env_id: str, pairs: Sequence[str]) -> Any:
    """The environment of this id with arguments as `key=value`."""
    for message in load_plugins():
        print(f"shuhari: {message}", file=sys.stderr)
    try:
        return open_env(env_id, parse_arguments(pairs))
    except ValueError as error:
        fail(str(error))


@dataclass(frozen=True)
class Seated:
    """A player, and beside it the one whose probabilities say what it thinks of all moves."""

    name: str
    player: Player
    hints: Player


class ImprovedPolicy(Player):
    """The probabilities that a tree search ends with."""

    def __init__(self, search: "TreeSearch", seed: int) -> None:
        self.search, self.rng = search, np.random.default_rng(seed)

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        found = self.search(self.search.simulator.positions(turns), self.rng, noise=False)
        return [p[: len(turn.legal_actions)] for turn, p in zip(turns, found.policy_NA, strict=True)]


class Players:
    """Players of one environment by their names; policies of one base are loaded once.

    names: of all who will be asked for; the base of the first adapter among them is that of the player `base`
    """

    def __init__(self, env: Any, names: Sequence[str], options: argparse.Namespace, seed: int) -> None:
        self.env, self.options, self.seed = env.unwrapped, options, seed
        folders = (folder for folder in map(_policy_of, names) if folder not in ("", "base"))
        self._first_folder = next(folders, None)
        self._policies: dict[str, tuple[Policy, Renderer]] = {}

    def seated(self, name: str) -> Seated:
        """A player of the game."""
        game: OpenSpielEnv = self.env
        if name == "random":
            return Seated(name, RandomPlayer(), RandomPlayer())
        if name == "expert":
            return self._checked(name, game.expert, game)
        if name == "perfect":
            try:
                perfect = PerfectPlayer(game_graph(game.game))
            except (ValueError, MemoryError) as error:
                fail(f"perfect: {game.game} cannot be listed and solved: {error}")
            return Seated(name, perfect, perfect)
        if name.partition(":")[0] == "search":
            return self._searching(name, game)
        policy = self._language_model(name, game)
        return Seated(name, policy if self.options.sample else GreedyPlayer(policy), policy)

    def _checked(self, name: str, player: Player, game: OpenSpielEnv) -> Seated:
        """The expert, where it can play this game: it is tried at the start."""
        root = game.root()
        root.resolve_chance(np.random.default_rng(0))
        try:
            if not root.over:
                player.act([root.turn()])
        except (ValueError, MemoryError) as error:
            fail(f"{name}: {error}")
        return Seated(name, player, player)

    def _searching(self, name: str, game: OpenSpielEnv) -> Seated:
        simulations, who = _search_of(name)
        if not game.referee.duel:
            fail(
                f"{name}: searches games of two seats that play for one win and hide nothing; not {game.game}"
            )
        from shuhari.policy.leaf_evaluators import Evaluator, PolicyAndValue, RandomRollouts
        from shuhari.policy.search_rules import Gumbel
        from shuhari.policy.tree_search import TreeSearch, TreeSearchPlayer

        simulator = Referees(game.game)
        evaluate: Evaluator = RandomRollouts(simulator, np.random.default_rng(self.seed))
        if who:
            evaluate = PolicyAndValue(simulator, self._language_model(who, game))
        search = TreeSearch(simulator, evaluate, Gumbel(), simulations)
        return Seated(name, TreeSearchPlayer(search, self.seed), ImprovedPolicy(search, self.seed))

    def _language_model(self, name: str, game: OpenSpielEnv) -> Player:
        from shuhari.policy.lm_player import LMPlayer

        policy, renderer, adapter = self.language_model(name)
        root = game.root()
        root.resolve_chance(np.random.default_rng(0))
        longest = max(map(len, renderer.choices(root.legal_actions)), default=0)
        if (tokens := len(renderer.first(root.observation)) + longest) > policy.max_length:
            fail(f"{name}: a position takes {tokens} tokens, and its base {policy.max_length} in all")
        return LMPlayer(policy, renderer, adapter)

    def language_model(self, name: str) -> tuple["Policy", "Renderer", str | None]:
        """The policy of `base` or of an adapter's folder, how it is written to, and its adapter's name."""
        from shuhari.policy.chat_renderer import build_renderer
        from shuhari.policy.load import CheckpointError
        from shuhari.policy.policy import Policy

        base, options = self.base_of(name), self.options
        try:
            if base not in self._policies:
                where = {"device": options.device, "dtype": options.dtype}
                policy = Policy(base, rank=1, alpha=1.0, **where)
                instructions = getattr(self.env, "instructions", "")
                renderer = build_renderer(policy, instructions, format=options.format)
                self._policies[base] = policy, renderer
            policy, renderer = self._policies[base]
            # As a path, because some words stand for adapters that a policy has of itself.
            folder = name if name == "base" else str(Path(name).resolve())
            return policy, renderer, policy.adapter_named(folder, "adapter")
        except CheckpointError as error:
            if error.argument == "adapter":
                remedy = "" if options.base is None else "; without --base it takes the one that it names"
                fail(f"{name}: {error.reason}{remedy}")
            named = f" (the base that {name} names; --base gives another place)"
            fail(
                f"--{error.argument} {error.value}"
                f"{named if error.argument == 'base' and options.base is None else ''}: {error.reason}"
            )

    def base_of(self, name: str) -> str:
        """The base by `--base`, or else the one that an adapter was trained on."""
        if self.options.base is not None:
            return str(self.options.base)
        folder = self._first_folder if name == "base" else name
        if folder is None:
            fail("base: of which base? Give --base, as in --base games")
        try:
            named = json.loads((Path(folder) / "adapter_config.json").read_text())["base_model_name_or_path"]
        except (OSError, ValueError, KeyError, TypeError):
            named = None
        if not isinstance(named, str) or not named:
            fail(f"{folder}: its adapter_config.json names no base; give --base")
        return named


def _search_of(name: str) -> tuple[int, str]:
    """Simulations and policy of `search:32:FOLDER`; "" for none."""
    _, _, rest = name.partition(":")
    number, _, who = rest.partition(":")
    if not number.isdecimal() or not number.isascii() or not 0 < int(number) <= 10**6:
        fail(f"{name}: how many simulations? As in search:32 or search:32:FOLDER")
    return int(number), who


def _policy_of(name: str) -> str:
    """The folder, or "base", of a player that has a policy, else "". Ends the command for no player."""
    if name.partition(":")[0] == "search":
        who = _search_of(name)[1]
        return _policy_of(who) if who else ""
    if name in ("random", "expert", "perfect"):
        return ""
    if name != "base" and not (Path(name) / "adapter_config.json").is_file():
        if Path(name).is_dir():
            fail(f"{name}: no adapter_config.json there; give an adapter's folder")
        near = suggest(name, WORDS) if "/" not in name else "there is no such folder"
        fail(f"{name!r} is no player: {near if 'did you' in near or '/' in name else PLAYERS}")
    return name
