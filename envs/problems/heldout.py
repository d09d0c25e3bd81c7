"""The problems of a side of an environment, the same for every player and run, and its expert on them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from shuhari.envs import validation
from shuhari.envs.progress import counted
from shuhari.envs.task_env import Split, TaskEnv
from shuhari.envs.types import Episode
from shuhari.envs.validation import EnvFault
from shuhari.rewards import Verdict
from shuhari.rewards.math.answer_key import answer_key

HELDOUT = {"split": "heldout"}  # the options of reset
MODE_RUNS = 64  # runs of an expert; the most frequent answer is its mode
Solved = bool | None  # None: there is no verdict
# The first seed of each side; those of training are smaller.
SEEDS: dict[Split, int] = {"heldout": 2**32, "validation": 2**33}


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer to a problem.

    solved: whether the verdict accepts it; None: there is no verdict
    vote: what it says, for a vote; None: it says nothing
    metrics: what the environment measures beside the reward
    text: the problem and the answer, for a reader; "" where nobody has kept it
    """

    solved: Solved
    vote: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


class HeldOutProblems:
    """`n` different problems of a side that is not trained on, or fewer if 20·n seeds do not give so many.

    Problems with the same `key` are the same, or without keys those with the same prompt. In an environment
    that is not a `TaskEnv`, many episodes may begin with one prompt, so only keys count.
    seeds: the seed of each problem; splits: whether the environment has that side
    """

    def __init__(self, env: gymnasium.Env[str, str], n: int, split: Split = "heldout") -> None:
        is_task_env = isinstance(env.unwrapped, TaskEnv)
        found: dict[str, int] = {}
        self.prompts: set[str] = set()  # without the spaces around them
        self.splits = True
        for seed in range(SEEDS[split], SEEDS[split] + 20 * n):
            prompt, info = validation.reset_or_fault(env, seed, {"split": split})
            self.splits &= info.get("split") == split
            self.prompts.add(prompt.strip())
            found.setdefault(info.get("key", prompt if is_task_env else str(seed)), seed)
            if len(found) == n:
                break
        self.seeds = list(found.values())

    def withholds(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of training."""
        return prompt.strip() in self.prompts


def accepted(verdict: Verdict) -> Solved:
    """Whether the verdict is `correct`; None if it is unknown or an error."""
    return verdict.status == "correct" if verdict.counts else None


def solved(episode: Episode) -> Solved:
    """Whether the verdict accepts the answer. None: there is no verdict. False: the answer did not end."""
    if not episode.counts:
        return None
    verdict = episode.info.get("verdict")
    return verdict is not None and accepted(verdict)


def vote_of(completion: str, info: Mapping[str, Any]) -> str | None:
    """What an answer says: the environment's own word, or else the key of its text."""
    answer: str | None = info.get("answer")
    return answer_key(completion) if answer is None else answer


def episode_vote(episode: Episode) -> str | None:
    """What an episode's last completion says. One that was never finished says nothing."""
    finished = episode.stop in ("done", "truncated") and episode.steps
    return vote_of(episode.steps[-1].text, episode.info) if finished else None


class ExpertAnswers:
    """The answers of an environment's expert. Each run is a sample, and the first is its greedy answer."""

    def __init__(self, env: TaskEnv) -> None:
        self.env = env

    def _completions(self, seed: int, runs: int) -> list[str]:
        validation.reset_or_fault(self.env, seed, HELDOUT)
        task, rngs = self.env.task, [np.random.default_rng([seed, run]) for run in range(runs)]
        return [validation.expert_answer(self.env, task, rng) or "" for rng in rngs]

    def _judge(self, seed: int, completion: str) -> Answered:
        validation.reset_or_fault(self.env, seed, HELDOUT)
        try:
            info = validation.step(self.env, completion)[4]
        except EnvFault:
            raise
        except (Exception, SystemExit):  # a user's verifier may raise: that is unknown, as in an episode
            return Answered(None)
        return Answered(accepted(info["verdict"]), vote_of(completion, info), info.get("metrics", {}))

    def greedy(self, seeds: Sequence[int]) -> list[Answered]:
        """The greedy answer to each problem, given by its seed."""
        return [self._judge(seed, *self._completions(seed, 1)) for seed in counted("problems", seeds)]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Answered]]:
        """`n` sampled answers to each problem."""
        problems = counted("problems", seeds)
        return [[self._judge(seed, text) for text in self._completions(seed, n)] for seed in problems]


class ExpertMode(ExpertAnswers):
    """An expert's most frequent answer over its runs, as its only answer."""

    def __init__(self, env: TaskEnv) -> None:
        super().__init__(env)
        self._known: dict[int, Answered] = {}

    def greedy(self, seeds: Sequence[int]) -> list[Answered]:
        for seed in counted("problems", seeds):
            if seed not in self._known:
                ((mode, _),) = Counter(self._completions(seed, MODE_RUNS)).most_common(1)
                self._known[seed] = self._judge(seed, mode)
        return [self._known[seed] for seed in seeds]

    def samples(self, seeds: Sequence[int], n: int) -> list[list[Answered]]:
        return [[answer] * n for answer in self.greedy(seeds)]
