"""Groups of episodes of one problem: what all sources that sample them share."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.controls import rewarded
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng, Source
from shuhari.loops.collect.worked_answers import as_markdown, decided, telling_ones
from shuhari.loops.config import GroupsConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.policy import LEARNING
from shuhari.rewards.statistics import by_name

HARD = 4096  # most hard problems that are remembered
FRESH, FRESH_TOKENS = 16, 2048  # most decisions, and tokens, that are compared with the learner's view
Groups = dict[int, list[Episode]]  # by the seed of the problem: the episodes that have a verdict


def learner_steps(episode: Episode) -> Iterator[tuple[int, Step]]:
    """The steps of an episode that the learning adapter sampled, with their numbers."""
    return ((n, s) for n, s in enumerate(episode.steps) if s.adapter == LEARNING and s.completion)


def seat_rewards(episode: Episode) -> dict[int, float]:
    """The reward of each seat that the learning adapter played."""
    return {step.seat: episode.reward(step.seat) for _, step in learner_steps(episode)}


def by_problem(episodes: Sequence[Episode], masked: bool = False) -> Groups:
    """The episodes that have a verdict, by problem. `masked`: those that ran into the token limit are left
    out (DAPO's overlong filtering, Yu et al. 2025)."""
    groups: Groups = defaultdict(list)
    for episode in episodes:
        if episode.counts and not (masked and episode.stop == "overlong"):
            groups[episode.seed].append(episode)
    return groups


def informative(groups: Groups) -> list[list[Episode]]:
    """The groups whose episodes did not all earn the same."""
    return [
        group
        for group in groups.values()
        if any(seat_rewards(episode) != seat_rewards(group[0]) for episode in group)
    ]


def mastered(group: Sequence[Episode]) -> bool:
    """Whether a verifier accepts every episode of a group: then there is nothing left to learn from it."""
    verdicts = [episode.info.get("verdict") for episode in group]
    return all(verdict is not None and verdict.status == "correct" for verdict in verdicts)


def threshold(group: Sequence[Episode], seat: int = 0) -> float:
    """The reward above which an episode of the group is a good one.

    It is 0 where a verifier judges. Elsewhere rewards may never be above 0, and the threshold is the mean of
    the group; where all earn the same, no episode is good.
    """
    if any(episode.info.get("verdict") is not None for episode in group):
        return 0.0
    earned = [episode.reward(seat) for episode in group]
    return max(earned) if min(earned) == max(earned) else float(np.mean(earned))


def completion_shares(episodes: Sequence[Episode]) -> dict[str, float]:
    """The shares of the learning adapter's completions that are empty and, where the environment says it, of
    all actions that are malformed."""
    texts = [step.text for episode in episodes for _, step in learner_steps(episode)]
    shares = {"empty": float(np.mean([not text.strip() for text in texts]))} if texts else {}
    malformed = [e.info["malformed"] for e in episodes if "malformed" in e.info]
    if malformed:
        shares["malformed"] = sum(malformed) / sum(len(episode.steps) for episode in episodes)
    return shares


def solve_rate(group: Sequence[Episode]) -> float:
    """The share of a group's episodes in which some seat did well."""
    rewards = [seat_rewards(episode) for episode in group]
    thresholds = {seat: threshold(group, seat) for by_seat in rewards for seat in by_seat}
    solved = [any(r > thresholds[seat] for seat, r in by_seat.items()) for by_seat in rewards]
    return float(np.mean(solved))


class SamplingSource(Source):
    """A source that plays groups. `play` and `grouped` count what it has seen.

    Problems that a smaller share than `hard` solves come back: half of a round at most is of such.
    """

    kept: ClassVar[tuple[str, ...]] = ("hard",)

    def __init__(
        self, rollouts: Rollouts, cfg: GroupsConfig, rng: Rng, updates: int = 1, replay: int = 0
    ) -> None:
        super().__init__(cfg.rounds, rng, updates, replay)
        self.rollouts, self.cfg = rollouts, cfg
        self.hard: list[int] = []  # seeds of the hard problems, the newest last
        self._last: Episode | None = None  # shown by `sample`
        self._shown: list[Episode] = []  # by `answers`
        self._fresh: list[Episode] = []

    def problems(self, n: int) -> list[int]:
        """Seeds of new problems."""
        return [int(seed) for seed in self.rng.integers(2**31, size=n)]

    def returning(self, n: int) -> list[int]:
        """Seeds of hard problems, for half of a round of `n` at most."""
        again = min(len(self.hard), n // 2)
        return [self.hard[i] for i in self.rng.choice(len(self.hard), again, replace=False)] if again else []

    def note_hard(self, groups: Groups) -> list[int]:
        """Remember which of these problems are hard, and forget those that are no longer; the hard ones."""
        found = [seed for seed, group in groups.items() if solve_rate(group) < self.cfg.hard]
        self.hard = [*(seed for seed in self.hard if seed not in groups), *found][-HARD:]
        return found

    def play(
        self, problems: Sequence[int], samples: int, temperature: float = 1.0, explore: int = 0
    ) -> list[Episode]:
        """A group of `samples` episodes for each problem."""
        seeds = [problem for problem in problems for _ in range(samples)]
        seed = int(self.rng.integers(2**31))
        played = self.rollouts.play(seeds, temperature=temperature, seed=seed, explore=explore)
        if temperature == 1.0 and not explore:
            self._fresh = played
        return rewarded(played, self.cfg.reward, self.rng)

    def fresh(self) -> Batch | None:
        """A few decisions of the last episodes, evenly over them, and of so many tokens at most."""
        steps = [s for e in self._fresh for _, s in learner_steps(e) if len(s.legal) != 1]
        self._fresh = []
        kept: list[Step] = []
        for step in steps[:: max(1, len(steps) // FRESH)]:
            if kept and sum(len(s.prompt) + len(s.completion) for s in (*kept, step)) > FRESH_TOKENS:
                break
            kept.append(step)
        choices = self.rollouts.renderer.choices
        return Batch(
            [step.prompt for step in kept],
            [step.completion for step in kept],
            sampler=[step.logprobs for step in kept],
            choices=[choices(step.legal) if step.legal else () for step in kept],
        )

    def by_problem(self, episodes: Sequence[Episode]) -> Groups:
        """The episodes that count, by problem."""
        return by_problem(episodes, masked=self.cfg.truncated == "masked")

    def grouped(self, episodes: Sequence[Episode]) -> Groups:
        """Groups of the episodes that have a verdict, and figures of all of them."""
        self.episodes += len(episodes)
        self._last, self._shown = episodes[0], telling_ones(episodes)
        groups = self.by_problem(episodes)
        without = [episode for episode in episodes if not episode.counts]
        if without and not self.trouble:
            self.trouble = str(without[0].info.get("verdict") or without[0].info.get("error"))
        unjudged = len(without)
        self.unjudged += unjudged
        lengths = [len(s.completion) for e in episodes for s in e.steps if s.completion]
        decisions = sum(len(episode.steps) for episode in episodes)
        self.decisions, self.sampled = self.decisions + decisions, self.sampled + sum(lengths)
        self.figures = {
            "uncounted": unjudged / len(episodes),
            "overlong": float(np.mean([episode.stop == "overlong" for episode in episodes])),
            "tokens_per_episode": sum(lengths) / len(episodes),
            "completion_length": sum(lengths) / max(1, len(lengths)),
            "plies": decisions / len(episodes),
        } | decided(episodes)
        self.shares = completion_shares(episodes) | {
            "truncated": self.figures["overlong"],
            "unknown": self.figures["uncounted"],
        }
        if (mass := self.rollouts.legal_mass(episodes)) is not None:
            self.figures["illegal_mass"] = self.shares["illegal"] = 1 - mass
        if groups:
            earned = [r for g in groups.values() for e in g for r in seat_rewards(e).values()]
            self.figures["reward"] = float(np.mean(earned or [0.0]))
            telling = len(informative(groups))
            self.figures["informative_groups"] = telling / len(groups)
            self.shares["no_signal"] = 1 - (telling + sum(map(mastered, groups.values()))) / len(groups)
        judged = by_name(e.info.get("metrics", {}) for g in groups.values() for e in g)
        self.figures |= {f"metrics/{name}": float(np.mean(values)) for name, values in judged.items()}
        return groups

    def answers(self) -> str:
        return as_markdown(self._shown, self.rollouts.generator.policy.decode)

    def sample(self) -> str:
        steps, decode = self._last.steps if self._last else (), self.rollouts.generator.policy.decode
        lines = [f"{decode(step.prompt)}{step.text}   (reward {step.reward:g})" for step in steps]
        return "\n".join([*lines, f"ended: {self._last.stop if self._last else 'before it began'}"])
