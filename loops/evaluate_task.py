"""How many held-out problems does each player solve? Greedy, and by samples at temperature 1."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shuhari.envs import Episode, TaskEnv
from shuhari.loops.rollout import Rollouts, TextLike
from shuhari.loops.statistics import pass_at, wilson
from shuhari.policy.generator import Generator

SAMPLES = 4  # completions a problem at temperature 1
KS = (1, 2)  # the unbiased estimator wants at least 2k samples
MODE_RUNS = 64
VALIDATION = 256  # fresh problems of the training side behind each point of the learning curve
# Held-out problems, validation and training draw their seeds from ranges of their own.
HELDOUT_SEED, VALIDATION_SEED = 2**32, 2**33


class TaskEvaluation:
    """Metrics over `n` distinct held-out problems of one environment, the same for every player and run."""

    skill_name = "greedy"
    perfect = 1.0

    def __init__(
        self, make: Callable[[], TextLike], generator: Generator, *, n: int, max_new_tokens: int
    ) -> None:
        self.env, self.generator = make(), generator
        self.rollouts = Rollouts(make, generator, max_new_tokens)
        self.base_rollouts = Rollouts(make, Generator(generator.policy, adapter=False), max_new_tokens)
        self.problems = self._distinct(n)
        self._expert_failed: set[int] | None = None

    def _distinct(self, n: int) -> list[int]:
        """Seeds of `n` held-out problems no two of which are the same, or as many as 20·n seeds give."""
        found: dict[str, int] = {}
        for seed in range(HELDOUT_SEED, HELDOUT_SEED + 20 * n):
            observation, info = self.env.reset(seed=seed, options={"split": "heldout"})
            found.setdefault(info.get("key", observation), seed)
            if len(found) == n:
                break
        return list(found.values())

    def skill(self) -> float:
        """The present policy's figure for the learning curve: greedy, on fresh training-side problems."""
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION)
        episodes = self.rollouts.play(seeds, temperature=0)
        return float(np.mean([e.total for e in episodes if e.counts] or [0.0]))

    def describe(self) -> dict[str, int]:
        """Counts behind the shares."""
        return {"heldout_problems": len(self.problems), "samples_per_problem": SAMPLES}

    def references(self) -> dict[str, dict[str, Any]]:
        """The players that need no training; no expert rows where the environment has no expert."""
        env = self.env.unwrapped
        rows = {}
        if isinstance(env, TaskEnv) and env.expert_traces(1, np.random.default_rng(0)):
            single = [
                [self._expert_solves(env, seed, run) for run in range(SAMPLES)] for seed in self.problems
            ]
            self._expert_failed = {i for i, solved in enumerate(single) if not solved[0]}
            mode = [self._mode_solves(env, seed) for seed in self.problems]
            rows["expert"] = self._row([solved[0] for solved in single], single, 0.0)
            rows["expert_mode"] = self._row(mode, [[m] * SAMPLES for m in mode], 0.0)
        rows["base"] = self._policy_row(self.base_rollouts)
        return rows

    def policy(self, name: str) -> dict[str, Any]:
        """The present policy."""
        return self._policy_row(self.rollouts)

    def _completion(self, env: TaskEnv, seed: int, run: int) -> str:
        env.reset(seed=seed, options={"split": "heldout"})
        return env.expert(env.task, np.random.default_rng([seed, run])) or ""

    def _expert_solves(self, env: TaskEnv, seed: int, run: int) -> bool:
        return env.step(self._completion(env, seed, run))[1] > 0.5

    def _mode_solves(self, env: TaskEnv, seed: int) -> bool:
        """Whether the expert's most frequent completion over its seeded runs is right."""
        runs = [self._completion(env, seed, run) for run in range(MODE_RUNS)]
        return env.step(max(runs, key=runs.count))[1] > 0.5

    def _policy_row(self, rollouts: Rollouts) -> dict[str, Any]:
        heldout = {"split": "heldout"}
        greedy = rollouts.play(self.problems, temperature=0, options=heldout)
        repeated = [seed for seed in self.problems for _ in range(SAMPLES)]
        sampled = rollouts.play(repeated, temperature=1.0, seed=HELDOUT_SEED, options=heldout)
        groups = [sampled[i : i + SAMPLES] for i in range(0, len(sampled), SAMPLES)]
        unknown = float(np.mean([not e.counts for e in (*greedy, *sampled)]))
        return self._row([_solved(e) for e in greedy], [[_solved(e) for e in g] for g in groups], unknown)

    def _row(
        self, greedy: Sequence[bool], samples: Sequence[Sequence[bool]], unknown: float
    ) -> dict[str, Any]:
        n = len(greedy)
        at = {str(k): round(float(np.mean([pass_at(len(s), sum(s), k) for s in samples])), 4) for k in KS}
        row: dict[str, Any] = {
            "pass_at": at,
            "greedy": round(float(np.mean(greedy)), 4),
            "n": n,
            "ci95": {"pass_at_1": wilson(at["1"], n), "greedy": wilson(float(np.mean(greedy)), n)},
            "unknown_rate": round(unknown, 4),
        }
        if self._expert_failed:
            row["expert_failed_solved"] = round(float(np.mean([greedy[i] for i in self._expert_failed])), 4)
        return row


def _solved(episode: Episode) -> bool:
    return episode.counts and episode.total > 0.5
