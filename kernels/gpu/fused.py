"""The elementwise kernels of a decode step, for `shuhari.kernels.fused`, which says what they compute.

With the few rows of a step all of their data is in L2 and latency is what counts: a program takes few
elements a thread, so that its loads are on their way before the first is waited for, and exchanges nothing but sums.
With many rows (a prefill) the same programs have 16 bytes or more a thread in flight, which memory wants.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.decode import Reads
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Shipped
from shuhari.kernels.gpu.merge import UNIT, strides

WIDTHS = (256, 1024, 2048, 4096, 8192)  # of `norm_kernel`
MOST_WARPS = 32
HEADS = 8  # of one program of `rotate_kernel`
ROTATE_COUNTS = "H Hkv T qkv_row qkv_head k_stride k_head v_stride v_head".split()
MINUS_LOG2E = tl.constexpr(-1.4426950408889634)


def norm_options(C: int) -> dict[str, int]:
    """A row is one block: 4 elements a thread, 16 bytes of fp32, while it has warps for that.

    Raises ValueError where a row is too wide.
    """
    block = next((x for x in WIDTHS if x >= C), None)
    if block is None:
        raise ValueError(f"'triton' norms rows of up to {max(WIDTHS):,} elements, not {C:,}")
    return {"BLOCK": block, "num_warps": min(block // 128, MOST_WARPS)}


def rotate_options(D: int, dtype: torch.dtype) -> dict[str, int]:
    """16 bytes a thread of each half of the heads."""
    half = triton.next_power_of_2(D // 2)
    return {
        "D": D,
        "BLOCK": half,
        "BLOCK_H": HEADS,
        "num_warps": max(1, HEADS * half * dtype.itemsize // 512),
    }


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


@triton.jit(do_not_specialize=ROTATE_COUNTS)
def rotate_kernel(
    qkv_BED,
    cos_TD,
    sin_TD,
    q_norm_D,
    k_norm_D,
    q_BHD,
    k_PHD,
    v_PHD,
    prompt_length_B,
    own_start_B,
    own_length_B,
    H,
    Hkv,
    T,
    qkv_row,
    qkv_head,
    k_stride,
    k_head,
    v_stride,
    v_head,
    eps,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Some heads of one row, whether of queries, keys or values; each head in two halves, x and y."""
    HALF: tl.constexpr = D // 2
    row = tl.program_id(0).to(tl.int64)
    h_H = (tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H))[:, None].to(tl.int64)
    # Tables and norms are loaded once a head, from L1, already where they are needed: nothing is exchanged.
    d = tl.arange(0, BLOCK)[None, :] + tl.zeros((BLOCK_H, 1), tl.int32)
    live = d < HALF
    key_H, value_H = h_H - H, h_H - H - Hkv
    is_query = (h_H < H) & live
    is_key = (key_H >= 0) & (key_H < Hkv) & live
    is_value = (value_H >= 0) & (value_H < Hkv) & live
    in_HD = qkv_BED + (row * qkv_row + h_H * qkv_head) * UNIT + d
    out_HD = q_BHD + (row * H + h_H) * D + d
    mask = (value_H < Hkv) & live
    x_in = tl.load(in_HD, mask=mask, other=0.0)
    y_in = tl.load(in_HD + HALF, mask=mask, other=0.0)
    prompt_length = tl.load(prompt_length_B + row)
    own_start = tl.load(own_start_B + row)
    own_length = tl.load(own_length_B + row)
    if own_length <= 0:
        zero = tl.zeros((BLOCK_H, BLOCK), q_BHD.dtype.element_ty)
        tl.store(out_HD, zero, mask=is_query)
        tl.store(out_HD + HALF, zero, mask=is_query)
        return
    place = (prompt_length + own_length - 1).to(tl.int64)
    known = live & (place < T)  # what is beyond the tables is not to be read, and to be seen
    cos, sin = cos_TD + place * D + d, sin_TD + place * D + d
    cos_x = tl.load(cos, mask=known, other=float("nan"))
    cos_y = tl.load(cos + HALF, mask=known, other=float("nan"))
    sin_x = tl.load(sin, mask=known, other=float("nan"))
    sin_y = tl.load(sin + HALF, mask=known, other=float("nan"))
    x, y = x_in.to(tl.float32), y_in.to(tl.float32)
    if q_norm_D is not None:
        q_x = tl.load(q_norm_D + d, mask=live, other=0.0)
        q_y = tl.load(q_norm_D + d + HALF, mask=live, other=0.0)
        k_x = tl.load(k_norm_D + d, mask=live, other=0.0)
        k_y = tl.load(k_norm_D + d + HALF, mask=live, other=0.0)
        scale_H1 = tl.rsqrt(tl.sum(x * x + y * y, 1) / D + eps)[:, None]
        x *= scale_H1 * tl.where(h_H < H, q_x, k_x)
        y *= scale_H1 * tl.where(h_H < H, q_y, k_y)
    x_out = (x * cos_x - y * sin_x).to(q_BHD.dtype.element_ty)
    y_out = (y * cos_y + x * sin_y).to(q_BHD.dtype.element_ty)
    tl.store(out_HD, x_out, mask=is_query)
    tl.store(out_HD + HALF, y_out, mask=is_query)
    position = (own_start + own_length - 1).to(tl.int64)
    k_HD = k_PHD + (position * k_stride + key_H * k_head) * UNIT + d
    tl.store(k_HD, x_out, mask=is_key)
    tl.store(k_HD + HALF, y_out, mask=is_key)
    v_HD = v_PHD + (position * v_stride + value_H * v_head) * UNIT + d
    tl.store(v_HD, x_in, mask=is_value)
    tl.store(v_HD + HALF, y_in, mask=is_value)


