"""Drawing tokens: each row by its own stream of random numbers, so that no row depends on the others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shuhari.policy.inference.request import RunningRequest, next_allowed

Seeds = npt.NDArray[np.uint64]
WIDE = 1 << 13  # tokens of a vocabulary from which on its distribution is taken in blocks
BLOCK = 256  # tokens
IN_CACHE = 1 << 18  # logits: 1 MiB
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x: Seeds) -> Seeds:
    """SplitMix64's output function (Steele, Lea & Flood 2014): 64 well-mixed bits of a counter."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seeds_B: Seeds, counters_B: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1): of each seed's stream the one at its counter."""
    with np.errstate(over="ignore"):
        bits = _mixed(_mixed(seeds_B + GOLDEN) + GOLDEN * (counters_B.astype(np.uint64) + np.uint64(1)))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def spread(seed: int, n: int) -> list[int]:
    """`n` seeds made from one."""
    with np.errstate(over="ignore"):
        counters = np.arange(1, n + 1, dtype=np.uint64) * GOLDEN
        return [int(x) for x in _mixed(_mixed(np.uint64(seed % 2**64) + counters))]


def nth_seed(seed: int, n: int) -> int:
    """The `n`-th seed, from 1, that `spread` gives. For one at a time Python's integers are quicker."""
    x = seed + n * int(GOLDEN)
    for _ in range(2):
        x %= 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        x ^= x >> 31
    return x


def seeds_of(requests: Sequence[RunningRequest]) -> Tensor:
    """The seeds' 64 bits, as int64."""
    return torch.from_numpy(np.array([r.request.seed for r in requests], np.uint64).view(np.int64))


