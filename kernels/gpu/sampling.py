"""Sampling for `shuhari.kernels.sampling`, whose definition it follows closely.

`split_kernel` reads the logits once, memory-bound: a program takes one split of one row and leaves the
maximum and the sum of exponentials below it. `draw_kernel` draws a row's split by those, then a token of that
split, whose logits it reads again. Splits are of fixed size and taken in fixed order: few rows of many logits
fill the chip, and a row's result does not depend on its batch.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.constants import LOGITS_PER_SPLIT
from shuhari.kernels.gpu.constants import LARGEST, LN2, LOG2E, LOWEST, SERIES, WEYL
from shuhari.kernels.gpu.launch import DTYPES, TYPE_NAMES, Shipped, listed

# (logits that a program takes at once, splits that it holds at once, warps): the first to hold V is taken.
SIZES = ((128, 1, 1), (1024, 1, 4), (LOGITS_PER_SPLIT, 64, 8), (LOGITS_PER_SPLIT, 1024, 8))


def sizes(V: int) -> tuple[int, int, int]:
    """BLOCK, SPLITS and warps of both kernels. Raises ValueError above 2^22 logits."""
    found = next((x for x in SIZES if x[0] * x[1] >= V), None)
    if found is None:
        raise ValueError(f"{V:,} logits are too many: {SIZES[-1][0] * SIZES[-1][1]:,} at most")
    return found


@triton.jit
def lowbias32(x):
    """The hash of uint32."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def draw(z_K, greedy, seed, counter, j_K):
    """argmax of z, in base 2, with the noise of uint32 numbers j, unless greedy; the first of equals."""
    seed_low, seed_high = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    counter_low, counter_high = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    first = lowbias32(lowbias32(lowbias32(lowbias32(seed_low) ^ seed_high) ^ counter_low) ^ counter_high)
    second = lowbias32(lowbias32(counter_high ^ WEYL) ^ counter_low)
    second = lowbias32(lowbias32(second ^ seed_high) ^ seed_low)
    bits_K = lowbias32((j_K * WEYL + first) ^ second)
    u_K = tl.minimum((bits_K.to(tl.float32) + 0.5) * (2.0**-32), LARGEST)
    series_K = u_K * (1 + u_K * (0.5 + u_K * (1 / 3)))
    noise_K = tl.log2(tl.where(u_K < SERIES, series_K, tl.log2(1 - u_K) * -LN2))
    score_K = z_K - tl.where(greedy, 0.0, noise_K)
    return tl.argmax(tl.where(score_K == score_K, score_K, float("-inf")), 0)  # NaN is not chosen


