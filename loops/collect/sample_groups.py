"""Phase 2 by reward alone: the policy answers each problem many times, and learns from all of it, at once."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.groups import SamplingSource, learned, mixed
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.loops.config import SampleGroupsConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.inference.request import Choices
from shuhari.policy.policy import Tokens

FEWEST = 8  # problems of a round, however long their episodes are
SWEEPS = 4  # over a round's decisions, for the values of their prompts
RATE = 0.5  # of a sweep
NOTHING = 1e-9  # an advantage that rounding leaves where all earned the same
Key = tuple[int, Tokens]  # a seat and what it knew
Values = dict[Key, float]


class SampleGroups(SamplingSource):
    """One round is a group of episodes for each of some problems, and one batch of all their steps, learned
    `updates` times.

    The advantage of a step is its credit less a baseline (`credited`). Steps of no advantage say nothing and
    are left out. Episodes without a verdict are unseen.
    """

    kept: ClassVar[tuple[str, ...]] = ("length", "values", "taught")

    def __init__(self, rollouts: Rollouts, cfg: SampleGroupsConfig, rng: Rng) -> None:
        super().__init__(rollouts, cfg.rounds, rng, cfg.updates)
        self.cfg = cfg
        self.values: Values = {}
        self.taught = False
        self.length = float(cfg.decisions)  # decisions an episode of the last round, on average

    def batches(self, number: int) -> Iterator[Batch]:
        cfg, choices = self.cfg, self.rollouts.renderer.choices
        n = cfg.problems
        if cfg.decisions:
            n = min(n, max(FEWEST, round(cfg.decisions / (self.length * cfg.samples))))
        episodes = self.play(self.problems(n), cfg.samples)
        self.length = max(1.0, float(np.mean([len(episode.steps) for episode in episodes])))
        groups = self.grouped(episodes)
        self.taught |= bool(mixed(groups))
        batch = advantages(
            list(groups.values()), choices, cfg.discount, cfg.trace, self.values, cfg.normalised
        )
        for _ in range(cfg.updates if len(batch) else 0):
            yield batch


@dataclass
class Line:
    """What one seat of an episode decided, and what it earned after each decision until its next."""

    group: int
    seat: int
    cut: bool  # by a time limit: the episode might have gone on
    steps: list[Step] = field(default_factory=list)
    paid: list[float] = field(default_factory=list)

    @property
    def keys(self) -> list[Key]:
        """What the seat knew at each decision."""
        return [(self.seat, step.prompt) for step in self.steps]

    def credits(self, discount: float, trace: float, values: Values) -> list[float]:
        """Of each decision: what was earned from there on."""
        found: list[float] = []
        keys = self.keys
        known = values.get(keys[-1]) if self.cut else 0.0
        ahead = known or 0.0
        for k in range(len(keys) - 1, -1, -1):
            if k + 1 < len(keys) and (value := values.get(keys[k + 1])) is not None:
                ahead = trace * ahead + (1 - trace) * value
            ahead = self.paid[k] + discount * ahead
            found.append(ahead)
        return found[::-1]


def lines(groups: list[list[Episode]]) -> list[Line]:
    """Of the learning adapter's seats, one an episode."""
    found: list[Line] = []
    for number, group in enumerate(groups):
        for episode in group:
            own: dict[int, Line] = {}
            before: dict[int, float] = {}  # what each seat had earned before its last decision
            earned: dict[int, float] = defaultdict(float)
            mine = dict(learned(episode))
            for n, step in enumerate(episode.steps):
                if n in mine:
                    line = own.setdefault(step.seat, Line(number, step.seat, episode.stop == "truncated"))
                    if line.steps:
                        line.paid.append(earned[step.seat] - before[step.seat])
                    line.steps.append(step)
                    before[step.seat] = earned[step.seat]
                earned[step.seat] += step.reward
            for seat, line in own.items():
                line.paid.append(episode.reward(seat) - before[seat])
            found += own.values()
    return found


def credited(
    played: list[Line], discount: float = 1.0, trace: float = 1.0, values: Values | None = None
) -> list[list[float]]:
    """Each decision's advantage: its credit less a baseline.

    A prompt is all that a policy knows, so the baseline is the mean credit of all decisions of that prompt
    and seat in the round, where several episodes came by it: GiGPO's anchor states (Feng et al. 2025), whose
    groups reach over all problems here. Elsewhere it is the group's mean credit of the same seat at its step
    of the same number, or its last where it made fewer: GRPO's (Shao et al. 2024), without the division by
    the standard deviation (Dr. GRPO).

    The credit is the return-to-go or, with a `trace` λ below 1, the λ-return (Sutton & Barto 2018, ch. 12)
    through the `values` of prompts, which are estimated from it, sweep by sweep, and carried from round to
    round. An episode that a time limit cut off goes on as its last prompt's value says (Pardo et al. 2018).
    """
    values = {} if values is None else values
    episodes: dict[Key, int] = defaultdict(int)
    for line in played:
        for key in set(line.keys):
            episodes[key] += 1
    for _ in range(SWEEPS if trace < 1 else 1):
        credits = [line.credits(discount, trace, values) for line in played]
        met: dict[Key, list[float]] = defaultdict(list)
        for line, own in zip(played, credits, strict=True):
            for key, credit in zip(line.keys, own, strict=True):
                met[key].append(credit)
        means = {key: float(np.mean(found)) for key, found in met.items() if episodes[key] > 1}
        if trace < 1:
            values |= {key: values.get(key, mean) * (1 - RATE) + mean * RATE for key, mean in means.items()}
    places: dict[tuple[int, int], list[list[float]]] = defaultdict(list)
    for line, own in zip(played, credits, strict=True):
        places[line.group, line.seat].append(own)

    def baseline(line: Line, k: int) -> float:
        if (mean := means.get(line.keys[k])) is not None:
            return mean
        others = places[line.group, line.seat]
        return float(np.mean([own[min(k, len(own) - 1)] for own in others]))

    return [
        [credit - baseline(line, k) for k, credit in enumerate(own)]
        for line, own in zip(played, credits, strict=True)
    ]


def advantages(
    groups: list[list[Episode]],
    choices: Callable[[tuple[str, ...]], Choices],
    discount: float = 1.0,
    trace: float = 1.0,
    values: Values | None = None,
    normalised: bool = False,
) -> Batch:
    """Every decision of the learning adapter's, with its advantage.

    Equal ones are one row, which weighs as much as they do together: praise and blame apart, because the
    objective clips them apart.
    """
    rows: dict[tuple[Any, ...], tuple[Step, int, list[float]]] = {}
    played = lines(groups)
    for line, own in zip(played, credited(played, discount, trace, values), strict=True):
        for step, advantage in zip(line.steps, own, strict=True):
            if abs(advantage) > NOTHING and len(step.legal) != 1:
                key = (step.prompt, step.completion, step.legal, advantage > 0)
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
        choices=[choices(step.legal) if step.legal else () for step, _, _ in steps],
    )
