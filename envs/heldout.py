"""The held-out side of an environment of problems, the same for every player and run; its expert there."""

from collections.abc import Sequence

import gymnasium
import numpy as np

from shuhari.envs.text import TaskEnv
from shuhari.rewards import Verdict

HELDOUT = {"split": "heldout"}  # options of reset
MODE_RUNS = 64  # seeded runs of an expert, of which the most frequent answer is its mode
Solved = bool | None  # None: no verdict could be had
SEEDS = 2**32  # where the seeds of held-out problems begin; training draws below


class HeldOutProblems:
    """`n` held-out problems no two of which are the same, or as many as 20·n seeds give.

    seeds: their task seeds; splits: whether the env has a held-out side at all
    """

    def __init__(self, env: gymnasium.Env[str, str], n: int) -> None:
        found: dict[str, int] = {}
        self._prompts: set[str] = set()
        self.splits = True
        for seed in range(SEEDS, SEEDS + 20 * n):
            prompt, info = env.reset(seed=seed, options=HELDOUT)
            self.splits &= info.get("split") == "heldout"
            self._prompts.add(prompt)
            found.setdefault(info.get("key", prompt), seed)
            if len(found) == n:
                break
        self.seeds = list(found.values())

    def withholds(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of training."""
        return prompt in self._prompts


def accepted(verdict: Verdict) -> Solved:
    """What a verdict says of an answer."""
    return verdict.status == "correct" if verdict.counts else None


class ExpertAnswers:
    """An environment's expert: one run of its is one sample, and its greedy answer the first."""

    def __init__(self, env: TaskEnv) -> None:
        self.env = env

    def _completion(self, seed: int, run: int) -> str:
        self.env.reset(seed=seed, options=HELDOUT)
        return self.env.expert(self.env.task, np.random.default_rng([seed, run])) or ""

    def _judge(self, completion: str) -> Solved:
        try:
            return accepted(self.env.step(completion)[4]["verdict"])
        except Exception:  # a user's verifier: counted as unknown, as in an episode
            return None

    def greedy(self, seeds: Sequence[int]) -> list[Solved]:
        """Whether the likeliest answer solves each problem, given by its seed."""
        return [self._judge(self._completion(seed, 0)) for seed in seeds]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Solved]]:
        """Whether each of `n` answers at temperature 1 solves it."""
        return [[self._judge(self._completion(seed, run)) for run in range(n)] for seed in seeds]


class ExpertMode(ExpertAnswers):
    """An expert's most frequent answer over its seeded runs, always."""

    def greedy(self, seeds: Sequence[int]) -> list[Solved]:
        found = []
        for seed in seeds:
            runs = [self._completion(seed, run) for run in range(MODE_RUNS)]
            found.append(self._judge(max(runs, key=runs.count)))
        return found

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Solved]]:
        return [[answer] * n for answer in self.greedy(seeds)]
