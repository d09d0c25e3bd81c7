"""Phase 2 by reward alone: the policy answers each problem many times, and learns from all of it, at once."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.branching import Branching, Find
from shuhari.loops.collect.credit import Trajectory, Values, advantages, trajectories
from shuhari.loops.collect.episode_groups import Groups, SamplingSource, informative, learner_steps, mastered
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.loops.config import SampleGroupsConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.inference.request import Choices

BONUS_STEP, MOST_BONUS = 0.005, 0.1  # of `entropy_floor`, a round
FEWEST = 8  # problems of a round, however long their episodes are
NEGLIGIBLE = 1e-9  # a smaller advantage is rounding, where all earned the same


class SampleGroups(SamplingSource):
    """One round is a group of episodes for each of some problems. All their decisions are one batch, which
    is learned `updates` times.

    Problems without signal are made up for by new ones (DAPO's dynamic sampling, Yu et al. 2025), and those
    that nobody solved are tried again by leaving the policy, each within its budget. A decision of no
    advantage says nothing and is left out, and so are episodes without a verdict.
    """

    cfg: SampleGroupsConfig
    kept: ClassVar[tuple[str, ...]] = (*SamplingSource.kept, "length", "values", "taught", "bonus", "finds")

    def __init__(self, rollouts: Rollouts, cfg: SampleGroupsConfig, rng: Rng) -> None:
        super().__init__(rollouts, cfg, rng, cfg.updates)
        self.branching = Branching(rollouts, rng)
        self.values: Values = {}
        self.taught = False
        self.length = float(cfg.decisions)  # decisions of an episode, on average over the last round
        self.finds: dict[int, Find] = {}  # answers to problems that the policy does not solve itself
        self.bonus = 0.0  # what a nat more of surprise per token earns

    def batches(self, number: int) -> Iterator[Batch]:
        cfg = self.cfg
        n = cfg.problems
        if cfg.decisions:
            n = min(n, max(FEWEST, round(cfg.decisions / (self.length * cfg.samples))))
        episodes = self._sampled(n)
        self.length = max(1.0, float(np.mean([len(episode.steps) for episode in episodes])))
        groups = self.grouped(episodes)
        self.note_hard(groups)
        if cfg.entropy_floor:
            self._set_bonus(episodes)
        anchors: list[int] = []
        if cfg.explore and cfg.reward == "verified":
            self.figures |= self.branching.add_finds(groups, self.finds, cfg.explore)
            anchors = [number for number, group in enumerate(groups.values()) if mastered(group)]
        self.taught |= bool(informative(groups))
        batch = self._batch(groups, anchors)
        for number in range(cfg.updates if len(batch) else 0):
            if number and self.branching.rescore(groups, self.finds):
                batch = self._batch(groups, anchors)
            yield batch

    def _batch(self, groups: Groups, anchors: Sequence[int]) -> Batch:
        cfg = self.cfg
        return decision_batch(
            list(groups.values()),
            self.rollouts.renderer.choices,
            discount=cfg.discount,
            trace=cfg.trace,
            values=self.values,
            normalised=cfg.normalised,
            bonus=self.bonus,
            anchors=anchors,
        )

    def _sampled(self, n: int) -> list[Episode]:
        """Episodes of `n` problems, and of new ones in place of those without signal, within the budget."""
        cfg, old = self.cfg, self.returning(n)
        episodes = self.play([*self.problems(n - len(old)), *old], cfg.samples)
        budget = round(cfg.refill * n)
        while (more := min(budget, n - len(informative(self.by_problem(episodes))))) > 0:
            episodes += self.play(self.problems(more), cfg.samples)
            budget -= more
        return episodes

    def _set_bonus(self, episodes: Sequence[Episode]) -> None:
        """Raise the bonus while the policy's entropy is below its floor, and lower it while it is not."""
        steps = [s for episode in episodes for _, s in learner_steps(episode)]
        entropy = -float(np.mean(np.concatenate([s.logprobs for s in steps]))) if steps else 0.0
        change = BONUS_STEP if entropy < self.cfg.entropy_floor else -BONUS_STEP
        self.bonus = min(MOST_BONUS, max(0.0, self.bonus + change))
        self.figures |= {"sampled_entropy": entropy, "entropy_bonus": self.bonus}


def decision_batch(
    groups: list[list[Episode]],
    choices: Callable[[tuple[str, ...]], Choices],
    *,
    discount: float = 1.0,
    trace: float = 1.0,
    values: Values | None = None,
    normalised: bool = False,
    bonus: float = 0.0,
    anchors: Collection[int] = (),
) -> Batch:
    """The decisions of the learning adapter's seats, with their advantages.

    Equal decisions are one row that weighs as much as they do together. Those with an advantage above 0 and
    those with one below 0 are two rows, because the objective clips them differently.

    choices: tokens of legal actions, as a renderer gives them
    normalised: divide advantages by their root mean square
    bonus: added to an advantage for each nat per token by which the policy was less sure of the decision than
        of its group's on average; the policy's entropy gains by it (Williams & Peng 1991)
    """
    rows: dict[tuple[Any, ...], tuple[Step, int, list[float]]] = {}
    played = trajectories(groups)
    usual = _surprises(played) if bonus else {}
    for trajectory, found in zip(played, advantages(played, discount, trace, values), strict=True):
        for step, advantage in zip(trajectory.steps, found, strict=True):
            if trajectory.group in anchors:
                advantage += sum(trajectory.rewards) / (len(groups[trajectory.group]) + 1)
            if bonus:
                advantage += bonus * (_surprise(step) - usual[trajectory.group])
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


def _surprise(step: Step) -> float:
    """Nats per token that a decision cost."""
    return -sum(step.logprobs) / len(step.logprobs)


def _surprises(played: Sequence[Trajectory]) -> dict[int, float]:
    """Their mean in each group."""
    found: dict[int, list[float]] = defaultdict(list)
    for trajectory in played:
        found[trajectory.group] += map(_surprise, trajectory.steps)
    return {group: float(np.mean(values)) for group, values in found.items()}
