"""What each decision of an episode is credited with, and its advantage: the credit less a baseline."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.episode_groups import learner_steps
from shuhari.policy.policy import Tokens

SWEEPS = 4  # over the decisions of a round, to estimate the values of states
RATE = 0.5  # how far a sweep moves a value towards the mean credit of its state
State = tuple[int, Tokens]  # a seat and the prompt that it saw: all that a policy knows
Values = dict[State, float]  # the expected credit of each state


@dataclass
class Trajectory:
    """The decisions of one seat in one episode.

    group: the number of the episode's group
    truncated: whether a time limit ended the episode, which might have gone on
    rewards: what the seat earned after each decision, until its next one
    """

    group: int
    seat: int
    truncated: bool
    steps: list[Step] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    @property
    def states(self) -> list[State]:
        """The state of each decision."""
        return [(self.seat, step.prompt) for step in self.steps]

    def credits(self, discount: float, trace: float, values: Values) -> list[float]:
        """Of each decision: the return from there on or, with a `trace` λ below 1, the λ-return."""
        found: list[float] = []
        states = self.states
        ahead = values.get(states[-1], 0.0) if self.truncated else 0.0
        for k in range(len(states) - 1, -1, -1):
            if k + 1 < len(states) and (value := values.get(states[k + 1])) is not None:
                ahead = trace * ahead + (1 - trace) * value
            ahead = self.rewards[k] + discount * ahead
            found.append(ahead)
        return found[::-1]


def trajectories(groups: Sequence[Sequence[Episode]]) -> list[Trajectory]:
    """One for each episode and each seat of the learning adapter's."""
    return [t for number, group in enumerate(groups) for e in group for t in _by_seat(e, number)]


def _by_seat(episode: Episode, group: int) -> list[Trajectory]:
    found: dict[int, Trajectory] = {}
    before: dict[int, float] = {}  # what each seat had earned before its last decision
    earned: dict[int, float] = defaultdict(float)
    decisions = dict(learner_steps(episode))
    for number, step in enumerate(episode.steps):
        if number in decisions:
            trajectory = found.setdefault(
                step.seat, Trajectory(group, step.seat, episode.stop == "truncated")
            )
            if trajectory.steps:
                trajectory.rewards.append(earned[step.seat] - before[step.seat])
            trajectory.steps.append(step)
            before[step.seat] = earned[step.seat]
        earned[step.seat] += step.reward
    for seat, trajectory in found.items():
        trajectory.rewards.append(episode.reward(seat) - before[seat])
    return list(found.values())


def advantages(
    played: Sequence[Trajectory], discount: float = 1.0, trace: float = 1.0, values: Values | None = None
) -> list[list[float]]:
    """Each decision's credit less a baseline, for each trajectory.

    A prompt is all that a policy knows. So the baseline of a state that several episodes came to is the mean
    credit of all decisions in that state: GiGPO's anchor states (Feng et al. 2025), but over all groups of
    the round. Elsewhere it is the mean credit of the same group and seat at the same number of the decision,
    or at the last one of a shorter episode: GRPO's baseline (Shao et al. 2024), without the division by the
    standard deviation (Dr. GRPO, Liu et al. 2025).

    With a `trace` λ below 1 the credit is the λ-return (Sutton & Barto 2018, ch. 12). The `values` of states
    are then estimated from the credits, sweep by sweep, and changed in place, so that the next round begins
    with them. After a time limit an episode goes on as the value of its last state says (Pardo et al. 2018).
    """
    values = {} if values is None else values
    episodes: dict[State, int] = defaultdict(int)  # that came to the state
    for trajectory in played:
        for state in set(trajectory.states):
            episodes[state] += 1
    for _ in range(SWEEPS if trace < 1 else 1):
        credits = [trajectory.credits(discount, trace, values) for trajectory in played]
        means = {s: mean for s, mean in _mean_credits(played, credits).items() if episodes[s] > 1}
        if trace < 1:
            values |= {s: values.get(s, mean) * (1 - RATE) + mean * RATE for s, mean in means.items()}
    return [
        [credit - baseline for credit, baseline in zip(found, baselines, strict=True)]
        for found, baselines in zip(credits, _baselines(played, credits, means), strict=True)
    ]


def _mean_credits(played: Sequence[Trajectory], credits: Sequence[Sequence[float]]) -> Values:
    """The mean credit of the decisions in each state."""
    by_state: dict[State, list[float]] = defaultdict(list)
    for trajectory, found in zip(played, credits, strict=True):
        for state, credit in zip(trajectory.states, found, strict=True):
            by_state[state].append(credit)
    return {state: float(np.mean(found)) for state, found in by_state.items()}


def _baselines(
    played: Sequence[Trajectory], credits: Sequence[list[float]], means: Values
) -> list[list[float]]:
    """The baseline of each decision: the mean of its state where `means` has one, else of its group."""
    by_group: dict[tuple[int, int], list[list[float]]] = defaultdict(list)
    for trajectory, found in zip(played, credits, strict=True):
        by_group[trajectory.group, trajectory.seat].append(found)

    def of_group(trajectory: Trajectory, k: int) -> float:
        group = by_group[trajectory.group, trajectory.seat]
        return float(np.mean([found[min(k, len(found) - 1)] for found in group]))

    return [
        [means[state] if state in means else of_group(t, k) for k, state in enumerate(t.states)]
        for t in played
    ]
