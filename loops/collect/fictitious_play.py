"""Phase 2 in games that hide something: the policy plays itself, and learns the moves that did better.

Smooth fictitious play (Fudenberg & Levine 1998, ch. 4), by situation: the target is the softmax of the mean
returns of the moves, over all games that the policy has played so far. Later games count more. A policy that
learned the best reply to its present self would run in circles. A reply to the average of its past selves,
soft at first and sharper later, ends near an equilibrium. Nothing here reads a solver.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from shuhari.envs.games.board_view import BoardView, board_views
from shuhari.envs.games.simulator import Simulator
from shuhari.envs.player import Floats, Player, RandomPlayer
from shuhari.envs.types import Turn
from shuhari.loops.collect.source import Rng, Source, game_as_text, geometric, mean_entropy, move_batch
from shuhari.loops.config import FictitiousPlayConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.continuation_search import PolicyTable, TabularPlayer, situation_values
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.search_rules import softmax


class FictitiousPlay(Source):
    """One round values moves in `starts` games, then gives `updates` batches of situations."""

    kept: ClassVar[tuple[str, ...]] = ("means",)

    def __init__(
        self,
        simulator: Callable[[], Simulator],
        player: LMPlayer,
        cfg: FictitiousPlayConfig,
        rng: Rng,
        seed: int,
    ) -> None:
        """`simulator` makes a simulator. Each round has its own, which no evaluation has looked at."""
        super().__init__(cfg.rounds, rng, cfg.updates)
        self.simulator, self.player, self.cfg, self.seed = simulator, player, cfg, seed
        # By seat and observation: legal actions, rounds in which it came up, mean return of each action.
        self.means: dict[tuple[int, str], tuple[tuple[str, ...], int, list[float]]] = {}

    def _values(self, player: Player, rng: Rng) -> Iterator[tuple[Turn, Floats]]:
        """The turns that came up in one round of games, with the values of their moves."""
        simulator, cfg = self.simulator(), self.cfg
        table = PolicyTable(simulator, player)
        values = situation_values(simulator, table, cfg.starts, cfg.continuations, rng)
        return ((simulator.turns[situation], value) for situation, value in values.items())

    def batches(self, number: int) -> Iterator[Batch]:
        for turn, value in self._values(self.player, self.rng):
            _, rounds, mean = self.means.get((turn.seat, turn.observation), ((), 0, value.tolist()))
            weight = 2 / (rounds + 2)  # the n-th round counts n times as much as the first
            mean = (np.array(mean) + weight * (value - np.array(mean))).tolist()
            self.means[turn.seat, turn.observation] = turn.legal_actions, rounds + 1, mean
        self.episodes += self.cfg.starts
        temperature = geometric(self.cfg.temperature, self.progress(number))
        turns = [Turn(seen, legal, seat) for (seat, seen), (legal, _, _) in self.means.items()]
        targets = [softmax(np.array(mean) / temperature).tolist() for _, _, mean in self.means.values()]
        self.figures = {"target_entropy": mean_entropy(targets), "situations": len(turns)}
        for _ in range(self.cfg.updates):
            drawn = self.rng.permutation(len(turns))[: self.cfg.batch]
            yield move_batch(self.player.renderer, [turns[i] for i in drawn], [targets[i] for i in drawn])

    def players(self, before: bool) -> dict[str, Player]:
        """Before the phase: the best move by one round of random games, where nothing is learned."""
        if not before:
            return {}
        values = self._values(RandomPlayer(), np.random.default_rng(self.seed))
        return {"search_alone": TabularPlayer({(t.seat, t.observation): value for t, value in values})}

    def boards(self) -> list[BoardView]:
        return board_views(self.simulator(), self.player)

    def sample(self) -> str:
        return game_as_text(self.simulator(), self.player, self.episodes)
