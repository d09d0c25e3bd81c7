"""Groups of episodes: what every source that samples them shares."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng, Source
from shuhari.policy.policy import LEARNING

Groups = dict[int, list[Episode]]  # by task seed: those that have a verdict


def learned(episode: Episode) -> Iterator[tuple[int, Step]]:
    """The steps of an episode that the learning adapter sampled, with their numbers."""
    return ((n, s) for n, s in enumerate(episode.steps) if s.adapter == LEARNING and s.completion)


def rewards(episode: Episode) -> dict[int, float]:
    """What each seat of the learning adapter's has earned."""
    return {step.seat: episode.reward(step.seat) for _, step in learned(episode)}


def mixed(groups: Groups) -> list[list[Episode]]:
    """The groups that say something: not all earned the same."""
    return [g for g in groups.values() if any(a != rewards(g[0]) for a in map(rewards, g))]


def bar(group: Sequence[Episode], seat: int = 0) -> float:
    """What a good episode earns more than: nothing, where a verifier says what is right; elsewhere what its
    group earns on average, for what is paid may never be above 0. Where all earn the same none is good."""
    if any(episode.info.get("verdict") is not None for episode in group):
        return 0.0
    earned = [episode.reward(seat) for episode in group]
    return max(earned) if min(earned) == max(earned) else float(np.mean(earned))


class SamplingSource(Source):
    """A source that plays groups: `play` and `grouped` keep count of what it saw."""

    def __init__(self, rollouts: Rollouts, rounds: int, rng: Rng, updates: int = 1, replay: int = 0) -> None:
        super().__init__(rounds, rng, updates, replay)
        self.rollouts = rollouts
        self._last: Episode | None = None

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
        self._last = episodes[0]
        groups: Groups = defaultdict(list)
        for episode in episodes:
            if episode.counts:
                groups[episode.seed].append(episode)
            elif not self.trouble:
                self.trouble = str(episode.info.get("verdict") or episode.info.get("error"))
        unjudged = len(episodes) - sum(map(len, groups.values()))
        self.unjudged += unjudged
        self.figures = {
            "uncounted": unjudged / len(episodes),
            "overlong": float(np.mean([episode.stop == "overlong" for episode in episodes])),
            "tokens_per_episode": float(np.mean([sum(len(s.completion) for s in e.steps) for e in episodes])),
        }
        if (mass := self.rollouts.legal_mass(episodes)) is not None:
            self.figures["legal_mass"] = mass
        if groups:
            earned = [r for g in groups.values() for e in g for r in rewards(e).values()]
            self.figures["reward"] = float(np.mean(earned or [0.0]))
            self.figures["informative_groups"] = len(mixed(groups)) / len(groups)
        return groups

    def sample(self) -> str:
        steps, decode = self._last.steps if self._last else (), self.rollouts.generator.policy.decode
        lines = [f"{decode(step.prompt)}{step.text}   (reward {step.reward:g})" for step in steps]
        return "\n".join([*lines, f"ended: {self._last.stop if self._last else 'before it began'}"])
