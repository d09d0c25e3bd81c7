"""How much does each player earn in an environment that pays, and gives no verdict?"""

import math
from collections.abc import Sequence

import numpy as np

from shuhari.envs import Episode
from shuhari.envs.heldout import HELDOUT, SEEDS, HeldOutProblems
from shuhari.envs.player import Player
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row
from shuhari.loops.evaluate.problems import VALIDATION, VALIDATION_SEEDS

Z = 1.96  # of a 95% interval


class Earner:
    """Seat 0's returns of a policy with an adapter."""

    def __init__(self, rollouts: Rollouts, adapter: str | None) -> None:
        self.rollouts, self.seats = rollouts, Seats({0: adapter})

    def returns(self, seeds: Sequence[int], temperature: float) -> list[float]:
        seats = [self.seats] * len(seeds)
        return _earned(
            self.rollouts.play(seeds, seats=seats, temperature=temperature, seed=SEEDS, options=HELDOUT)
        )


class Returns(Evaluation[Earner]):
    """The mean return of the first seat, greedy and at temperature 1, with the normal 95% interval."""

    metric = "mean_return"
    perfect = None
    claim = "earns {} an episode"
    legend = "mean_return: of an episode played greedily, with its 95% interval. sampled: at temperature 1."
    columns = (
        Column("mean_return", lambda row: f"{row['mean_return']:.3f}"),
        Column("ci95", lambda row: "{:.3f}-{:.3f}".format(*row["ci95"]["mean_return"])),
        Column("sampled", lambda row: f"{row['mean_return_sampled']:.3f}"),
    )

    def __init__(self, rollouts: Rollouts, heldout: HeldOutProblems) -> None:
        self.rollouts, self.seeds = rollouts, heldout.seeds
        self._validation = range(VALIDATION_SEEDS, VALIDATION_SEEDS + min(VALIDATION, len(self.seeds)))
        self.notes = ("this env gives no verdict: what it pays is measured, as a mean return",)
        if not heldout.splits:
            self.notes += ("this env has no held-out side: it may be measured on problems it was trained on",)

    def references(self) -> dict[str, Earner]:
        return {}

    def policy(self, adapter: str | None) -> Earner:
        return Earner(self.rollouts, adapter)

    def searcher(self, player: Player) -> Earner:
        raise ValueError("a search among moves plays no episode")

    def skill(self) -> float:
        """Greedy, on fresh training-side problems."""
        found = _earned(self.rollouts.play(self._validation, temperature=0))
        return float(np.mean(found)) if found else 0.0

    def counts(self) -> dict[str, int]:
        return {"episodes": len(self.seeds)}

    def figure(self, row: Row) -> str:
        return f"{row['mean_return']:.3f}"

    def surely(self, row: Row) -> float:
        return float(row["ci95"]["mean_return"][0])

    def measure(self, name: str, player: Earner) -> Row:
        greedy, sampled = (player.returns(self.seeds, temperature) for temperature in (0.0, 1.0))
        mean, half = _interval(greedy)
        return {
            "mean_return": mean,
            "mean_return_sampled": _interval(sampled)[0],
            "n": len(greedy),
            "ci95": {"mean_return": [round(mean - half, 4), round(mean + half, 4)]},
            "unknown_rate": round(1 - len(greedy) / len(self.seeds), 4),
        }


def _earned(episodes: Sequence[Episode]) -> list[float]:
    return [episode.reward() for episode in episodes if episode.counts]


def _interval(returns: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its interval."""
    if not returns:
        return 0.0, 0.0
    spread = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    return round(float(np.mean(returns)), 4), Z * spread / math.sqrt(len(returns))
