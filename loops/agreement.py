"""Do the sampler and the learner give a token the same log-probability, while the policy has not moved?

If they do not, they are two policies, and every importance weight is wrong. In fp32 they differ by the order
of sums, in 16 bits also by roundings; docs/health.md has the measurements behind the bounds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import sqrt

import torch

from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner

# The most that they may differ by, in nats: on average, and at one token.
BOUNDS = {
    torch.float32: (1e-4, 1e-3),
    torch.bfloat16: (0.08, 2.0),
    torch.float16: (0.0125, 0.5),
}
ALLOWANCE = 3.0  # of few tokens: the mean over n of them counts 1 / (1 + ALLOWANCE / √n)
NAMED = 3  # tokens that a `Disagreement` names
TAIL = 40  # characters of their prompts


class Disagreement(ValueError):
    """What is learned is not what was sampled. The message is one line, and names the worst tokens."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """N tokens, as the sampler and as the learner scored them.

    places: of each token, the number of its sequence and its place in that sequence's completion
    sampler, learner: log-probabilities, in nats
    """

    batch: Batch
    places: Sequence[tuple[int, int]]
    sampler: Sequence[float]
    learner: Sequence[float]

    @property
    def differences(self) -> list[float]:
        return [abs(p - q) for p, q in zip(self.sampler, self.learner, strict=True)]

    @property
    def mean(self) -> float:
        """In nats; less where it is over few tokens."""
        n = len(self.places)
        return sum(self.differences) / n / (1 + ALLOWANCE / sqrt(n)) if n else 0.0

    @property
    def worst(self) -> float:
        return max(self.differences, default=0.0)

    def require(self, learner: Learner, why: str = "") -> None:
        """Raises Disagreement where a bound is passed, or one is not a number. `why`: the likely cause."""
        policy = learner.policy
        mean, most = BOUNDS[policy.dtype]
        if self.mean <= mean and self.worst <= most:
            return
        differences = self.differences
        order = sorted(range(len(differences)), key=lambda i: -differences[i])[:NAMED]
        n = len(differences)
        raise Disagreement(
            f"sampler and learner differ by {sum(differences) / n:.2g} nats a token on average and "
            f"{max(differences):.2g} at most, over {n} tokens of a policy that has not moved "
            f"between{why}; the worst: {'; '.join(self._named(i, policy.tokenizer.decode) for i in order)}"
        )

    def _named(self, i: int, decode: Callable[[list[int]], str]) -> str:
        """A token for a person: its text, the end of what stands before it, both log-probabilities."""
        number, at = self.places[i]
        completion = self.batch.completions[number]
        before, token = self.batch.prompts[number] + completion[:at], completion[at]
        tail = decode(list(before[-TAIL:]))[-TAIL:]
        scores = f"sampler {self.sampler[i]:.4f}, learner {self.learner[i]:.4f}"
        return f"{decode([token])!r} after {tail!r} ({scores})"


def compare(learner: Learner, batch: Batch) -> Agreement:
    """Score a batch's tokens as a loss would, each under its choices, beside the sampler's column.

    Tokens that had no alternative are left out.
    """
    places = [(number, at) for number, c in enumerate(batch.completions) for at in range(len(c))]
    known = list(chain.from_iterable(batch.sampler))
    found: list[tuple[int, float]] = []
    start = 0
    for part in batch.parts(learner.micro_batch, whole_groups=False):
        with torch.enable_grad():  # without gradients other code may run than in a loss
            scored = learner.score(part)
        logprobs = scored.logprobs_N.detach().double().tolist()
        found += [(start + n, logprob) for n, logprob in zip(scored.token_N.tolist(), logprobs, strict=True)]
        start += part.tokens
    numbers = [n for n, _ in found]
    return Agreement(
        batch, [places[n] for n in numbers], [known[n] for n in numbers], [logprob for _, logprob in found]
    )