@triton.jit
def swiglu_kernel(gate_up_N2I, out_NI, width, BLOCK: tl.constexpr):
    """BLOCK of a row's I = width elements; programs beside each other read memory beside each other."""
    blocks = tl.cdiv(width, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64) * width
    i = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_up_N2I + 2 * row + i, mask=i < width, other=0.0).to(tl.float32)
    up = tl.load(gate_up_N2I + 2 * row + width + i, mask=i < width, other=0.0).to(tl.float32)
    out = gate / (1 + tl.exp2(gate * MINUS_LOG2E)) * up
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


def rotate_and_append(
    qkv_BED: Tensor,
    cos_TD: Tensor,
    sin_TD: Tensor,
    k_PHD: Tensor,
    v_PHD: Tensor,
    reads: Reads,
    q_norm_D: Tensor | None,
    k_norm_D: Tensor | None,
    eps: float,
) -> Tensor:
    """`shuhari.kernels.fused.rotate_and_append`.

    Raises ValueError where dtype or head dimension are none that the kernel takes, or strides are not what
    wide loads take.
    """
    B, E, D = qkv_BED.shape
    Hkv, dtype = k_PHD.shape[1], k_PHD.dtype
    if dtype not in DTYPES or {qkv_BED.dtype, v_PHD.dtype} != {dtype} or not 16 <= D <= 256:
        raise ValueError(
            "'triton' rotates qkv of the pool's dtype, fp32, fp16 or bf16, and 16 <= D <= 256, "
            f"not {qkv_BED.dtype} for {dtype} and {v_PHD.dtype} of D = {D}"
        )
    H = E - 2 * Hkv
    q_BHD = torch.empty(B, H, D, dtype=dtype, device=qkv_BED.device)
    if B:
        rotate_kernel[(B, triton.cdiv(E, HEADS))](
            *(qkv_BED, cos_TD, sin_TD, q_norm_D, k_norm_D, q_BHD, k_PHD, v_PHD),
            *(reads.prompt_length_B, reads.own_start_B, reads.own_length_B),
            *(H, Hkv, len(cos_TD), *strides(qkv_BED, k_PHD, v_PHD), eps),
            **rotate_options(D, dtype),
            enable_fp_fusion=True,
        )
    return q_BHD


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
    """All three in every dtype: norms of every width and delta, heads of every dimension, normed and not."""
    found = []
    for dtype in DTYPES:
        name = TYPE_NAMES[dtype]
        kind = f"*{name}"
        for delta in (None, *_deltas(dtype)):
            added = None if delta is None else TYPE_NAMES[delta]
            types = {"x_NC": "*fp32", "delta_NC": added and f"*{added}", "weight_C": "*fp32", "h_NC": kind}
            types |= {"C": "i32", "eps": "fp32"}
            for width in WIDTHS:
                given = (norm_kernel, types, norm_options(width))
                found.append(_shipped(f"norm {name} + {added or 'nothing'} {width}", *given))
        for D in HEAD_DIMS:
            for weights in (None, "*fp32"):
                types = {"qkv_BED": kind, "cos_TD": "*fp32", "sin_TD": "*fp32"}
                types |= {"q_norm_D": weights, "k_norm_D": weights}
                types |= dict.fromkeys(("q_BHD", "k_PHD", "v_PHD"), kind)
                types |= dict.fromkeys(("prompt_length_B", "own_start_B", "own_length_B"), "*i32")
                types |= dict.fromkeys(ROTATE_COUNTS, "i32") | {"eps": "fp32"}
                given = (rotate_kernel, types, rotate_options(D, dtype))
                found.append(_shipped(f"rotate {name} D{D}{' normed' if weights else ''}", *given))
        types = {"gate_up_N2I": kind, "out_NI": kind, "width": "i32"}
        found.append(_shipped(f"swiglu {name}", swiglu_kernel, types, swiglu_options(dtype)))
    return found


def _shipped(name: str, kernel: Any, types: dict[str, str | None], chosen: dict[str, int]) -> Shipped:
    """Of arguments whose type is None, None is given."""
    constants: dict[str, Any] = {x: None for x, kind in types.items() if kind is None}
    constants |= {x: value for x, value in chosen.items() if x != "num_warps"}
    signature = {x: kind or "constexpr" for x, kind in types.items()} | dict.fromkeys(constants, "constexpr")
    return Shipped(name, kernel, signature, constants, chosen["num_warps"], 3, False)
