"""Is the policy better than the best one so far? A match, which ends as soon as it has said so.

Wald's sequential test of pairs of games (one opening from both seats): each pair is one result, because its
games depend on each other. The log-likelihood ratio is that of the generalized test for a mean whose variance
is estimated (Van den Bergh 2017, "A practical introduction to the GSPRT", as chess programs are tested by).
Two tests run at once: is it better by `MARGIN`, or worse by it? Where both say no, they are as good.
"""

from math import log
from typing import Any

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Floats, GreedyPlayer
from shuhari.loops.learn.judge import Adapter, Look
from shuhari.policy.lm_player import Models
from shuhari.policy.match import play_pairs, points
from shuhari.policy.policy import LEARNING

PLIES = 4  # of an opening; reported matches begin at most three plies into a game
OPENINGS = 150  # each is played from both seats
FEWEST = 12  # with fewer not even winning all games would say enough
CHUNK = 15  # of them at once: between chunks the match may end
MARGIN = 0.05  # of the score: 35 Elo, as AlphaGo Zero's 55%
ERROR = 0.05  # chance of either mistake
BEST = "best of the gate"  # the frozen adapter


def log_likelihood_ratio(pairs: Floats, margin: float) -> float:
    """Of a mean score of 1/2 + margin to one of 1/2, given scores [N] of pairs of games, from 0 to 1."""
    known = np.concatenate([pairs, [0.0, 1.0]])  # so that results that are all alike have a variance
    low, high = 0.5, 0.5 + margin
    return float(len(pairs) * (high - low) * (2 * pairs.mean() - low - high) / (2 * known.var()))


class BestMatch:
    """A `Judge` by greedy games against the best policy so far, from openings of their own."""

    of_skill, scores = False, None

    def __init__(self, simulator: Simulator, models: Models, openings: Positions, seed: int) -> None:
        self.simulator, self.models, self.openings, self.seed = simulator, models, openings, seed
        self.policy, self.present = models(LEARNING).policy, GreedyPlayer(models(LEARNING))

    @property
    def compared(self) -> str:
        return f"games against the best so far, {2 * len(self.openings)} at most"

    def begin(self, adapter: Adapter) -> float:
        self.promote(adapter)
        return 0.5

    def look(self) -> Look:
        best, pairs, sure = GreedyPlayer(self.models(BEST)), np.zeros(0), log((1 - ERROR) / ERROR)
        for start in range(0, len(self.openings), CHUNK):
            returns = play_pairs(
                self.simulator,
                self.present,
                best,
                self.openings[start : start + CHUNK],
                lambda seat, start=start: np.random.default_rng([self.seed, start, seat]),  # type: ignore[misc]
            )
            pairs = np.append(pairs, points(returns).reshape(2, -1).mean(0))
            better, worse = (log_likelihood_ratio(scores, MARGIN) for scores in (pairs, 1 - pairs))
            if better >= sure or worse >= sure or max(better, worse) <= -sure:
                break
        why = {"games": 2.0 * len(pairs), "better": better, "worse": worse}
        return Look(float(pairs.mean()), better >= sure, worse >= sure, why)

    def promote(self, adapter: Adapter) -> None:
        self.policy.freeze(BEST, adapter)

    def go_back(self) -> float:
        return 0.5

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], adapter: Adapter) -> None:
        self.promote(adapter)