@triton.jit
def split_kernel(logits_BV, temperature_B, top_BS, sum_BS, V, stride, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    j_K = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x_K = tl.load(logits_BV + b * stride + j_K, mask=j_K < V, other=float("-inf")).to(tl.float32)
    x_K = tl.where(x_K < LOWEST, LOWEST, x_K)  # NaN stays, and makes the sum NaN
    temperature = tl.load(temperature_B + b)
    scale = LOG2E / tl.where(temperature == 0, 1.0, temperature)
    top = tl.max(x_K, 0)
    out = b * tl.num_programs(1) + tl.program_id(1)
    tl.store(top_BS + out, top)
    tl.store(sum_BS + out, tl.sum(tl.exp2((x_K - top) * scale), 0))


@triton.jit
def draw_kernel(
    logits_BV,
    temperature_B,
    seeds_B,
    counters_B,
    top_BS,
    sum_BS,
    tokens_B,
    logprobs_B,
    V,
    stride,
    splits,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    temperature = tl.load(temperature_B + b)
    seed, counter = tl.load(seeds_B + b), tl.load(counters_B + b)
    greedy = temperature == 0
    scale = LOG2E / tl.where(greedy, 1.0, temperature)

    s_S = tl.arange(0, SPLITS)
    at_S = b * splits + s_S
    top_S = tl.load(top_BS + at_S, mask=s_S < splits, other=float("-inf"))
    sum_S = tl.load(sum_BS + at_S, mask=s_S < splits, other=1.0)
    mass_S = tl.where(greedy, top_S, top_S * scale + tl.log2(sum_S))
    split = draw(mass_S, greedy, seed, counter, 0xFFFFFFFF - s_S.to(tl.uint32))
    top = tl.max(top_S, 0)
    total = tl.sum(tl.where(s_S < splits, sum_S, 0.0) * tl.exp2((top_S - top) * scale), 0)

    j_K = split * BLOCK + tl.arange(0, BLOCK)
    x_K = tl.load(logits_BV + b * stride + j_K, mask=j_K < V, other=float("-inf")).to(tl.float32)
    token = split * BLOCK + draw(x_K * scale, greedy, seed, counter, j_K.to(tl.uint32))
    x = tl.load(logits_BV + b * stride + token).to(tl.float32)
    logprob = ((x - top) * scale - tl.log2(total)) * LN2
    tl.store(tokens_B + b, token.to(tl.int64))
    tl.store(logprobs_B + b, tl.where(top > LOWEST, logprob, float("nan")))


def sample(
    logits_BV: Tensor, temperature_B: Tensor, seeds_B: Tensor, counters_B: Tensor
) -> tuple[Tensor, Tensor]:
    """`shuhari.kernels.sampling.sample` by two kernels."""
    B, V = logits_BV.shape
    if logits_BV.stride(1) != 1:
        logits_BV = logits_BV.contiguous()
    stride, device = logits_BV.stride(0), logits_BV.device
    block, held, warps = sizes(V)
    splits = triton.cdiv(V, block)
    top_BS, sum_BS = torch.empty(2, B, splits, device=device).unbind(0)
    tokens_B, logprobs_B = torch.empty(B, dtype=torch.int64, device=device), torch.empty(B, device=device)
    if B == 0:
        return tokens_B, logprobs_B
    temperature_B = temperature_B.float().contiguous()
    split_kernel[(B, splits)](
        logits_BV,
        temperature_B,
        top_BS,
        sum_BS,
        V,
        stride,
        BLOCK=block,
        num_warps=warps,
        enable_fp_fusion=True,
    )
    draw_kernel[(B,)](
        logits_BV,
        temperature_B,
        seeds_B.contiguous(),
        counters_B.contiguous(),
        top_BS,
        sum_BS,
        tokens_B,
        logprobs_B,
        V,
        stride,
        splits,
        BLOCK=block,
        SPLITS=held,
        num_warps=warps,
        enable_fp_fusion=True,
    )
    return tokens_B, logprobs_B


def shipped() -> list[Shipped]:
    """Both kernels for every dtype and size."""
    found = {}  # by name: two of SIZES share a split
    for dtype in DTYPES:
        name = TYPE_NAMES[dtype]
        logits = {"logits_BV": f"*{name}", "temperature_B": "*fp32"}
        sources = {"seeds_B": "*i64", "counters_B": "*i64"}
        parts = {"top_BS": "*fp32", "sum_BS": "*fp32"}
        results = {"tokens_B": "*i64", "logprobs_B": "*fp32"}
        numbers = {"V": "i32", "stride": "i32"}
        for block, held, warps in (sizes(x[0] * x[1]) for x in SIZES):
            options = {"BLOCK": block, "num_warps": warps}
            title = f"split {name} {block}"
            found[title] = listed(title, split_kernel, {**logits, **parts, **numbers}, options)
            options = {"BLOCK": block, "SPLITS": held, "num_warps": warps}
            types = {**logits, **sources, **parts, **results, **numbers, "splits": "i32"}
            title = f"draw {name} {block} of {held}"
            found[title] = listed(title, draw_kernel, types, options)
    return list(found.values())
