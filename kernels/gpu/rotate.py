"""Rotary positions and the newest keys and values, for `shuhari.kernels.fused`, which says what is computed.

A program takes some heads of one row, whatever they are, so that a few heads of keys are no small program:
it rotates them all, and masks send each where it belongs. See `shuhari.kernels.gpu.fused` on latency.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.gpu.constants import UNIT
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Shipped, listed, strides
from shuhari.kernels.reads import Reads

HEADS = 8  # of one program
COUNTS = "H Hkv T qkv_row qkv_head k_stride k_head v_stride v_head".split()


def options(D: int, dtype: torch.dtype) -> dict[str, int]:
    """16 bytes a thread of each half of the heads."""
    half = triton.next_power_of_2(D // 2)
    return {
        "D": D,
        "BLOCK": half,
        "BLOCK_H": HEADS,
        "num_warps": max(1, HEADS * half * dtype.itemsize // 512),
    }


@triton.jit(do_not_specialize=COUNTS)
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
    completion_start_B,
    completion_length_B,
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
    completion_start = tl.load(completion_start_B + row)
    completion_length = tl.load(completion_length_B + row)
    if completion_length <= 0:
        zero = tl.zeros((BLOCK_H, BLOCK), q_BHD.dtype.element_ty)
        tl.store(out_HD, zero, mask=is_query)
        tl.store(out_HD + HALF, zero, mask=is_query)
        return
    place = (prompt_length + completion_length - 1).to(tl.int64)
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
    position = (completion_start + completion_length - 1).to(tl.int64)
    k_HD = k_PHD + (position * k_stride + key_H * k_head) * UNIT + d
    tl.store(k_HD, x_out, mask=is_key)
    tl.store(k_HD + HALF, y_out, mask=is_key)
    v_HD = v_PHD + (position * v_stride + value_H * v_head) * UNIT + d
    tl.store(v_HD, x_in, mask=is_value)
    tl.store(v_HD + HALF, y_in, mask=is_value)


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
            *(reads.prompt_length_B, reads.completion_start_B, reads.completion_length_B),
            *(H, Hkv, len(cos_TD), *strides(qkv_BED, k_PHD, v_PHD), eps),
            **options(D, dtype),
            enable_fp_fusion=True,
        )
    return q_BHD


def shipped() -> list[Shipped]:
    """For every dtype and head dimension, normed and not."""
    found = []
    for dtype in DTYPES:
        name = TYPE_NAMES[dtype]
        kind = f"*{name}"
        for D in HEAD_DIMS:
            for weights in (None, "*fp32"):
                types: dict[str, str | None] = {"qkv_BED": kind, "cos_TD": "*fp32", "sin_TD": "*fp32"}
                types |= {"q_norm_D": weights, "k_norm_D": weights}
                types |= dict.fromkeys(("q_BHD", "k_PHD", "v_PHD"), kind)
                types |= dict.fromkeys(
                    ("prompt_length_B", "completion_start_B", "completion_length_B"), "*i32"
                )
                types |= dict.fromkeys(COUNTS, "i32") | {"eps": "fp32"}
                given = (rotate_kernel, types, options(D, dtype))
                found.append(listed(f"rotate {name} D{D}{' normed' if weights else ''}", *given))
    return found
