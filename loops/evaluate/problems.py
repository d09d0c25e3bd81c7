"""How many held-out problems does each player solve, greedily and by samples at temperature 1?"""

from collections.abc import Sequence

import numpy as np

from shuhari.envs import Episode, TaskEnv
from shuhari.envs.problems.heldout import (
    HELDOUT,
    SEEDS,
    Answered,
    ExpertAnswers,
    ExpertMode,
    HeldOutProblems,
    solved,
    vote_of,
)
from shuhari.envs.validation import expert_traces
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.collect.validation import Validation
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row, percent
from shuhari.rewards.statistics import majority, metric_intervals, pass_at, share, wilson

KS = (1, 2)  # of pass@k; the unbiased estimator needs at least 2k samples
# Validation problems behind a point of the learning curve: a quarter of the held-out ones, within
VALIDATION = (64, 256)


class PolicyAnswers:
    """The answers of whoever is in the first seat, such as a policy with an adapter. `ExpertAnswers` has the
    same methods."""

    def __init__(self, rollouts: Rollouts, seats: Seats) -> None:
        self.rollouts, self.seats = rollouts, seats

    def episodes(self, seeds: Sequence[int], temperature: float) -> list[Episode]:
        """One episode for each seed, on the held-out side."""
        seats = [self.seats] * len(seeds)
        return self.rollouts.play(
            seeds, seats=seats, temperature=temperature, seed=SEEDS["heldout"], options=HELDOUT
        )

    def greedy(self, seeds: Sequence[int]) -> list[Answered]:
        return [answered(episode) for episode in self.episodes(seeds, 0.0)]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Answered]]:
        flat = [answered(e) for e in self.episodes([seed for seed in seeds for _ in range(n)], 1.0)]
        return [flat[i : i + n] for i in range(0, len(flat), n)]


Answerer = PolicyAnswers | ExpertAnswers


class Problems(Evaluation[Answerer]):
    """Measures players on held-out problems of one environment. Verdicts say which problems are solved."""

    metric = "greedy"
    claim = "solves {} of held-out problems"
    legend = (
        "greedy: share of held-out problems that the most probable answer solves, with Wilson's 95% "
        "interval. pass@k: share that one of k samples at temperature 1 solves. avg@k: mean share of all k "
        "samples that are right. maj@k: share that the most frequent of their answers solves. fixed: share "
        "solved of the problems that the expert gets wrong. Under a phase's name: greedy, then pass@1, on "
        "that phase's own problems."
    )
    columns: Sequence[Column] = (
        Column("greedy", lambda row: percent(row["greedy"])),
        Column("ci95", lambda row: "{:.1f}-{:.1f}".format(*(100 * end for end in row["ci95"]["greedy"]))),
        Column("pass@1", lambda row: percent(row["pass_at"]["1"])),
        Column("pass@2", lambda row: percent(row["pass_at"]["2"])),
        Column("fixed", lambda row: percent(row.get("expert_failed_solved"))),
    )

    def __init__(
        self,
        rollouts: Rollouts,
        env: TaskEnv,
        heldout: HeldOutProblems,
        validation: Validation,
        *,
        samples: int,
    ) -> None:
        self.rollouts, self.env, self.seeds, self.n_samples = rollouts, env, heldout.seeds, samples
        self.validation = validation
        self.columns = (*self.columns[:-1], *map(self._of_all_samples, ("avg", "maj")), self.columns[-1])
        self._expert_failed: list[int] | None = None
        self.notes = notes(heldout)

    def _of_all_samples(self, name: str) -> Column:
        k = self.n_samples
        return Column(f"{name}@{k}", lambda row: percent(row[f"{name}_at"][str(k)]))

    def references(self) -> dict[str, Answerer]:
        """The expert and its mode, where the environment has an expert."""
        if not expert_traces(self.env, 1, np.random.default_rng(0)):
            return {}
        return {"expert": ExpertAnswers(self.env), "expert_mode": ExpertMode(self.env)}

    def policy(self, adapter: str | None) -> Answerer:
        return PolicyAnswers(self.rollouts, Seats({0: adapter}))

    def skill(self) -> float:
        """Greedily, on the first validation problems."""
        fewest, most = VALIDATION
        n = min(len(self.seeds), max(fewest, min(most, len(self.seeds) // 4)))
        return share(self.validation.scores(n)) or 0.0

    def counts(self) -> dict[str, int]:
        return {"heldout_problems": len(self.seeds), "samples_per_problem": self.n_samples}

    def bound(self, row: Row) -> float:
        return float(row["ci95"]["greedy"][0])

    def brief(self) -> Sequence[Column]:
        return [column for column in self.columns if column.head in ("greedy", "pass@1")]

    @property
    def expert_failed(self) -> list[int]:
        """The numbers of the problems that the expert gets wrong. It is asked once."""
        if self._expert_failed is None:
            answers = self.references()["expert"].greedy(self.seeds) if self.references() else []
            self._expert_failed = [i for i, answer in enumerate(answers) if answer.solved is False]
        return self._expert_failed

    def measure(self, name: str, player: Answerer) -> Row:
        """Means over the answers that have a verdict. `unknown_rate` is the share of those that have none.

        Metrics are those of greedy answers, which are independent of one another.
        """
        answers, groups = player.greedy(self.seeds), player.samples(self.seeds, self.n_samples)
        greedy = [answer.solved for answer in answers]
        every = [*greedy, *(answer.solved for group in groups for answer in group)]
        judged = [[a.solved for a in group if a.solved is not None] for group in groups]
        passed = {str(k): share(pass_at(len(s), sum(s), k) for s in judged if len(s) >= k) for k in KS}
        pass_at_1, solved_greedily = passed["1"] or 0.0, share(greedy) or 0.0
        n, k = sum(answer is not None for answer in greedy), str(self.n_samples)
        average = share(sum(s) / len(s) for s in judged if s) or 0.0
        elected = share(majority((a.vote, a.solved) for a in group) for group in groups) or 0.0
        tried = sum(map(bool, judged))  # problems of which a sample has a verdict
        row: Row = {
            "pass_at": {k: value or 0.0 for k, value in passed.items()},
            "avg_at": {k: average},
            "maj_at": {k: elected},
            "greedy": solved_greedily,
            "n": n,
            "ci95": {
                "pass_at_1": wilson(pass_at_1, n),
                "greedy": wilson(solved_greedily, n),
                f"avg_at_{k}": wilson(average, tried),
                f"maj_at_{k}": wilson(elected, tried),
            },
            "unknown_rate": share(answer is None for answer in every),
        }
        if metrics := metric_intervals(a.metrics for a in answers if a.solved is not None):
            row["metrics"] = metrics
        if self.expert_failed:
            row["expert_failed_solved"] = share(greedy[i] for i in self.expert_failed)
        return row


def notes(heldout: HeldOutProblems) -> tuple[str, ...]:
    """What a reader of the report must know about the split."""
    if heldout.splits:
        return ()
    return ("this env has no held-out side: it may be measured on problems it was trained on",)


def answered(episode: Episode) -> Answered:
    """An episode as an answer. One that was never finished says nothing."""
    finished = episode.stop in ("done", "truncated") and episode.steps
    vote = vote_of(episode.steps[-1].text, episode.info) if finished else None
    return Answered(solved(episode), vote, episode.info.get("metrics", {}))
