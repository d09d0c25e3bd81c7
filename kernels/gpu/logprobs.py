"""One chunk of logits to log-probabilities and entropies, and back, for `shuhari.kernels.logprobs`.

Memory-bound: the forward pass reads the logits once, the backward pass reads and writes them once. Everything
is kept in units of raw logits and scaled after the maximum is taken off, where subtraction is exact near the
top: e = 2^((x - m) log2(e) / temperature).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.constants import LOG2E
from shuhari.kernels.gpu.constants import LN2, LOWEST
from shuhari.kernels.gpu.launch import DTYPES, TYPE_NAMES, Shipped, listed

BLOCKS = {128: 1, 1024: 2, 8192: 8}  # logits a program takes at once, and its warps


def blocks(V: int) -> tuple[int, int]:
    """The smallest of BLOCKS that holds V, or the largest: wide, so that many loads are on their way."""
    return next((x for x in BLOCKS.items() if x[0] >= V), (8192, BLOCKS[8192]))


@triton.jit
def forward_kernel(logits_NV, targets_N, logprobs_N, entropy_N, lse_N, V, stride, scale, BLOCK: tl.constexpr):
    """One row: maximum m, s = Σ e, t = Σ e (x - m), each rescaled as m grows."""
    n = tl.program_id(0).to(tl.int64)
    row_V = logits_NV + n * stride
    v_B = tl.arange(0, BLOCK)
    m = tl.full((), LOWEST, tl.float32)
    s = tl.full((), 0.0, tl.float32)
    t = tl.full((), 0.0, tl.float32)
    for start in range(0, V, BLOCK):
        valid_B = start + v_B < V
        x_B = tl.load(row_V + start + v_B, mask=valid_B, other=float("-inf")).to(tl.float32)
        x_B = tl.where(x_B < LOWEST, LOWEST, x_B)  # NaN stays
        higher = tl.maximum(m, tl.max(x_B, 0))
        below_B = x_B - higher
        e_B = tl.exp2(below_B * scale)
        shrink = m - higher
        fade = tl.exp2(shrink * scale)
        t = fade * (t + s * shrink) + tl.sum(e_B * below_B, 0)
        s = s * fade + tl.sum(e_B, 0)
        m = higher
    target = tl.load(targets_N + n)
    x = tl.load(row_V + target, mask=(target >= 0) & (target < V), other=float("nan")).to(tl.float32)
    log2_s = tl.log2(s)
    tl.store(logprobs_N + n, ((x - m) * scale - log2_s) * LN2)
    tl.store(entropy_N + n, (log2_s - t / s * scale) * LN2)
    tl.store(lse_N + n, (m * scale + log2_s) * LN2)


@triton.jit
def backward_kernel(
    logits_NV,
    targets_N,
    lse_N,
    entropy_N,
    d_logprobs_N,
    d_entropy_N,
    out_NV,
    V,
    stride,
    scale,
    d_scale,
    BLOCK: tl.constexpr,
    HAS_LOGPROBS: tl.constexpr,
    HAS_ENTROPY: tl.constexpr,
):
    """One block of one row: (g [j = t] - p (g + e (log p + H))) / temperature; `out` may be the logits."""
    n = tl.program_id(0).to(tl.int64)
    v_B = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    valid_B = v_B < V
    x_B = tl.load(logits_NV + n * stride + v_B, mask=valid_B, other=0.0).to(tl.float32)
    log2_p_B = x_B * scale - tl.load(lse_N + n) / LN2
    p_B = tl.exp2(log2_p_B)
    d_B = tl.zeros((BLOCK,), tl.float32)
    if HAS_LOGPROBS:
        g = tl.load(d_logprobs_N + n)
        d_B += tl.where(v_B == tl.load(targets_N + n), g, 0.0) - p_B * g
    if HAS_ENTROPY:
        d_B -= p_B * tl.load(d_entropy_N + n) * (log2_p_B * LN2 + tl.load(entropy_N + n))
    tl.store(out_NV + n * stride + v_B, (d_B * d_scale).to(out_NV.dtype.element_ty), mask=valid_B)


class Fused:
    """The Triton implementation of `shuhari.kernels.logprobs.Rows`."""

    def forward(
        self, logits_NV: Tensor, targets_N: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        N, V = logits_NV.shape
        logprobs_N, entropy_N, lse_N = torch.empty(3, N, device=logits_NV.device).unbind(0)
        block, warps = blocks(V)
        if N:
            forward_kernel[(N,)](
                logits_NV,
                targets_N,
                logprobs_N,
                entropy_N,
                lse_N,
                V,
                logits_NV.stride(0),
                LOG2E / temperature,
                BLOCK=block,
                num_warps=warps,
                enable_fp_fusion=True,
            )
        return logprobs_N, entropy_N, lse_N

    def backward(
        self,
        logits_NV: Tensor,
        targets_N: Tensor,
        temperature: float,
        lse_N: Tensor,
        entropy_N: Tensor,
        d_logprobs_N: Tensor | None,
        d_entropy_N: Tensor | None,
        keep: bool,
    ) -> Tensor:
        N, V = logits_NV.shape
        out_NV = torch.empty_like(logits_NV) if keep else logits_NV
        block, warps = blocks(V)
        if N:
            backward_kernel[(N, triton.cdiv(V, block))](
                logits_NV,
                targets_N,
                lse_N,
                entropy_N,
                lse_N if d_logprobs_N is None else d_logprobs_N.contiguous(),
                lse_N if d_entropy_N is None else d_entropy_N.contiguous(),
                out_NV,
                V,
                logits_NV.stride(0),
                LOG2E / temperature,
                1 / temperature,
                BLOCK=block,
                HAS_LOGPROBS=d_logprobs_N is not None,
                HAS_ENTROPY=d_entropy_N is not None,
                num_warps=warps,
                enable_fp_fusion=True,
            )
        return out_NV


def shipped() -> list[Shipped]:
    """Both kernels for every dtype and block size; the backward kernel for every pair of gradients."""
    found = []
    for dtype in DTYPES:
        for block, warps in map(blocks, BLOCKS):
            name = f"{TYPE_NAMES[dtype]} {block}"
            options = {"BLOCK": block, "num_warps": warps}
            inputs = {"logits_NV": f"*{TYPE_NAMES[dtype]}", "targets_N": "*i64"}
            numbers = {"V": "i32", "stride": "i32", "scale": "fp32"}
            outputs = dict.fromkeys(("logprobs_N", "entropy_N", "lse_N"), "*fp32")
            types = inputs | outputs | numbers
            found.append(listed(f"forward {name}", forward_kernel, types, options))
            gradients = dict.fromkeys(("lse_N", "entropy_N", "d_logprobs_N", "d_entropy_N"), "*fp32")
            types = inputs | gradients | {"out_NV": f"*{TYPE_NAMES[dtype]}"} | numbers | {"d_scale": "fp32"}
            for has in ((True, False), (False, True), (True, True)):
                flags = dict(zip(("HAS_LOGPROBS", "HAS_ENTROPY"), has, strict=True))
                label = "+".join(x for x, y in zip(("logprobs", "entropy"), has, strict=True) if y)
                title = f"backward of {label} {name}"
                found.append(listed(title, backward_kernel, types, options | flags))
    return found
