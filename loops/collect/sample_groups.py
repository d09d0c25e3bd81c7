"""Phase 2 by reward alone: the policy answers each problem many times, and learns from all of it, once."""

from collections.abc import Iterator

import numpy as np

from shuhari.envs import Episode
from shuhari.loops.collect.groups import SamplingSource, learned, mixed
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.config import SampleGroupsConfig
from shuhari.loops.learn.batch import Batch


class SampleGroups(SamplingSource):
    """One round is a group of episodes for each of some problems, and one batch of all their steps.

    The credit of a step is its seat's undiscounted return-to-go (`Episode.reward_to_go`), its advantage that
    less the group's mean return of the same seat (GRPO's baseline, Shao et al. 2024, kept apart by seat).
    Groups in which all earned the same say nothing and are left out. Episodes without a verdict are unseen.
    """

    def __init__(self, rollouts: Rollouts, cfg: SampleGroupsConfig, rng: np.random.Generator) -> None:
        super().__init__(rollouts, cfg.rounds, rng)
        self.cfg = cfg

    def batches(self, number: int) -> Iterator[Batch]:
        groups = self.grouped(self.play(self.problems(self.cfg.problems), self.cfg.samples))
        if informative := mixed(groups):
            yield advantages(informative)


def advantages(groups: list[list[Episode]]) -> Batch:
    """Every step of the learning adapter's, with its advantage."""
    batch = Batch([], [], advantages=[], groups=[], sampler=[])
    columns = (batch.prompts, batch.completions, batch.advantages, batch.groups, batch.sampler)
    for number, group in enumerate(groups):
        seats = {step.seat for episode in group for _, step in learned(episode)}
        mean = {seat: float(np.mean([episode.reward(seat) for episode in group])) for seat in seats}
        for episode in group:
            for n, step in learned(episode):
                advantage = episode.reward_to_go(n) - mean[step.seat]
                row = (step.prompt, step.completion, advantage, number, step.logprobs)
                for column, value in zip(columns, row, strict=True):
                    column.append(value)  # type: ignore[attr-defined]
    return batch
