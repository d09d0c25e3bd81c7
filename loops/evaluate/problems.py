"""How many held-out problems does each player solve? Greedy, and by samples at temperature 1."""

from collections.abc import Sequence

import numpy as np

from shuhari.envs import Episode, TaskEnv
from shuhari.envs.problems.heldout import (
    HELDOUT,
    SEEDS,
    ExpertAnswers,
    ExpertMode,
    HeldOutProblems,
    Solved,
    accepted,
)
from shuhari.envs.validation import expert_traces
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.evaluate.evaluation import Column, Evaluation, Row, percent
from shuhari.rewards.statistics import pass_at, share, wilson

KS = (1, 2)  # the unbiased estimator wants at least 2k samples
VALIDATION = 256  # fresh problems of the training side, at most, behind each point of the learning curve
VALIDATION_SEEDS = 2**33  # where their seeds begin: apart from training's and the held-out side's


class PolicyAnswers:
    """Who sits in the first seat, such as a policy with an adapter, answering as an expert does: see
    `ExpertAnswers`."""

    def __init__(self, rollouts: Rollouts, seats: Seats) -> None:
        self.rollouts, self.seats = rollouts, seats

    def episodes(self, seeds: Sequence[int], temperature: float) -> list[Episode]:
        """On held-out problems."""
        seats = [self.seats] * len(seeds)
        return self.rollouts.play(seeds, seats=seats, temperature=temperature, seed=SEEDS, options=HELDOUT)

    def greedy(self, seeds: Sequence[int]) -> list[Solved]:
        return [solved(episode) for episode in self.episodes(seeds, 0.0)]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Solved]]:
        flat = [solved(e) for e in self.episodes([seed for seed in seeds for _ in range(n)], 1.0)]
        return [flat[i : i + n] for i in range(0, len(flat), n)]


Answerer = PolicyAnswers | ExpertAnswers


class Problems(Evaluation[Answerer]):
    """Metrics over held-out problems of one environment. A problem is solved where the verdict says so."""

    metric = "greedy"
    claim = "solves {} of held-out problems"
    legend = (
        "greedy: held-out problems solved by the most probable answer, with Wilson's 95% interval. pass@k: "
        "by k samples at temperature 1. fixed: of the problems that the expert gets wrong, the share solved. "
        "Under a phase's name: greedy, then pass@1, on that phase's own problems."
    )
    columns = (
        Column("greedy", lambda row: percent(row["greedy"])),
        Column("ci95", lambda row: "{:.1f}-{:.1f}".format(*(100 * end for end in row["ci95"]["greedy"]))),
        Column("pass@1", lambda row: percent(row["pass_at"]["1"])),
        Column("pass@2", lambda row: percent(row["pass_at"]["2"])),
        Column("fixed", lambda row: percent(row.get("expert_failed_solved"))),
    )

    def __init__(self, rollouts: Rollouts, env: TaskEnv, heldout: HeldOutProblems, *, samples: int) -> None:
        self.rollouts, self.env, self.seeds, self.n_samples = rollouts, env, heldout.seeds, samples
        self._expert_failed: list[int] | None = None
        self.notes = notes(heldout)

    def references(self) -> dict[str, Answerer]:
        """No expert where the environment has none."""
        if not expert_traces(self.env, 1, np.random.default_rng(0)):
            return {}
        return {"expert": ExpertAnswers(self.env), "expert_mode": ExpertMode(self.env)}

    def policy(self, adapter: str | None) -> Answerer:
        return PolicyAnswers(self.rollouts, Seats({0: adapter}))

    def skill(self) -> float:
        """Greedy, on fresh training-side problems."""
        return share(map(solved, validation(self.rollouts, len(self.seeds)))) or 0.0

    def counts(self) -> dict[str, int]:
        return {"heldout_problems": len(self.seeds), "samples_per_problem": self.n_samples}

    def surely(self, row: Row) -> float:
        return float(row["ci95"]["greedy"][0])

    def brief(self) -> Sequence[Column]:
        return [column for column in self.columns if column.head in ("greedy", "pass@1")]

    @property
    def expert_failed(self) -> list[int]:
        """Which problems the expert gets wrong, asked for once."""
        if self._expert_failed is None:
            answers = self.references()["expert"].greedy(self.seeds) if self.references() else []
            self._expert_failed = [i for i, answer in enumerate(answers) if answer is False]
        return self._expert_failed

    def measure(self, name: str, player: Answerer) -> Row:
        """Means over the answers that have a verdict; how many have none is a figure of its own."""
        greedy, samples = player.greedy(self.seeds), player.samples(self.seeds, self.n_samples)
        every = [*greedy, *(s for group in samples for s in group)]
        judged = [[s for s in group if s is not None] for group in samples]
        at = {str(k): share(pass_at(len(s), sum(s), k) for s in judged if len(s) >= k) for k in KS}
        first, best = at["1"] or 0.0, share(greedy) or 0.0
        n = sum(s is not None for s in greedy)
        row: Row = {
            "pass_at": {k: value or 0.0 for k, value in at.items()},
            "greedy": best,
            "n": n,
            "ci95": {"pass_at_1": wilson(first, n), "greedy": wilson(best, n)},
            "unknown_rate": share(s is None for s in every),
        }
        if self.expert_failed:
            row["expert_failed_solved"] = share(greedy[i] for i in self.expert_failed)
        return row


def validation(rollouts: Rollouts, n: int) -> list[Episode]:
    """Greedy episodes of the present policy on `n` fresh problems of the training side, or fewer."""
    seeds = range(VALIDATION_SEEDS, VALIDATION_SEEDS + min(VALIDATION, n))
    return rollouts.play(seeds, temperature=0)


def notes(heldout: HeldOutProblems) -> tuple[str, ...]:
    """What a reader must know of the split."""
    none = "this env has no held-out side: it may be measured on problems it was trained on"
    return () if heldout.splits else (none,)


def solved(episode: Episode) -> Solved:
    """What the verdict says; an answer that never ended is none."""
    if not episode.counts:
        return None
    verdict = episode.info.get("verdict")
    return verdict is not None and accepted(verdict)
