"""Phase 2 by reward alone: the policy answers each problem many times, and learns from all of it, at once."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.groups import SamplingSource, learned
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.loops.config import SampleGroupsConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.lm import Tokens
from shuhari.policy.render import Renderer


FEWEST = 8  # problems of a round, however long their episodes are


class SampleGroups(SamplingSource):
    """One round is a group of episodes for each of some problems, and one batch of all their steps, learned
    `updates` times.

    The advantage of a step is its credit less a baseline (`credited`). Steps of no advantage say nothing and
    are left out. Episodes without a verdict are unseen.
    """

    kept: ClassVar[tuple[str, ...]] = ("length",)

    def __init__(self, rollouts: Rollouts, cfg: SampleGroupsConfig, rng: Rng) -> None:
        super().__init__(rollouts, cfg.rounds, rng, cfg.updates)
        self.cfg = cfg
        self.length = float(cfg.decisions)  # decisions an episode of the last round, on average

    def batches(self, number: int) -> Iterator[Batch]:
        cfg, renderer = self.cfg, self.rollouts.renderer
        n = cfg.problems
        if cfg.decisions:
            n = min(n, max(FEWEST, round(cfg.decisions / (self.length * cfg.samples))))
        episodes = self.play(self.problems(n), cfg.samples)
        self.length = max(1.0, float(np.mean([len(episode.steps) for episode in episodes])))
        groups = self.grouped(episodes)
        batch = advantages(list(groups.values()), renderer, cfg.discount, cfg.trace, cfg.normalised)
        for _ in range(cfg.updates if len(batch) else 0):
            yield batch


@dataclass
class Line:
    """What one seat of an episode decided, and what it earned after each decision until its next."""

    group: int
    seat: int
    steps: list[Step] = field(default_factory=list)
    paid: list[float] = field(default_factory=list)

    def credits(self, discount: float) -> list[float]:
        """Of each decision: what was earned from there on."""
        found, ahead = [], 0.0
        for paid in reversed(self.paid):
            found.append(ahead := paid + discount * ahead)
        return found[::-1]


def lines(groups: list[list[Episode]]) -> list[Line]:
    """Of the learning adapter's seats, one an episode."""
    found = []
    for number, group in enumerate(groups):
        for episode in group:
            own: dict[int, Line] = {}
            before: dict[int, float] = {}  # what each seat had earned before its last decision
            earned: dict[int, float] = defaultdict(float)
            mine = dict(learned(episode))
            for n, step in enumerate(episode.steps):
                if n in mine:
                    line = own.setdefault(step.seat, Line(number, step.seat))
                    if line.steps:
                        line.paid.append(earned[step.seat] - before[step.seat])
                    line.steps.append(step)
                    before[step.seat] = earned[step.seat]
                earned[step.seat] += step.reward
            for seat, line in own.items():
                line.paid.append(episode.reward(seat) - before[seat])
            found += own.values()
    return found


def credited(played: list[Line], discount: float, trace: float) -> list[list[float]]:
    """Each decision's advantage: its credit less a baseline.

    A prompt is all that a policy knows, so what it is worth is the mean credit of all decisions of that prompt
    and seat in the round, where several episodes came by it: GiGPO's anchor states (Feng et al. 2025), whose
    groups reach over all problems here. Elsewhere the baseline is the group's mean credit of the same seat at
    its step of the same number, or its last where it made fewer: GRPO's (Shao et al. 2024), without the division
    by the standard deviation (Dr. GRPO). The credit is a λ-return through the values of prompts (`trace`;
    generalised advantage estimation, Schulman et al. 2016); 1 is the plain return-to-go.
    """
    met: dict[tuple[int, Tokens], list[float]] = defaultdict(list)
    episodes: dict[tuple[int, Tokens], int] = defaultdict(int)
    places: dict[tuple[int, int], list[list[float]]] = defaultdict(list)
    for line in played:
        credits = line.credits(discount)
        for step, credit in zip(line.steps, credits, strict=True):
            met[line.seat, step.prompt].append(credit)
        for prompt in {step.prompt for step in line.steps}:
            episodes[line.seat, prompt] += 1
        places[line.group, line.seat].append(credits)
    values = {key: float(np.mean(credits)) for key, credits in met.items() if episodes[key] > 1}
    advantage = []
    for line in played:
        ahead, following, own = 0.0, None, []
        for k in range(len(line.steps) - 1, -1, -1):
            value = values.get((line.seat, line.steps[k].prompt))
            if following is not None:
                ahead = trace * ahead + (1 - trace) * following
            ahead = line.paid[k] + discount * ahead
            baseline = value
            if baseline is None:
                others = places[line.group, line.seat]
                baseline = float(np.mean([credits[min(k, len(credits) - 1)] for credits in others]))
            own.append(ahead - baseline)
            following = value
        advantage.append(own[::-1])
    return advantage


def advantages(
    groups: list[list[Episode]],
    renderer: Renderer,
    discount: float = 1.0,
    trace: float = 1.0,
    normalised: bool = False,
) -> Batch:
    """Every decision of the learning adapter's, with its advantage.

    Equal ones are one row, which weighs as much as they do together: praise and blame apart, because the
    objective clips them apart.
    """
    rows: dict[tuple[Tokens, Tokens, bool], tuple[Step, int, list[float]]] = {}
    played = lines(groups)
    for line, own in zip(played, credited(played, discount, trace), strict=True):
        for step, advantage in zip(line.steps, own, strict=True):
            if advantage and len(step.legal) != 1:
                key = (step.prompt, step.completion, advantage > 0)
                rows.setdefault(key, (step, line.group, []))[2].append(advantage)
    steps = sorted(rows.values(), key=lambda row: row[0].prompt)  # what shares a prompt stands together
    every = np.concatenate([found for _, _, found in steps]) if steps else np.ones(1)
    scale = float(np.sqrt(np.mean(np.square(every)))) if normalised else 1.0
    return Batch(
        [step.prompt for step, _, _ in steps],
        [step.completion for step, _, _ in steps],
        weights=[float(len(found)) for _, _, found in steps],
        advantages=[float(np.mean(found)) / scale for _, _, found in steps],
        groups=[number for _, number, _ in steps],
        sampler=[step.logprobs for step, _, _ in steps],
        choices=[renderer.choices(step.legal) if step.legal else () for step, _, _ in steps],
    )
