"""Games that steer a run: from openings that no reported match begins with."""

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Player
from shuhari.policy.match import play_pairs

PLIES = 4  # of an opening; reported matches begin at most three plies into a game
OPENINGS = 150  # each is played from both seats


class ValidationMatches:
    """A player, which may learn, against a fixed opponent: the same openings and luck at every look."""

    def __init__(
        self, simulator: Simulator, player: Player, opponent: Player, openings: Positions, seed: int
    ) -> None:
        self.simulator, self.player, self.opponent = simulator, player, opponent
        self.openings, self.seed = openings, seed

    def scores(self) -> list[float | None]:
        """The player's return in each game: from every opening in the first seat, then in the second."""
        returns = play_pairs(
            self.simulator,
            self.player,
            self.opponent,
            self.openings,
            lambda seat: np.random.default_rng([self.seed, seat]),
        )
        return [float(x) for x in returns]
