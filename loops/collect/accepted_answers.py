"""Phase 2 on problems: the policy answers each one many times, and learns what the verifier accepts."""

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from shuhari.envs import Episode
from shuhari.loops.collect.groups import SamplingSource, bar, learned, rewards
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.loops.config import AcceptedAnswersConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.scoring import Pair


class AcceptedAnswers(SamplingSource):
    """One round is a group of episodes for each of some problems, then a few batches of accepted answers.

    Expert iteration with the verifier as the expert (Anthony et al. 2017; STaR, Zelikman et al. 2022): of
    each group the most frequent accepted answer enters a replay, which is what is learned from. What keeps a
    mistake from becoming so certain that nothing else is ever tried: problems that come back until most
    solve them, few optimizer steps early, and, where the verifier judges the work and not the answer alone
    (or chance finds are learned with whatever led to them), a temperature above 1 and `explore`. The replay
    keeps one discovery from undoing another. Episodes without a verdict are unseen.
    """

    kept: ClassVar[tuple[str, ...]] = ("failed",)

    def __init__(
        self, rollouts: Rollouts, cfg: AcceptedAnswersConfig, rng: Rng, earlier: list[Pair] | None = None
    ) -> None:
        """`earlier`: what an earlier phase's replay held, so that it is not forgotten."""
        super().__init__(rollouts, cfg.rounds, rng, replay=cfg.replay)
        self.cfg = cfg
        self.replay.add(earlier or [])
        self.updates = sum(cfg.updates_of(self.progress(number)) for number in range(cfg.rounds))
        self.failed: list[int] = []  # seeds of problems that too few of the last group solved

    def batches(self, number: int) -> Iterator[Batch]:
        cfg = self.cfg
        again = min(len(self.failed), cfg.problems // 2)
        old = [self.failed[i] for i in self.rng.choice(len(self.failed), again, replace=False)]
        new = self.problems(cfg.problems - again)
        episodes = self.play(new, cfg.samples, temperature=cfg.temperature)
        episodes += self.play(old, cfg.samples, explore=cfg.explore)
        groups = self.grouped(episodes)
        failed = [seed for seed, group in groups.items() if _solved(group) < cfg.hard]
        self.failed = [*(s for s in self.failed if s not in groups), *failed][-cfg.replay :]
        for group in groups.values():
            for answer in accepted(group):
                # What is hardly ever found is shown more often, or it is lost among what everyone knows.
                self.replay.add(answer * (cfg.rare if _solved(group) < cfg.hard else 1))
        for _ in range(cfg.updates_of(self.progress(number)) if len(self.replay) else 0):
            yield Batch.of(self.replay.draw(cfg.batch, self.rng))


def accepted(group: list[Episode]) -> list[list[Pair]]:
    """For each seat the most frequent of the best answers, as pairs of its steps; none where none is good."""
    found = []
    for seat in sorted({step.seat for episode in group for _, step in learned(episode)}):
        best = max(episode.reward(seat) for episode in group)
        if best > bar(group, seat):
            answers = Counter(
                tuple((s.prompt, s.completion) for _, s in learned(e) if s.seat == seat)
                for e in group
                if e.reward(seat) == best
            )
            found.append(list(answers.most_common(1)[0][0]))
    return found


def _solved(group: list[Episode]) -> float:
    """The share of a group in which some seat did well."""
    bars = {seat: bar(group, seat) for seat in {s for e in group for s in rewards(e)}}
    return float(np.mean([any(r > bars[seat] for seat, r in rewards(e).items()) for e in group]))
