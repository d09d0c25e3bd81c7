"""Phase 2 by reward alone: the policy answers each problem many times, and learns from all of it, at once."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.credit import Values, advantages, trajectories
from shuhari.loops.collect.episode_groups import SamplingSource, informative
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.loops.config import SampleGroupsConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.inference.request import Choices

FEWEST = 8  # problems of a round, however long their episodes are
NEGLIGIBLE = 1e-9  # a smaller advantage is rounding, where all earned the same


class SampleGroups(SamplingSource):
    """One round is a group of episodes for each of some problems. All their decisions are one batch, which
    is learned `updates` times.

    A decision of no advantage says nothing and is left out, and so are episodes without a verdict.
    """

    kept: ClassVar[tuple[str, ...]] = ("length", "values", "taught")

    def __init__(self, rollouts: Rollouts, cfg: SampleGroupsConfig, rng: Rng) -> None:
        super().__init__(rollouts, cfg.rounds, rng, cfg.updates)
        self.cfg = cfg
        self.values: Values = {}
        self.taught = False
        self.length = float(cfg.decisions)  # decisions of an episode, on average over the last round

    def batches(self, number: int) -> Iterator[Batch]:
        cfg = self.cfg
        n = cfg.problems
        if cfg.decisions:
            n = min(n, max(FEWEST, round(cfg.decisions / (self.length * cfg.samples))))
        episodes = self.play(self.problems(n), cfg.samples)
        self.length = max(1.0, float(np.mean([len(episode.steps) for episode in episodes])))
        groups = self.grouped(episodes)
        self.taught |= bool(informative(groups))
        batch = decision_batch(
            list(groups.values()),
            self.rollouts.renderer.choices,
            discount=cfg.discount,
            trace=cfg.trace,
            values=self.values,
            normalised=cfg.normalised,
        )
        for _ in range(cfg.updates if len(batch) else 0):
            yield batch


def decision_batch(
    groups: list[list[Episode]],
    choices: Callable[[tuple[str, ...]], Choices],
    *,
    discount: float = 1.0,
    trace: float = 1.0,
    values: Values | None = None,
    normalised: bool = False,
) -> Batch:
    """The decisions of the learning adapter's seats, with their advantages.

    Equal decisions are one row that weighs as much as they do together. Those with an advantage above 0 and
    those with one below 0 are two rows, because the objective clips them differently.

    choices: tokens of legal actions, as a renderer gives them
    normalised: divide advantages by their root mean square
    """
    rows: dict[tuple[Any, ...], tuple[Step, int, list[float]]] = {}
    played = trajectories(groups)
    for trajectory, found in zip(played, advantages(played, discount, trace, values), strict=True):
        for step, advantage in zip(trajectory.steps, found, strict=True):
            if abs(advantage) > NEGLIGIBLE and len(step.legal) != 1:
                key = (step.prompt, step.completion, step.legal, advantage > 0)
                rows.setdefault(key, (step, trajectory.group, []))[2].append(advantage)
    steps = sorted(rows.values(), key=lambda row: row[0].prompt)  # rows of one prompt stand together
    every = np.concatenate([found for _, _, found in steps]) if steps else np.ones(1)
    scale = float(np.sqrt(np.mean(np.square(every)))) if normalised else 1.0
    return Batch(
        [step.prompt for step, _, _ in steps],
        [step.completion for step, _, _ in steps],
        weights=[float(len(found)) for _, _, found in steps],
        advantages=[float(np.mean(found)) / scale for _, _, found in steps],
        groups=[number for _, number, _ in steps],
        sampler=[step.logprobs for step, _, _ in steps],
        choices=[choices(step.legal) if step.legal else () for step, _, _ in steps],
    )
