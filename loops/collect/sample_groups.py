"""Phase 2 by reward alone: the policy answers each problem many times, and learns from all of it, once."""

from collections.abc import Iterator

import numpy as np

from shuhari.envs import Episode
from shuhari.loops.collect.groups import SamplingSource, learned, mixed
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.loops.config import SampleGroupsConfig
from shuhari.loops.learn.batch import Batch


class SampleGroups(SamplingSource):
    """One round is a group of episodes for each of some problems, and one batch of all their steps.

    The credit of a step is its seat's undiscounted return-to-go (`Episode.reward_to_go`), its advantage that
    less the group's mean credit of the same seat at its step of the same number, or its last where it made
    fewer: GRPO's baseline (Shao et al. 2024), kept apart by seat and step.
    Groups in which all earned the same say nothing and are left out. Episodes without a verdict are unseen.
    """

    def __init__(self, rollouts: Rollouts, cfg: SampleGroupsConfig, rng: Rng) -> None:
        super().__init__(rollouts, cfg.rounds, rng)
        self.cfg = cfg

    def batches(self, number: int) -> Iterator[Batch]:
        groups = self.grouped(self.play(self.problems(self.cfg.problems), self.cfg.samples))
        if informative := mixed(groups):
            yield advantages(informative)


def advantages(groups: list[list[Episode]]) -> Batch:
    """Every step of the learning adapter's, with its advantage."""
    rows = []
    for number, group in enumerate(groups):
        for seat in sorted({step.seat for episode in group for _, step in learned(episode)}):
            own = [[(n, s) for n, s in learned(episode) if s.seat == seat] for episode in group]
            credits = [
                [episode.reward_to_go(n) for n, _ in steps] or [episode.reward(seat)]
                for episode, steps in zip(group, own, strict=True)
            ]
            for k in range(max(map(len, own))):
                baseline = float(np.mean([credit[min(k, len(credit) - 1)] for credit in credits]))
                for steps, credit in zip(own, credits, strict=True):
                    if k < len(steps):
                        step = steps[k][1]
                        rows.append(
                            (step.prompt, step.completion, credit[k] - baseline, number, step.logprobs)
                        )
    prompts, completions, advantage, numbers, sampler = map(list, zip(*rows, strict=True))
    return Batch(prompts, completions, advantages=advantage, groups=numbers, sampler=sampler)
