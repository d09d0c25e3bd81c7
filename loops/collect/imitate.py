"""Phase 1: imitate traces, as tokens that a rollout would give. At best the policy becomes its expert; played
greedily, the expert's mode."""

from collections.abc import Iterator, Sequence

from shuhari.envs import Trace
from shuhari.loops.collect.source import Rng, Source
from shuhari.loops.config import ImitateConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.inference.generator import Generator
from shuhari.policy.render import Renderer

HELDOUT = 1000  # most held-out traces; and at most a tenth of all traces


class Imitate(Source):
    """One round is one batch of traces.

    heldout: batches of traces that are not trained on. A prompt can be on both sides where the expert varies
        its answer; so the held-out loss measures the expert's distribution.
    """

    def __init__(
        self, generator: Generator, renderer: Renderer, traces: Sequence[Trace], cfg: ImitateConfig, rng: Rng
    ) -> None:
        super().__init__(cfg.steps, rng)
        self.generator, self.batch = generator, cfg.batch
        pairs = [renderer.trace(trace) for trace in traces]
        order = rng.permutation(len(pairs))
        n = min(HELDOUT, len(pairs) // 10)
        self.train = [pairs[i] for i in order[n:]]
        heldout = [pairs[i] for i in order[:n]]
        self.heldout = [Batch.of(heldout[i : i + cfg.batch]) for i in range(0, n, cfg.batch)]

    def batches(self, number: int) -> Iterator[Batch]:
        self.episodes += self.batch
        yield Batch.of([self.train[i] for i in self.rng.integers(len(self.train), size=self.batch)])

    def sample(self) -> str:
        """A trace, and what the policy writes at the same prompt."""
        prompt, completion = self.train[self.episodes // self.batch % len(self.train)]
        (written,) = self.generator.generate([prompt], max(len(completion), 2), temperature=0)
        decode = self.generator.policy.decode
        return f"{decode(prompt)}\nexpert: {decode(completion)}\npolicy: {written.text}"
