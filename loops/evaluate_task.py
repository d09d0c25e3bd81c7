"""How many held-out problems does each player solve? Greedy, and by samples at temperature 1."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shuhari.envs import Episode, TaskEnv
from shuhari.loops.rollout import Rollouts, TextLike
from shuhari.policy.generator import Generator
from shuhari.rewards.statistics import pass_at, share, wilson

SAMPLES = 4  # completions a problem at temperature 1
KS = (1, 2)  # the unbiased estimator wants at least 2k samples
MODE_RUNS = 64
VALIDATION = 256  # fresh problems of the training side, at most, behind each point of the learning curve
HELDOUT = {"split": "heldout"}
Solved = bool | None  # None: no verdict could be had
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
        self.base_rollouts = Rollouts(make, Generator(generator.policy, adapter=None), max_new_tokens)
        self.problems = self._distinct(n)
        self.validation = min(VALIDATION, n)
        self._expert_failed: list[int] = []

    def _distinct(self, n: int) -> list[int]:
        """Seeds of `n` held-out problems no two of which are the same, or as many as 20·n seeds give."""
        found: dict[str, int] = {}
        self.prompts: set[str] = set()
        self.splits = True
        for seed in range(HELDOUT_SEED, HELDOUT_SEED + 20 * n):
            prompt, info = self.env.reset(seed=seed, options=HELDOUT)
            self.splits &= info.get("split") == "heldout"
            self.prompts.add(prompt)
            found.setdefault(info.get("key", prompt), seed)
            if len(found) == n:
                break
        return list(found.values())

    def is_withheld(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of imitation."""
        return prompt in self.prompts

    def skill(self) -> float:
        """The present policy's figure for the learning curve: greedy, on fresh training-side problems."""
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + self.validation)
        return share(map(_solved, self.rollouts.play(seeds, temperature=0))) or 0.0

    def describe(self) -> dict[str, int]:
        """Counts behind the shares."""
        return {"heldout_problems": len(self.problems), "samples_per_problem": SAMPLES}

    def state_dict(self) -> dict[str, Any]:
        """What the rows to come need of the rows before."""
        return {"expert_failed": self._expert_failed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._expert_failed = state["expert_failed"]

    def references(self) -> dict[str, dict[str, Any]]:
        """The players that need no training; no expert rows where the environment has no expert."""
        env = self.env.unwrapped
        rows = {}
        if isinstance(env, TaskEnv) and env.expert_traces(1, np.random.default_rng(0)):
            single = [
                [self._expert_solves(env, seed, run) for run in range(SAMPLES)] for seed in self.problems
            ]
            self._expert_failed = [i for i, solved in enumerate(single) if solved[0] is False]
            mode = [self._mode_solves(env, seed) for seed in self.problems]
            rows["expert"] = self._row([solved[0] for solved in single], single)
            rows["expert_mode"] = self._row(mode, [[m] * SAMPLES for m in mode])
        rows["base"] = self._policy_row(self.base_rollouts)
        return rows

    def policy(self, name: str) -> dict[str, Any]:
        """The present policy."""
        return self._policy_row(self.rollouts)

    def _completion(self, env: TaskEnv, seed: int, run: int) -> str:
        env.reset(seed=seed, options=HELDOUT)
        return env.expert(env.task, np.random.default_rng([seed, run])) or ""

    def _expert_solves(self, env: TaskEnv, seed: int, run: int) -> Solved:
        return _judge(env, self._completion(env, seed, run))

    def _mode_solves(self, env: TaskEnv, seed: int) -> Solved:
        """Whether the expert's most frequent completion over its seeded runs is right."""
        runs = [self._completion(env, seed, run) for run in range(MODE_RUNS)]
        return _judge(env, max(runs, key=runs.count))

    def _policy_row(self, rollouts: Rollouts) -> dict[str, Any]:
        greedy = rollouts.play(self.problems, temperature=0, options=HELDOUT)
        repeated = [seed for seed in self.problems for _ in range(SAMPLES)]
        sampled = [_solved(e) for e in rollouts.play(repeated, seed=HELDOUT_SEED, options=HELDOUT)]
        groups = [sampled[i : i + SAMPLES] for i in range(0, len(sampled), SAMPLES)]
        return self._row([_solved(e) for e in greedy], groups)

    def _row(self, greedy: Sequence[Solved], samples: Sequence[Sequence[Solved]]) -> dict[str, Any]:
        """Means over the answers that have a verdict; how many have none is a figure of its own."""
        every = [*greedy, *(s for group in samples for s in group)]
        judged = [[s for s in group if s is not None] for group in samples]
        at = {str(k): share(pass_at(len(s), sum(s), k) for s in judged if len(s) >= k) for k in KS}
        first, best = at["1"] or 0.0, share(greedy) or 0.0
        n = sum(s is not None for s in greedy)
        row: dict[str, Any] = {
            "pass_at": {k: value or 0.0 for k, value in at.items()},
            "greedy": best,
            "n": n,
            "ci95": {"pass_at_1": wilson(first, n), "greedy": wilson(best, n)},
            "unknown_rate": share(s is None for s in every),
        }
        if self._expert_failed:
            row["expert_failed_solved"] = share(greedy[i] for i in self._expert_failed)
        return row


def _solved(episode: Episode) -> Solved:
    return episode.total > 0.5 if episode.counts else None


def _judge(env: TaskEnv, completion: str) -> Solved:
    """Whether the env accepts a completion; None where it gives no verdict or falls over."""
    try:
        _, reward, _, _, info = env.step(completion)
    except Exception:  # a user's verifier: counted as unknown, as in an episode
        return None
    return reward > 0.5 if info["verdict"].counts else None
