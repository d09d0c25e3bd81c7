"""A scale that does not move: Elo of the policy by games against players that never learn.

Self-play's own results say only that the policy beats what it was. The anchors have met one another once; at
each look the policy plays greedily against all of them, and its rating is fitted beside theirs
(`policy/elo.py`), 0 being random play. Openings are those of the gate, which no reported match begins with.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Player
from shuhari.policy.elo import ratings
from shuhari.policy.match import play_pairs

MOST = 50  # openings of a pair of players, each played from both seats


class Ladder:
    """Rates the present policy among anchors.

    history: of each look the rounds before it, and the rating
    """

    def __init__(
        self,
        simulator: Simulator,
        policy: Player,
        anchors: Mapping[str, Player],
        openings: Positions,
        seed: int,
    ) -> None:
        """policy: that learns. anchors: the first is the scale's 0."""
        self.simulator, self.openings, self.seed = simulator, openings[:MOST], seed
        self.anchors, self.policy = dict(anchors), policy
        self.history: list[dict[str, Any]] = []
        n = len(self.anchors) + 1  # the policy is the last
        self._scores, self._played = np.zeros((n, n)), False

    def look(self, number: int) -> dict[str, float]:
        """Rate the policy after `number` rounds. Figures for TensorBoard."""
        players, n = [*self.anchors.values(), self.policy], len(self.anchors)
        pairs = combinations(range(n + 1), 2)
        for i, j in (pair for pair in pairs if n in pair or not self._played):
            returns = play_pairs(
                self.simulator,
                players[i],
                players[j],
                self.openings,
                lambda seat, i=i, j=j: np.random.default_rng([self.seed, i, j, seat]),  # type: ignore[misc]
            )
            won = float((1 + returns).sum() / 2)
            self._scores[i, j], self._scores[j, i] = won, len(returns) - won
        self._played, rating = True, ratings(self._scores)[n]
        self.history.append({"round": number, **rating.as_json()})
        return {"elo": rating.elo}

    def summary(self) -> dict[str, Any]:
        """For the report."""
        rated = zip(self.anchors, ratings(self._scores[:-1, :-1]), strict=True)
        return {"anchors": {name: rating.as_json() for name, rating in rated}, "looks": self.history}

    def state_dict(self) -> dict[str, Any]:
        return {"scores": self._scores.tolist(), "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scores, self.history = np.array(state["scores"]), state["history"]
        self._played = bool(self.history)