def draw(probabilities_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """One token [N] of each row's distribution, by inversion of uniform numbers in [0, 1)."""
    cumulative_NV = probabilities_NV.cumsum(-1)
    # Rounding may leave the total a little off 1, so numbers are drawn below the total itself.
    total_N = cumulative_NV[:, -1]
    below_N = torch.minimum(uniform_N.to(total_N.dtype) * total_N, total_N.nextafter(total_N.new_zeros(())))
    chosen_N = torch.searchsorted(cumulative_NV, below_N[:, None], right=True).squeeze(-1)
    return chosen_N.clamp(max=cumulative_NV.shape[1] - 1)  # in rows of NaN


def block_sums(logits_BV: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's largest logit z* [B, 1], and Σ exp(z - z*) of each BLOCK of tokens [B, S].

    A few rows at a time: all passes over them run in the processor's caches, and nothing large is made.
    """
    V = logits_BV.shape[1]
    whole = V // BLOCK * BLOCK
    tops, sums = [], []
    for z_NV in torch.split(logits_BV, max(1, IN_CACHE // V)):
        tops.append(z_NV.amax(-1, keepdim=True))
        e_NV = (z_NV - tops[-1]).exp_()
        rest = [e_NV[:, whole:].sum(-1, keepdim=True)] if whole < V else []
        sums.append(torch.cat([e_NV[:, :whole].reshape(len(e_NV), -1, BLOCK).sum(-1), *rest], 1))
    return torch.cat(tops), torch.cat(sums)


def draw_by_block(logits_BV: Tensor, top_B1: Tensor, sums_BS: Tensor, uniform_B: Tensor) -> Tensor:
    """`draw` of a wide distribution, by two inversions of one number: of its blocks' sums, then within a
    block. Sums over a whole vocabulary, one after the other, would take longer than all else here."""
    last = logits_BV.shape[1] - 1
    cumulative_BS = sums_BS.cumsum(-1)
    below_B1 = _below(cumulative_BS, uniform_B.to(sums_BS.dtype)[:, None] * cumulative_BS[:, -1:])
    block_B1 = torch.searchsorted(cumulative_BS, below_B1, right=True).clamp(max=sums_BS.shape[1] - 1)
    before_B1 = cumulative_BS.gather(1, (block_B1 - 1).clamp(min=0)).masked_fill(block_B1 == 0, 0)
    token_BK = block_B1 * BLOCK + torch.arange(BLOCK)
    e_BK = (logits_BV.gather(1, token_BK.clamp(max=last)) - top_B1).exp_().masked_fill(token_BK > last, 0)
    within_BK = e_BK.cumsum(-1)
    place_B1 = torch.searchsorted(within_BK, _below(within_BK, below_B1 - before_B1), right=True)
    return (block_B1 * BLOCK + place_B1)[:, 0].clamp(max=last)  # in rows of NaN


def _below(cumulative_NV: Tensor, sums_N1: Tensor) -> Tensor:
    """Sums below each row's total, which rounding may have left a little lower."""
    total_N1 = cumulative_NV[:, -1:]
    return torch.minimum(sums_N1, total_N1.nextafter(total_N1.new_zeros(())))


class _Whole:
    """A distribution of few tokens."""

    def __init__(self, logits_BV: Tensor) -> None:
        self.probabilities_BV = logits_BV.softmax(-1)

    def draw(self, uniform_B: Tensor) -> Tensor:
        return draw(self.probabilities_BV, uniform_B)

    def logprob(self, chosen_B: Tensor) -> Tensor:
        return self.probabilities_BV.gather(1, chosen_B[:, None])[:, 0].log()


class _InBlocks:
    """The same of many tokens, never whole."""

    def __init__(self, logits_BV: Tensor) -> None:
        self.logits_BV, (self.top_B1, self.sums_BS) = logits_BV, block_sums(logits_BV)

    def draw(self, uniform_B: Tensor) -> Tensor:
        return draw_by_block(self.logits_BV, self.top_B1, self.sums_BS, uniform_B)

    def logprob(self, chosen_B: Tensor) -> Tensor:
        chosen_logits_B = self.logits_BV.gather(1, chosen_B[:, None])[:, 0]
        return chosen_logits_B - self.top_B1[:, 0] - self.sums_BS.sum(-1).log()


class Sampler:
    """Draws the next tokens of some requests, as each of them asks."""

    def __init__(self, requests: Sequence[RunningRequest]) -> None:
        self.requests = list(requests)
        temperatures = [r.request.temperature for r in requests]
        temperature_B = torch.tensor(temperatures)
        self._sampled_B = temperature_B > 0
        self._divisor_B1 = torch.where(self._sampled_B, temperature_B, 1.0)[:, None]
        self._plain = set(temperatures) == {1.0}
        self._sampled, self._greedy = any(temperatures), not all(temperatures)
        self._seeds = np.array([r.request.seed for r in requests], dtype=np.uint64)
        self._allowed = [i for i, r in enumerate(requests) if r.allowed]
        self._exploring = [i for i, r in enumerate(requests) if r.explore_at >= 0]

    def __call__(self, logits_BV: Tensor) -> tuple[list[int], list[float]]:
        """Each request's next token, and its log-probability at the temperature sampled."""
        requests, scaled_BV = self.requests, logits_BV.float()
        if not self._plain:
            scaled_BV = scaled_BV / self._divisor_B1
        if self._allowed:
            hidden_BV = torch.zeros_like(scaled_BV, dtype=torch.bool)
            hidden_BV[self._allowed] = True
            allowed = [
                (i, token)
                for i in self._allowed
                for token in next_allowed(requests[i].allowed, tuple(requests[i].tokens))
            ]
            hidden_BV[tuple(torch.tensor(allowed).T)] = False
            scaled_BV = scaled_BV.masked_fill(hidden_BV, -torch.inf)
        distribution = (_InBlocks if scaled_BV.shape[1] >= WIDE else _Whole)(scaled_BV)
        if self._sampled:
            counters = np.array([len(r.tokens) for r in requests])
            chosen_B = distribution.draw(torch.from_numpy(uniform(self._seeds, counters)))
        if self._greedy:
            likeliest_B = scaled_BV.argmax(-1)
            chosen_B = torch.where(self._sampled_B, chosen_B, likeliest_B) if self._sampled else likeliest_B
        logprob_B = distribution.logprob(chosen_B)
        for i in [i for i in self._exploring if requests[i].explore_at == len(requests[i].tokens)]:
            logprobs_V = scaled_BV[i].log_softmax(-1)  # a probability might be too small for a number
            possible = int(logprobs_V.isfinite().sum())  # among given choices they may be fewer
            likeliest = logprobs_V.topk(min(requests[i].request.explore, len(logprobs_V))).indices
            chosen_B[i] = likeliest[requests[i].explore_rank % max(1, min(possible, len(likeliest)))]
            logprob_B[i] = logprobs_V[chosen_B[i]]
        return chosen_B.tolist(), logprob_B.tolist()
