"""Ranked pairs: two completions of one prompt, the better one first. A file gives them, or a verifier.

It is easier to choose the better of two answers than to write one. In a batch, a pair is a group of two rows
whose advantages are 1 and -1.
"""

from collections.abc import Iterator, Sequence

from shuhari.envs.types import RankedPair
from shuhari.loops.collect.episode_groups import SamplingSource, learner_steps, threshold
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng, Source
from shuhari.loops.config import RankedPairsConfig, VerifiedPairsConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.policy import Tokens
from shuhari.policy.render import Renderer

TokenPair = tuple[Tokens, Tokens, Tokens]  # prompt, better and worse completion


def pair_batch(pairs: Sequence[TokenPair]) -> Batch:
    """Two rows a pair: the better one, then the worse."""
    return Batch(
        [prompt for prompt, _, _ in pairs for _ in range(2)],
        [side for _, better, worse in pairs for side in (better, worse)],
        advantages=[1.0, -1.0] * len(pairs),
        groups=[number for number in range(len(pairs)) for _ in range(2)],
    )


class RankedPairs(Source):
    """One round is one batch of the given pairs."""

    def __init__(
        self, renderer: Renderer, pairs: Sequence[RankedPair], cfg: RankedPairsConfig, rng: Rng
    ) -> None:
        super().__init__(cfg.rounds, rng)
        self.texts, self.batch = pairs, cfg.batch
        self.pairs = [renderer.pair(pair) for pair in pairs]

    def batches(self, number: int) -> Iterator[Batch]:
        self.episodes += self.batch
        yield pair_batch([self.pairs[i] for i in self.rng.integers(len(self.pairs), size=self.batch)])

    def sample(self) -> str:
        pair = self.texts[self.episodes % len(self.texts)]
        return f"{pair.prompt}\nchosen: {pair.chosen}\nrejected: {pair.rejected}"


class VerifiedPairs(SamplingSource):
    """One round is a group of answers to each of some problems, then `updates` batches from the replay.

    A good and a bad answer of one group make a pair, which enters the replay.
    """

    cfg: VerifiedPairsConfig

    def __init__(self, rollouts: Rollouts, cfg: VerifiedPairsConfig, rng: Rng) -> None:
        super().__init__(rollouts, cfg, rng, cfg.updates, cfg.replay)

    def batches(self, number: int) -> Iterator[Batch]:
        groups = self.grouped(self.play(self.problems(self.cfg.problems), self.cfg.samples))
        for group in groups.values():
            # Two completions answer the same prompt only where each is the whole answer.
            answers = [(e.reward(s.seat), s) for e in group for _, s in learner_steps(e) if len(e.steps) == 1]
            enough = threshold(group)
            good = [step for reward, step in answers if reward > enough]
            bad = [step for reward, step in answers if reward <= enough]
            for better, worse in zip(good, bad, strict=False):
                self.replay.add([(better.prompt, better.completion, worse.completion)])
        for _ in range(self.cfg.updates if len(self.replay) else 0):
            yield pair_batch(self.replay.draw(self.cfg.batch, self.rng))
