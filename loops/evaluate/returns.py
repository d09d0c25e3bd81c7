"""How much does each player earn in an environment that pays, and gives no verdict?"""

from collections.abc import Sequence

import numpy as np

from shuhari.envs import Episode
from shuhari.envs.player import RandomPlayer
from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.envs.validation import reset_or_fault
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row, percent
from shuhari.loops.evaluate.problems import PolicyAnswers, notes, validation
from shuhari.rewards.statistics import mean_interval

VALIDATION = 64  # episodes behind each point of the learning curve
UNTRAINED = ("random", "base")  # whom a policy must earn more than


class Returns(Evaluation[PolicyAnswers]):
    """The mean return of the first seat, greedy and at temperature 1, with normal 95% intervals.

    Where the environment says what is legal, `random` plays that uniformly, and the base and every policy are
    masked to it.
    """

    metric = "mean_return"
    perfect = None
    claim = "earns {} an episode"
    legend = (
        "mean_return: of an episode played greedily, with its 95% interval; sampled: at temperature 1. "
        "random: uniform legal play. Where the env says what is legal, all choose among that alone; legal: "
        "the probability that they would give to it unmasked."
    )
    columns = (
        Column("mean_return", lambda row: f"{row['mean_return']:.5g}"),
        Column("ci95", lambda row: "{:.5g} to {:.5g}".format(*row["ci95"]["mean_return"])),
        Column("sampled", lambda row: f"{row['mean_return_sampled']:.5g}"),
        Column("sampled ci95", lambda row: "{:.5g} to {:.5g}".format(*row["ci95"]["mean_return_sampled"])),
        Column("legal", lambda row: None if row["legal_mass"] is None else percent(row["legal_mass"])),
    )

    def __init__(self, rollouts: Rollouts, heldout: HeldOutProblems) -> None:
        self.rollouts, self.seeds = rollouts, heldout.seeds
        self.notes = (
            "this env is no TaskEnv: what it pays is measured, as a mean return",
            *notes(heldout),
        )

    def references(self) -> dict[str, PolicyAnswers]:
        """Uniform play of the legal actions, where the environment says which those are."""
        legal = reset_or_fault(self.rollouts.make(), seed=0)[1].get("legal_actions")
        return {"random": PolicyAnswers(self.rollouts, Seats(players={0: RandomPlayer()}))} if legal else {}

    def policy(self, adapter: str | None) -> PolicyAnswers:
        return PolicyAnswers(self.rollouts, Seats({0: adapter}))

    def skill(self) -> float:
        """Greedy, on fresh training-side problems."""
        found = _earned(validation(self.rollouts, min(VALIDATION, len(self.seeds))))
        return float(np.mean(found)) if found else 0.0

    def counts(self) -> dict[str, int]:
        return {"episodes": len(self.seeds)}

    def figure(self, row: Row) -> str:
        return f"{row['mean_return']:.5g}"

    def surely(self, row: Row) -> float:
        return float(row["ci95"]["mean_return"][0])

    def measure(self, name: str, player: PolicyAnswers) -> Row:
        episodes = player.episodes(self.seeds, 1.0)
        sampled = _earned(episodes)
        greedy = sampled if player.seats.players else _earned(player.episodes(self.seeds, 0.0))
        (best, interval), (mean, around) = mean_interval(greedy), mean_interval(sampled)
        return {
            "mean_return": best,
            "mean_return_sampled": mean,
            "n": len(greedy),
            "ci95": {"mean_return": interval, "mean_return_sampled": around},
            "unknown_rate": round(1 - len(greedy) / len(self.seeds), 4),
            "legal_mass": self.rollouts.legal_mass(episodes),
        }

    def sentence(self, players: dict[str, Row], learned: Sequence[str]) -> str:
        """Does the policy earn more than those who learned nothing, whichever way these play?"""
        name = next((n for n in learned if n in players), None)
        if name is None:
            return super().sentence(players, learned)
        rivals = [n for n in UNTRAINED if n in players]
        compared = ", ".join(f"{n} {self.figure(players[n])}" for n in rivals)
        unbeaten = [
            n
            for n in rivals
            if self.surely(players[name]) <= max(top for _, top in players[n]["ci95"].values())
        ]
        said = f"{name} {self.claim.format(self.figure(players[name]))} ({compared})"
        if unbeaten:
            return f"{said}: not surely more than {' and '.join(unbeaten)}, greedy or sampled."
        return f"{said}: more than {' and '.join(rivals)}, greedy or sampled, with 95% intervals apart."


def _earned(episodes: Sequence[Episode]) -> list[float]:
    return [episode.reward() for episode in episodes if episode.counts]
