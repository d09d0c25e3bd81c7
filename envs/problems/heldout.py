"""The held-out side of an environment of problems, the same for every player and run; its expert there."""

from collections import Counter
from collections.abc import Sequence

import gymnasium
import numpy as np

from shuhari.envs.base import TaskEnv
from shuhari.envs.contract import EnvFault, expert_answer, opening, step
from shuhari.rewards import Verdict

HELDOUT = {"split": "heldout"}  # options of reset
MODE_RUNS = 64  # seeded runs of an expert, of which the most frequent answer is its mode
Solved = bool | None  # None: no verdict could be had
SEEDS = 2**32  # where the seeds of held-out problems begin; training draws below


class HeldOutProblems:
    """`n` held-out problems no two of which are the same, or as many as 20·n seeds give.

    Problems are the same where their `key` is, or else their prompt; but in an env of somebody else's (no
    `TaskEnv`), where one prompt may begin many episodes, only where their key is.
    seeds: their task seeds; splits: whether the env has a held-out side at all
    """

    def __init__(self, env: gymnasium.Env[str, str], n: int) -> None:
        ours = isinstance(env.unwrapped, TaskEnv)
        found: dict[str, int] = {}
        self._prompts: set[str] = set()
        self.splits = True
        for seed in range(SEEDS, SEEDS + 20 * n):
            prompt, info = opening(env, seed, HELDOUT)
            self.splits &= info.get("split") == "heldout"
            self._prompts.add(prompt)
            found.setdefault(info.get("key", prompt if ours else str(seed)), seed)
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

    def _completions(self, seed: int, runs: int) -> list[str]:
        opening(self.env, seed, HELDOUT)
        task = self.env.task
        return [
            expert_answer(self.env, task, np.random.default_rng([seed, run])) or "" for run in range(runs)
        ]

    def _judge(self, seed: int, completion: str) -> Solved:
        opening(self.env, seed, HELDOUT)
        try:
            return accepted(step(self.env, completion)[4]["verdict"])
        except EnvFault:
            raise
        except (Exception, SystemExit):  # a user's verifier: counted as unknown, as in an episode
            return None

    def greedy(self, seeds: Sequence[int]) -> list[Solved]:
        """Whether the likeliest answer solves each problem, given by its seed."""
        return [self._judge(seed, *self._completions(seed, 1)) for seed in seeds]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Solved]]:
        """Whether each of `n` answers at temperature 1 solves it."""
        return [[self._judge(seed, text) for text in self._completions(seed, n)] for seed in seeds]


class ExpertMode(ExpertAnswers):
    """An expert's most frequent answer over its seeded runs, always."""

    def __init__(self, env: TaskEnv) -> None:
        super().__init__(env)
        self._known: dict[int, Solved] = {}

    def greedy(self, seeds: Sequence[int]) -> list[Solved]:
        for seed in seeds:
            if seed not in self._known:
                ((mode, _),) = Counter(self._completions(seed, MODE_RUNS)).most_common(1)
                self._known[seed] = self._judge(seed, mode)
        return [self._known[seed] for seed in seeds]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Solved]]:
        return [[answer] * n for answer in self.greedy(seeds)]
