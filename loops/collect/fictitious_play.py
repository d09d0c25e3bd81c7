"""Phase 2 in games that hide something: the policy plays itself, and learns the moves that did better.

Smooth fictitious play (Fudenberg & Levine 1998, ch. 4), by situation: the target is the softmax of the mean
returns of the moves, over all games that the policy has played so far. Later games count more. A policy that
learned the best reply to its present self would run in circles. What comes near an equilibrium is the average
of its policies. The latest one need not: the sharper it is, the more it follows the errors of the means. So
the last rounds play no more, and the policy learns the average of what it has played. There a policy counts
by the probability that its own moves lead to the situation, as in counterfactual regret minimization
(Zinkevich et al. 2007), in the rounds that came there, and later ones count more. Nothing here reads a
solver.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np

from shuhari.envs.games.board_view import BoardView, board_views
from shuhari.envs.games.simulator import Simulator
from shuhari.envs.player import Floats, Player, RandomPlayer
from shuhari.envs.types import Turn
from shuhari.loops.collect.source import Rng, Source, game_as_text, geometric, mean_entropy, move_batch
from shuhari.loops.config import FictitiousPlayConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.continuation_search import PolicyTable, Situation, TabularPlayer, situation_values
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.search_rules import softmax

Key = tuple[int, str, tuple[str, ...]]  # a situation: the seat, what it sees and its legal actions


class FictitiousPlay(Source):
    """One round values moves in `starts` games, then gives `updates` batches of situations.

    known: by situation, the rounds in which it came up, the mean value of each legal move, and the weighted
        sum of the policies that were played there
    unit: root mean square of the first round's values, in which temperatures are given
    """

    kept: ClassVar[tuple[str, ...]] = ("known", "unit")

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
        self.known: dict[Key, tuple[int, list[float], list[float]]] = {}
        self.unit = 0.0
        self.played = max(1, round(cfg.rounds * (1 - cfg.average)))  # rounds before it learns the average

    def _situations(self, player: Player, rng: Rng) -> dict[Key, Situation]:
        """What came up in one round of games."""
        simulator, cfg = self.simulator(), self.cfg
        table = PolicyTable(simulator, player)
        found = situation_values(simulator, table, cfg.starts, cfg.continuations, rng)
        turns = simulator.turns
        return {(turns[s].seat, turns[s].observation, turns[s].legal_actions): f for s, f in found.items()}

    def _play(self, number: int) -> None:
        """Play one round, and count what it shows."""
        situations = self._situations(self.player, self.rng)
        self.unit = self.unit or _root_mean_square([f.values for f in situations.values()])
        for key, found in situations.items():
            rounds, *before = self.known.get(key, (0, found.values, np.zeros_like(found.policy)))
            mean, played = map(np.array, before)
            mean += (
                2 / (rounds + 2) * (found.values - mean)
            )  # the n-th round counts n times as much as the first
            played += (number + 1) * found.reach * found.policy
            self.known[key] = rounds + 1, mean.tolist(), played.tolist()
        self.episodes += self.cfg.starts

    def _targets(self, number: int) -> list[list[float]]:
        """What the policy learns in each situation that came up so far."""
        if number >= self.played:
            return [_normalised(np.array(played)).tolist() for _, _, played in self.known.values()]
        temperature = geometric(self.cfg.temperature, number / max(1, self.played - 1)) * self.unit
        return [softmax(np.array(mean) / temperature).tolist() for _, mean, _ in self.known.values()]

    def batches(self, number: int) -> Iterator[Batch]:
        if number < self.played:
            self._play(number)
        turns = [Turn(seen, legal, seat) for seat, seen, legal in self.known]
        targets = self._targets(number)
        self.figures = {"target_entropy": mean_entropy(targets), "situations": len(turns)}
        for _ in range(self.cfg.updates):
            drawn = self.rng.permutation(len(turns))[: self.cfg.batch]
            yield move_batch(self.player.renderer, [turns[i] for i in drawn], [targets[i] for i in drawn])

    def players(self, before: bool) -> dict[str, Player]:
        """Before the phase: the best move by one round of random games, where nothing is learned."""
        if not before:
            return {}
        situations = self._situations(RandomPlayer(), np.random.default_rng(self.seed))
        values = {(seat, seen): found.values for (seat, seen, _), found in situations.items()}
        return {"search_alone": TabularPlayer(values)}

    def boards(self) -> list[BoardView]:
        return board_views(self.simulator(), self.player)

    def sample(self) -> str:
        return game_as_text(self.simulator(), self.player, self.episodes)


def _root_mean_square(values: Sequence[Floats]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate(values))))) or 1.0


def _normalised(weights: Floats) -> Floats:
    """A distribution; uniform where the policy's own moves never lead, so that all weights are 0."""
    total = weights.sum()
    return weights / total if total else np.full_like(weights, 1 / len(weights))
