"""Games that steer a run: from openings that no reported match begins with."""

import numpy as np

from shuhari.envs.games.graph import GameGraph
from shuhari.envs.player import Ints, Player
from shuhari.policy.continuation_search import PolicyTable, play_match

PLIES = 4  # of an opening; reported matches begin at most three plies into a game
OPENINGS = 150  # each is played from both seats


class ValidationMatches:
    """A player, which may learn, against a fixed opponent: the same openings and luck at every look."""

    def __init__(self, graph: GameGraph, player: Player, opponent: Player, seed: int) -> None:
        self.graph, self.seed = graph, seed
        self._tables = PolicyTable(graph, player), PolicyTable(graph, opponent)
        possible = np.flatnonzero((graph.ply_N == PLIES) & (graph.moves_N > 0))
        n = min(OPENINGS, len(possible))
        self.openings: Ints = np.sort(np.random.default_rng(seed).choice(possible, n, replace=False))

    def scores(self) -> list[float | None]:
        """The player's return in each game: from every opening in the first seat, then in the second."""
        mine, other = self._tables
        first, second = (
            play_match(self.graph, players, self.openings, np.random.default_rng([self.seed, seat]))
            for seat, players in enumerate(((mine, other), (other, mine)))
        )
        return [float(x) for x in (*first, *-second)]
