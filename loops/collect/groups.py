"""Groups of episodes: what every source that samples them shares."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Source
from shuhari.policy.lm import LEARNING

Groups = dict[int, list[Episode]]  # by task seed: those that have a verdict


def learned(episode: Episode) -> Iterator[tuple[int, Step]]:
    """The steps of an episode that the learning adapter sampled, with their numbers."""
    return ((n, s) for n, s in enumerate(episode.steps) if s.adapter == LEARNING and s.completion)


def earned(episode: Episode) -> bool:
    """Whether a seat of the learning adapter's has earned something."""
    return any(episode.reward(step.seat) > 0 for _, step in learned(episode))


class SamplingSource(Source):
    """A source that plays groups: `play` and `grouped` keep count of what it saw."""

    def __init__(
        self, rollouts: Rollouts, rounds: int, rng: np.random.Generator, updates: int = 1, replay: int = 0
    ) -> None:
        super().__init__(rounds, rng, updates, replay)
        self.rollouts = rollouts
        self._sample = ""

    def problems(self, n: int) -> list[int]:
        """Seeds of new problems."""
        return [int(seed) for seed in self.rng.integers(2**31, size=n)]

    def play(
        self, problems: Sequence[int], samples: int, temperature: float = 1.0, explore: int = 0
    ) -> list[Episode]:
        """A group of episodes of each problem."""
        seeds = [problem for problem in problems for _ in range(samples)]
        seed = int(self.rng.integers(2**31))
        return self.rollouts.play(seeds, temperature=temperature, seed=seed, explore=explore)

    def grouped(self, episodes: Sequence[Episode]) -> Groups:
        """Groups of the episodes that have a verdict, and figures of all of them."""
        self.episodes += len(episodes)
        self._sample = self._transcript(episodes[0])
        groups: Groups = defaultdict(list)
        for episode in episodes:
            if episode.counts:
                groups[episode.seed].append(episode)
            elif not self.trouble:
                self.trouble = str(episode.info.get("verdict") or episode.info.get("error"))
        self.figures = {
            "uncounted": 1 - sum(map(len, groups.values())) / len(episodes),
            "overlong": float(np.mean([episode.stop == "overlong" for episode in episodes])),
            "tokens_per_episode": float(np.mean([sum(len(s.completion) for s in e.steps) for e in episodes])),
        }
        if groups:
            rewards = [e.reward(step.seat) for g in groups.values() for e in g for _, step in learned(e)]
            self.figures["reward"] = float(np.mean(rewards))
            self.figures["informative_groups"] = len(mixed(groups)) / len(groups)
        return groups

    def _transcript(self, episode: Episode) -> str:
        decode = self.rollouts.generator.policy.decode
        lines = [f"{decode(step.prompt)}{step.text}   (reward {step.reward:g})" for step in episode.steps]
        return "\n".join([*lines, f"ended: {episode.stop}"])

    def sample(self) -> str:
        return self._sample


def mixed(groups: Groups) -> list[list[Episode]]:
    """The groups that say something: not all earned the same."""
    return [g for g in groups.values() if len({episode.returns for episode in g}) > 1]
