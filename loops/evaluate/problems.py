"""How many held-out problems does each player solve, greedily and by samples at temperature 1?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shuhari.envs import Episode, TaskEnv
from shuhari.envs.problems.heldout import (
    HELDOUT,
    SEEDS,
    Answered,
    ExpertAnswers,
    ExpertMode,
    HeldOutProblems,
    episode_vote,
    solved,
)
from shuhari.envs.validation import expert_traces
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.collect.validation import Validation
from shuhari.loops.evaluate.evaluation import MISTAKES, Column, Curves, Evaluation, Row
from shuhari.loops.evaluate.samples import curves, sizes, worth_of_one_sample
from shuhari.loops.evaluate.skill_curve import percent
from shuhari.rewards.statistics import Scores, metric_intervals, share, wilson

KS = (1, 2)  # of pass@k in the table; the unbiased estimator needs at least 2k samples
MANY = 16  # from twice as many samples on, the table has the largest k that the estimator allows
NO_SIDE = "no problem is on the validation side: training may draw what steers it"
LONGEST = 2_000  # characters of an answer that a row keeps
RIVAL = "imitation"  # one sample of a later player is compared with several of this one
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
        """Wrong ones with their text, which a row keeps of some."""
        found = [(answered(e), e) for e in self.episodes(seeds, 0.0)]
        return [replace(a, text=self.shown(e)) if a.solved is False else a for a, e in found]

    def shown(self, episode: Episode) -> str:
        """An episode as its reader saw it."""
        decode = self.rollouts.generator.policy.decode
        return "\n".join(f"{decode(step.prompt)}{step.text}" for step in episode.steps)[:LONGEST]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Answered]]:
        flat = [answered(e) for e in self.episodes([seed for seed in seeds for _ in range(n)], 1.0)]
        return [flat[i : i + n] for i in range(0, len(flat), n)]


Answerer = PolicyAnswers | ExpertAnswers


class Problems(Evaluation[Answerer]):
    """Measures players on held-out problems of one environment. Verdicts say which problems are solved."""

    metric = "greedy"
    claim = "solves {} of held-out problems"
    curves_title = "skill against samples"
    curves_legend = (
        "Share of held-out problems, in %, that k samples at temperature 1 solve. best of: the verifier "
        "accepts one of them. majority: it accepts their most frequent answer; of equally frequent ones, the "
        "first. Both are means over all draws of k from the samples; with all of them there is one draw. 95% "
        "intervals are in report.json."
    )
    legend = (
        "greedy: share of held-out problems that the most probable answer solves, with Wilson's 95% "
        "interval. pass@k: share that one of k samples at temperature 1 solves. avg@k: mean share of all k "
        "samples that are right. maj@k: share that the most frequent of their answers solves. fixed: share "
        "solved of the problems that the expert gets wrong. Under a phase's name: greedy, then pass@1, on "
        "that phase's own problems."
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
        most = max((k for k in sizes(samples) if 2 * k <= samples), default=0)
        # A wide table would not fit: of so many samples pass@1 is avg@k.
        third = _of_samples("pass", most) if most >= MANY else _of_samples("avg", samples)
        self.columns = (
            Column("greedy", lambda row: percent(row["greedy"])),
            Column("ci95", lambda row: "{:.1f}-{:.1f}".format(*(100 * end for end in row["ci95"]["greedy"]))),
            *(_of_samples("pass", k) for k in KS),
            third,
            _of_samples("maj", samples),
            Column("fixed", lambda row: percent(row.get("expert_failed_solved"))),
        )
        self._expert_failed: list[int] | None = None
        self._watched: Scores = ()  # behind the last `skill`
        self.notes = (*notes(heldout), *([] if validation.apart else [NO_SIDE]))

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
        self._watched = self.validation.scores(n)
        return share(self._watched) or 0.0

    def interval(self, skill: float, scores: Scores | None = None) -> tuple[float, float]:
        """Wilson's."""
        known = [score for score in (self._watched if scores is None else scores) if score is not None]
        low, high = wilson(skill, len(known))
        return low, high

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

        Metrics are those of greedy answers, which are independent of one another. `outcomes` says of each
        problem, in their order, what became of the greedy answer (1, 0, or ? without a verdict) and how many
        samples were right, so that players and runs can be compared problem by problem. `mistakes` has the
        texts of some wrong ones.
        """
        answers, groups = player.greedy(self.seeds), player.samples(self.seeds, self.n_samples)
        greedy = [answer.solved for answer in answers]
        every = [*greedy, *(answer.solved for group in groups for answer in group)]
        n, solved_greedily = sum(solved is not None for solved in greedy), share(greedy) or 0.0
        tried = sum(any(a.solved is not None for a in group) for group in groups)
        by_kind = curves(groups, self.n_samples)
        of_samples = {
            "pass_at": by_kind["best_of"],
            "avg_at": {self.n_samples: by_kind["best_of"][1]},
            "maj_at": by_kind["majority"],
        }
        row: Row = {
            **{name: {str(k): value for k, value in curve.items()} for name, curve in of_samples.items()},
            "greedy": solved_greedily,
            "n": n,
            "ci95": {
                "greedy": wilson(solved_greedily, n),
                **{
                    f"{name}_{k}": wilson(value, tried)
                    for name, curve in of_samples.items()
                    for k, value in curve.items()
                },
            },
            "unknown_rate": share(solved is None for solved in every),
            "outcomes": {
                "greedy": "".join("?01"[1 + solved if solved is not None else 0] for solved in greedy),
                "right": [sum(answer.solved is True for answer in group) for group in groups],
            },
        }
        if mistakes := [{"text": a.text} for a in answers if a.text and a.solved is False]:
            row["mistakes"] = mistakes[:MISTAKES]
        if metrics := metric_intervals(a.metrics for a in answers if a.solved is not None):
            row["metrics"] = metrics
        if self.expert_failed:
            row["expert_failed_solved"] = share(greedy[i] for i in self.expert_failed)
        return row

    def curves(self, players: dict[str, Row]) -> dict[str, Curves]:
        """Of all but the expert's mode, which has one answer."""
        kinds = {"best_of": "pass_at", "majority": "maj_at"}
        return {
            name: {kind: {int(k): value for k, value in row[key].items()} for kind, key in kinds.items()}
            for name, row in players.items()
            if name != "expert_mode"
        }

    def samples_worth(self, players: dict[str, Row], trained: Sequence[str]) -> dict[str, Any] | None:
        name = next((n for n in trained if n in players), RIVAL)
        if name == RIVAL or RIVAL not in players:
            return None
        if not (level := players[name]["pass_at"]["1"]):
            return None
        return worth_of_one_sample(name, level, RIVAL, self.curves(players)[RIVAL])


def _of_samples(name: str, k: int) -> Column:
    return Column(f"{name}@{k}", lambda row: percent(row[f"{name}_at"].get(str(k))))


def notes(heldout: HeldOutProblems) -> tuple[str, ...]:
    """What a reader of the report must know about the split."""
    if heldout.splits:
        return ()
    return ("this env has no held-out side: it may be measured on problems it was trained on",)


def answered(episode: Episode) -> Answered:
    """An episode as an answer."""
    return Answered(solved(episode), episode_vote(episode), episode.info.get("metrics", {}))
