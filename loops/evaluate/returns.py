"""How much does each player earn in an environment that pays, and gives no verdict?"""

from collections.abc import Sequence

import numpy as np

from shuhari.envs import Episode
from shuhari.envs.heldout import HeldOutProblems
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row
from shuhari.loops.evaluate.problems import PolicyAnswers, notes, validation
from shuhari.rewards.statistics import mean_interval


class Returns(Evaluation[PolicyAnswers]):
    """The mean return of the first seat, greedy and at temperature 1, with the normal 95% interval."""

    metric = "mean_return"
    perfect = None
    claim = "earns {} an episode"
    legend = "mean_return: of an episode played greedily, with its 95% interval. sampled: at temperature 1."
    columns = (
        Column("mean_return", lambda row: f"{row['mean_return']:.3f}"),
        Column("ci95", lambda row: "{:.3f} to {:.3f}".format(*row["ci95"]["mean_return"])),
        Column("sampled", lambda row: f"{row['mean_return_sampled']:.3f}"),
    )

    def __init__(self, rollouts: Rollouts, heldout: HeldOutProblems) -> None:
        self.rollouts, self.seeds = rollouts, heldout.seeds
        self.notes = (
            "this env is no TaskEnv: what it pays is measured, as a mean return",
            *notes(heldout),
        )

    def references(self) -> dict[str, PolicyAnswers]:
        return {}

    def policy(self, adapter: str | None) -> PolicyAnswers:
        return PolicyAnswers(self.rollouts, adapter)

    def skill(self) -> float:
        """Greedy, on fresh training-side problems."""
        found = _earned(validation(self.rollouts, len(self.seeds)))
        return float(np.mean(found)) if found else 0.0

    def counts(self) -> dict[str, int]:
        return {"episodes": len(self.seeds)}

    def figure(self, row: Row) -> str:
        return f"{row['mean_return']:.3f}"

    def surely(self, row: Row) -> float:
        return float(row["ci95"]["mean_return"][0])

    def measure(self, name: str, player: PolicyAnswers) -> Row:
        greedy, sampled = (_earned(player.episodes(self.seeds, temperature)) for temperature in (0.0, 1.0))
        mean, interval = mean_interval(greedy)
        return {
            "mean_return": mean,
            "mean_return_sampled": mean_interval(sampled)[0],
            "n": len(greedy),
            "ci95": {"mean_return": interval},
            "unknown_rate": round(1 - len(greedy) / len(self.seeds), 4),
        }


def _earned(episodes: Sequence[Episode]) -> list[float]:
    return [episode.reward() for episode in episodes if episode.counts]
