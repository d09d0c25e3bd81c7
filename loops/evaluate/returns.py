"""How much does each player earn in an environment that gives rewards and no verdict?"""

from collections.abc import Sequence

import numpy as np

from shuhari.envs import Episode
from shuhari.envs.player import RandomPlayer
from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.envs.validation import reset_or_fault
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.collect.validation import Validation
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row
from shuhari.loops.evaluate.problems import PolicyAnswers, notes
from shuhari.loops.evaluate.skill_curve import percent
from shuhari.rewards.statistics import Scores, mean_interval, metric_intervals

UNTRAINED = ("random", "base")  # players that a policy must surpass


class Returns(Evaluation[PolicyAnswers]):
    """Measures the mean return of the first seat, greedily and at temperature 1, with normal 95% intervals.

    Where the environment gives legal actions, `random` draws from them uniformly, and the base and every
    policy choose among them only.
    """

    metric = "mean_return"
    perfect = None
    unit = ""
    claim = "earns {} an episode"
    legend = (
        "mean_return: of greedy episodes, with its 95% interval; sampled: of episodes at temperature 1. "
        "random: uniform play of legal actions. Where the env gives legal actions, all players choose among "
        "them only; legal: the probability that a policy gives to them without that limit."
    )
    columns = (
        Column("mean_return", lambda row: f"{row['mean_return']:.5g}"),
        Column("ci95", lambda row: "{:.5g} to {:.5g}".format(*row["ci95"]["mean_return"])),
        Column("sampled", lambda row: f"{row['mean_return_sampled']:.5g}"),
        Column("sampled ci95", lambda row: "{:.5g} to {:.5g}".format(*row["ci95"]["mean_return_sampled"])),
        Column("legal", lambda row: None if row["legal_mass"] is None else percent(row["legal_mass"])),
    )

    def __init__(self, rollouts: Rollouts, heldout: HeldOutProblems, validation: Validation) -> None:
        self.rollouts, self.seeds, self.validation = rollouts, heldout.seeds, validation
        self._watched: Scores = ()  # behind the last `skill`
        self.notes = (
            "this env is no TaskEnv: the mean return is measured",
            *notes(heldout),
        )

    def references(self) -> dict[str, PolicyAnswers]:
        """The random player, where the environment gives legal actions."""
        legal = reset_or_fault(self.rollouts.make(), seed=0)[1].get("legal_actions")
        return {"random": PolicyAnswers(self.rollouts, Seats(players={0: RandomPlayer()}))} if legal else {}

    def policy(self, adapter: str | None) -> PolicyAnswers:
        return PolicyAnswers(self.rollouts, Seats({0: adapter}))

    def skill(self) -> float:
        """Greedily, on the validation problems."""
        self._watched = self.validation.scores()
        returns = [score for score in self._watched if score is not None]
        return float(np.mean(returns)) if returns else 0.0

    def interval(self, skill: float, scores: Scores | None = None) -> tuple[float, float]:
        """By the normal approximation."""
        known = [score for score in (self._watched if scores is None else scores) if score is not None]
        low, high = mean_interval(known)[1] if known else (skill, skill)
        return low, high

    def counts(self) -> dict[str, int]:
        return {"episodes": len(self.seeds)}

    def figure(self, row: Row) -> str:
        return f"{row['mean_return']:.5g}"

    def bound(self, row: Row) -> float:
        return float(row["ci95"]["mean_return"][0])

    def measure(self, name: str, player: PolicyAnswers) -> Row:
        """Metrics are those of the greedy episodes."""
        episodes = player.episodes(self.seeds, 1.0)
        likeliest = episodes if player.seats.players else player.episodes(self.seeds, 0.0)
        sampled, greedy = _returns(episodes), _returns(likeliest)
        metrics = metric_intervals(e.info.get("metrics", {}) for e in likeliest if e.counts)
        greedy_mean, greedy_interval = mean_interval(greedy)
        sampled_mean, sampled_interval = mean_interval(sampled)
        return {
            "mean_return": greedy_mean,
            "mean_return_sampled": sampled_mean,
            "n": len(greedy),
            "ci95": {"mean_return": greedy_interval, "mean_return_sampled": sampled_interval},
            "unknown_rate": round(1 - len(greedy) / len(self.seeds), 4),
            "legal_mass": self.rollouts.legal_mass(episodes),
            **({"metrics": metrics} if metrics else {}),
        }

    def sentence(self, players: dict[str, Row], trained: Sequence[str]) -> str:
        """Whether the policy earns more than the untrained players, greedy or sampled."""
        name = next((n for n in trained if n in players), None)
        if name is None:
            return super().sentence(players, trained)
        row, rivals = players[name], [n for n in UNTRAINED if n in players]
        compared = ", ".join(f"{n} {self.figure(players[n])}" for n in rivals)
        best = {n: max(high for _, high in players[n]["ci95"].values()) for n in rivals}
        others = [n for n in rivals if self.bound(row) <= best[n]]
        claim = f"{name} {self.claim.format(self.figure(row))} ({compared})"
        if others:
            return f"{claim}: not surely more than {' and '.join(others)}, greedy or sampled."
        return f"{claim}: more than {' and '.join(rivals)}, greedy or sampled, with 95% intervals apart."


def _returns(episodes: Sequence[Episode]) -> list[float]:
    return [episode.reward() for episode in episodes if episode.counts]
