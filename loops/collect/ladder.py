"""A scale that does not move: Elo of the policy by games against players that never learn.

Self-play's own results say only that the policy beats what it was. The anchors meet one another once, which
rates them (`policy/elo.py`), 0 being the first; at each look the policy plays all of them, and is rated where
they stand. Openings are those of the gate, which no reported match begins with.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Player
from shuhari.policy.elo import Rating, rating_among, ratings
from shuhari.policy.match import play_pairs, points
from shuhari.policy.tournament import play_all, scores

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
        self._rated: list[Rating] = []  # of the anchors

    def look(self, number: int) -> dict[str, float]:
        """Rate the policy after `number` rounds. Figures for TensorBoard."""
        anchors = list(self.anchors.values())
        if not self._rated:
            met = play_all(self.simulator, anchors, self.openings, self.seed)
            self._rated = ratings(scores(met, len(anchors)))
        won_A = np.array([self._won(other, i) for i, other in enumerate(anchors)])
        games_A = np.full(len(anchors), 2.0 * len(self.openings))
        elo_A = np.array([rating.elo for rating in self._rated])
        rating = rating_among(won_A, games_A, elo_A)
        self.history.append({"round": number, **rating.as_json()})
        return {"elo": rating.elo}

    def _won(self, anchor: Player, number: int) -> float:
        """The policy's points against the anchor of that number."""

        # Anchors have other luck among themselves: there the third number is an opening's, 0, 25, ….
        def luck(seat: int) -> np.random.Generator:
            return np.random.default_rng([self.seed, number, len(self.anchors), seat])

        return float(points(play_pairs(self.simulator, self.policy, anchor, self.openings, luck)).sum())

    def summary(self) -> dict[str, Any]:
        """For the report."""
        rated = zip(self.anchors, self._rated, strict=True)
        return {"anchors": {name: rating.as_json() for name, rating in rated}, "looks": self.history}

    def state_dict(self) -> dict[str, Any]:
        return {"rated": [asdict(rating) for rating in self._rated], "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rated = [Rating(**rating) for rating in state["rated"]]
        self.history = state["history"]
