"""Norms and SwiGLU, for `shuhari.kernels.fused`, which says what they compute.

With the few rows of a step all of their data is in L2 and latency is what counts: a program takes few
elements a thread, so that its loads are on their way before the first is waited for, and its threads exchange
nothing but sums. With many rows (a prefill) each thread has 16 bytes or more in flight, which memory wants.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.gpu.constants import LOG2E
from shuhari.kernels.gpu.launch import DTYPES, TYPE_NAMES, Shipped, listed

WIDTHS = (256, 1024, 2048, 4096, 8192)  # of `norm_kernel`
MOST_WARPS = 32


def norm_options(C: int) -> dict[str, int]:
    """A row is one block: 4 elements a thread, 16 bytes of fp32, while it has warps for that.

    Raises ValueError where a row is too wide.
    """
    block = next((x for x in WIDTHS if x >= C), None)
    if block is None:
        raise ValueError(f"'triton' norms rows of up to {max(WIDTHS):,} elements, not {C:,}")
    return {"BLOCK": block, "num_warps": min(block // 128, MOST_WARPS)}


def swiglu_options(dtype: torch.dtype) -> dict[str, int]:
    """16 bytes a thread, of gate and of up."""
    return {"BLOCK": 2048 // dtype.itemsize, "num_warps": 4}


@triton.jit
def norm_kernel(x_NC, delta_NC, weight_C, h_NC, C, eps, BLOCK: tl.constexpr):
    """One row: added to, in place, and normed."""
    row = tl.program_id(0).to(tl.int64) * C
    c = tl.arange(0, BLOCK)
    mask = c < C
    x = tl.load(x_NC + row + c, mask=mask, other=0.0)
    weight = tl.load(weight_C + c, mask=mask, other=0.0)
    if delta_NC is not None:
        x += tl.load(delta_NC + row + c, mask=mask, other=0.0).to(tl.float32)
        tl.store(x_NC + row + c, x, mask=mask)
    h = x * tl.rsqrt(tl.sum(x * x, 0) / C + eps) * weight
    tl.store(h_NC + row + c, h.to(h_NC.dtype.element_ty), mask=mask)


@triton.jit
def swiglu_kernel(gate_up_N2I, out_NI, width, BLOCK: tl.constexpr):
    """BLOCK of a row's I = width elements; programs beside each other read memory beside each other."""
    blocks = tl.cdiv(width, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64) * width
    i = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_up_N2I + 2 * row + i, mask=i < width, other=0.0).to(tl.float32)
    up = tl.load(gate_up_N2I + 2 * row + width + i, mask=i < width, other=0.0).to(tl.float32)
    out = gate / (1 + tl.exp2(gate * -LOG2E)) * up
    tl.store(out_NI + row + i, out.to(out_NI.dtype.element_ty), mask=i < width)


def add_rms_norm(
    x_NC: Tensor, delta_NC: Tensor | None, weight_C: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """`shuhari.kernels.fused.add_rms_norm`.

    Raises ValueError where rows are too wide, or dtypes or strides are none that the kernel takes.
    """
    N, C = x_NC.shape
    taken = dtype in DTYPES and (delta_NC is None or delta_NC.dtype in _deltas(dtype))
    if not taken or not (delta_NC is None or delta_NC.is_contiguous()):
        given = "none" if delta_NC is None else f"{delta_NC.dtype} with strides {delta_NC.stride()}"
        raise ValueError(f"'triton' norms to {dtype} with no delta of this kind: {given}")
    chosen = norm_options(C)
    h_NC = torch.empty(N, C, dtype=dtype, device=x_NC.device)
    if N:
        norm_kernel[(N,)](x_NC, delta_NC, weight_C, h_NC, C, eps, **chosen, enable_fp_fusion=True)
    return h_NC


def _deltas(dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    """What may be added where the result is in `dtype`."""
    return DTYPES if dtype == torch.float32 else (torch.float32, dtype)


def swiglu(gate_up_N2I: Tensor) -> Tensor:
    """`shuhari.kernels.fused.swiglu`. Raises ValueError for fp64 and the like."""
    if gate_up_N2I.dtype not in DTYPES:
        raise ValueError(f"'triton' takes fp32, fp16 and bf16, not {gate_up_N2I.dtype}")
    N, width = len(gate_up_N2I), gate_up_N2I.shape[1] // 2
    chosen = swiglu_options(gate_up_N2I.dtype)
    out_NI = torch.empty(N, width, dtype=gate_up_N2I.dtype, device=gate_up_N2I.device)
    if N and width:
        grid = (N * triton.cdiv(width, chosen["BLOCK"]),)
        swiglu_kernel[grid](gate_up_N2I, out_NI, width, **chosen, enable_fp_fusion=True)
    return out_NI


def shipped() -> list[Shipped]:
    """Both in every dtype, norms of every width and delta."""
    found = []
    for dtype in DTYPES:
        name = TYPE_NAMES[dtype]
        kind = f"*{name}"
        for delta in (None, *_deltas(dtype)):
            added = None if delta is None else TYPE_NAMES[delta]
            types: dict[str, str | None] = {
                "x_NC": "*fp32",
                "delta_NC": added and f"*{added}",
                "weight_C": "*fp32",
                "h_NC": kind,
            }
            types |= {"C": "i32", "eps": "fp32"}
            for width in WIDTHS:
                given = (norm_kernel, types, norm_options(width))
                found.append(listed(f"norm {name} + {added or 'nothing'} {width}", *given))
        types = {"gate_up_N2I": kind, "out_NI": kind, "width": "i32"}
        found.append(listed(f"swiglu {name}", swiglu_kernel, types, swiglu_options(dtype)))
    return found
