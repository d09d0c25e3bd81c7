"""Tokens drawn from logits, and their log-probabilities; the same tokens by every implementation.

A token of the softmax of z is argmax (z_j + g_j) with Gumbel noise g_j = -log E_j, E_j = -log(1 - u_j)
(Gumbel 1954; Maddison, Tarlow and Minka 2014). Noise costs more than the memory traffic of a logit, so it is
used twice on few numbers and not once on all: a split of LOGITS_PER_SPLIT tokens is drawn by the log-sum-exps
of the splits, then a token of that split, which together is the same softmax.

The uniform u_j is a hash of (seed, counter, j) and of nothing else, as in counter-based generators (Salmon et
al. 2011): a row's token depends neither on its batch nor on what was drawn before. The hash is Chris Wellons'
lowbias32 (hash-prospector, 2018), here of j times Weyl's constant, plus one key, xor another; both keys are
hashes of seed and counter. Split s has the noise of j = 2^32 - 1 - s.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.constants import LARGEST, LN2, LOG2E, LOGITS_PER_SPLIT, LOWEST, SERIES, WEYL
from shuhari.kernels.dispatch import Implementation

MASK = 0xFFFFFFFF


def lowbias32(x: Tensor) -> Tensor:
    """The hash of 32-bit integers, which are held in int64."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & MASK
    return x ^ (x >> 16)


def keys(seeds_B: Tensor, counters_B: Tensor) -> tuple[Tensor, Tensor]:
    """Two 32-bit keys of each row, in int64."""
    words = (seeds_B & MASK, (seeds_B >> 32) & MASK, counters_B & MASK, (counters_B >> 32) & MASK)
    first_B, second_B = torch.zeros_like(seeds_B), torch.full_like(seeds_B, WEYL)
    for forward, backward in zip(words, reversed(words), strict=True):
        first_B, second_B = lowbias32(first_B ^ forward), lowbias32(second_B ^ backward)
    return first_B, second_B


def uniforms(seeds_B: Tensor, counters_B: Tensor, j_BK: Tensor) -> Tensor:
    """u [B, K] in fp32 of numbers j, in [2^-33, 1 - 2^-24], with 32 bits of resolution near 0."""
    first_B, second_B = keys(seeds_B, counters_B)
    bits_BK = lowbias32(((j_BK * WEYL + first_B[:, None]) & MASK) ^ second_B[:, None])
    return ((bits_BK.float() + 0.5) * 2.0**-32).clamp(max=LARGEST)


def draw(z_BK: Tensor, greedy_B: Tensor, seeds_B: Tensor, counters_B: Tensor, j_BK: Tensor) -> Tensor:
    """argmax [B] of z, in base 2, with the noise of numbers j, but for greedy rows; the first of equals."""
    u_BK = uniforms(seeds_B, counters_B, j_BK)
    series_BK = u_BK * (1 + u_BK * (0.5 + u_BK * (1 / 3)))
    E_BK = torch.where(u_BK < SERIES, series_BK, (1 - u_BK).log2() * -LN2)
    scores_BK = z_BK - E_BK.log2().masked_fill(greedy_B[:, None], 0)
    return scores_BK.masked_fill(scores_BK.isnan(), -torch.inf).argmax(-1)


def plain(
    logits_BV: Tensor, temperature_B: Tensor, seeds_B: Tensor, counters_B: Tensor
) -> tuple[Tensor, Tensor]:
    """The definition."""
    B, V = logits_BV.shape
    device = logits_BV.device
    greedy_B = temperature_B == 0
    temperature_B1 = temperature_B.float().masked_fill(greedy_B, 1)[:, None]
    scale_B1 = LOG2E / temperature_B1
    size = min(LOGITS_PER_SPLIT, V)
    splits = -(-V // size)
    z_BSK = F.pad(logits_BV.float(), (0, splits * size - V), value=-torch.inf).view(B, splits, size)

    top_BS = z_BSK.masked_fill(z_BSK.isnan(), -torch.inf).amax(-1).clamp(min=LOWEST)
    sum_BS = ((z_BSK.clamp(min=LOWEST) - top_BS[..., None]) * scale_B1[..., None]).exp2().sum(-1)
    mass_BS = torch.where(greedy_B[:, None], top_BS, top_BS * scale_B1 + sum_BS.log2())
    s_S = torch.arange(splits, device=device)
    split_B = draw(mass_BS, greedy_B, seeds_B, counters_B, (MASK - s_S).expand(B, -1))

    z_BK = z_BSK[torch.arange(B, device=device), split_B]
    j_BK = split_B[:, None] * size + torch.arange(size, device=device)
    tokens_B = split_B * size + draw(z_BK * scale_B1, greedy_B, seeds_B, counters_B, j_BK)
    logprobs_BV = (logits_BV.float() / temperature_B1).log_softmax(-1)
    return tokens_B, logprobs_BV.gather(-1, tokens_B[:, None])[:, 0]


def sample(
    logits_BV: Tensor,
    temperature_B: Tensor,
    seeds_B: Tensor,
    counters_B: Tensor,
    implementation: Implementation | None = None,
) -> tuple[Tensor, Tensor]:
    """One token [B] of each row, int64, and its log-probability [B] in nats, fp32, at that temperature.

    At temperature 0 the token is the largest logit's, the first of equals, and the log-probability is that at
    temperature 1. A logit of -inf is never chosen. A row with a NaN, or with no logit above -inf, gets some
    token and NaN; other rows are as if it were not there. Nothing waits for the device. Implementations
    choose the same token unless two scores differ by rounding alone, about once in a million draws.

    "triton" reads the logits once and a split of each row again, 2·B·(V + LOGITS_PER_SPLIT) bytes in 16 bits.

    logits_BV: fp32, fp16 or bf16
    temperature_B: 0 or more, in fp32; seeds_B, counters_B: int64, each pair used once (such as a row's own
        seed and the number of its token)
    Raises ValueError where "triton" is asked for and cannot run, or V is above 2^22.
    """
    given = (logits_BV, temperature_B, seeds_B, counters_B)
    if dispatch.choose(implementation, logits_BV.device) == "plain":
        return plain(*given)
    from shuhari.kernels.gpu import sampling as gpu

    return gpu.sample(*given)
