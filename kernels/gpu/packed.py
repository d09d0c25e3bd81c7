"""Packed attention on one GPU as an autograd function: `packed_forward` and `packed_backward` joined.

The backward pass first takes delta = rowsum(dO ∘ O), 2·H·N·D elements read, and at last adds what several
programs hold of one tile of keys, 8·Hkv·D bytes a key and share read.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from shuhari.kernels.constants import LOG2E
from shuhari.kernels.gpu import packed_backward, packed_tiles
from shuhari.kernels.gpu.constants import UNIT
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Blocks, Shipped, in_units, listed, wide
from shuhari.kernels.gpu.packed_forward import forward
from shuhari.kernels.gpu.packed_walk import loaded
from shuhari.kernels.segments import Segments

ROWS = 16  # that a program of the kernels below takes
FUSED = {"enable_fp_fusion": True}


class Given(NamedTuple):
    """Launch configurations other than the shipped ones, for tests and measurements."""

    forward: Blocks | None = None
    for_queries: Blocks | None = None
    for_keys: Blocks | None = None
    share: int = packed_tiles.SHARE


def delta_options(D: int) -> dict[str, int]:
    """Constants and warps of `delta_kernel`."""
    return {"D": D, "BLOCK_D": max(16, triton.next_power_of_2(D)), "R": ROWS, "num_warps": 4}


def sum_options(D: int, keys: Blocks) -> dict[str, int]:
    """Constants and warps of `sum_kernel`, for what `key_kernel` left with these blocks."""
    return {"D": D, "BLOCK_D": keys.options(D)["BLOCK_D"], "BLOCK_N": keys.keys, "R": ROWS, "num_warps": 4}


@triton.jit(do_not_specialize=["N", "H"])
def delta_kernel(
    o_NHD, d_o_NHD, delta_HN, N, H, d_o_row, d_o_head, D: tl.constexpr, BLOCK_D: tl.constexpr, R: tl.constexpr
):
    """rowsum(dO ∘ O): reads both once, 4·H·N·D bytes of 16-bit elements."""
    head = tl.program_id(0) % H
    start = tl.program_id(0) // H * R
    r_R, d_D = tl.arange(0, R), tl.arange(0, BLOCK_D)
    keep_R = start + r_R < N
    at = start.to(tl.int64)
    o_RD = loaded(o_NHD + (at * H + head) * D, r_R, d_D, H * D, keep_R, D, BLOCK_D, False)
    d_o_NHD += at * (d_o_row * UNIT) + (head * UNIT).to(tl.int64) * d_o_head
    d_o_RD = loaded(d_o_NHD, r_R, d_D, d_o_row * UNIT, keep_R, D, BLOCK_D, False)
    delta_R = tl.sum(o_RD.to(tl.float32) * d_o_RD.to(tl.float32), 1)
    tl.store(delta_HN + head.to(tl.int64) * N + start + r_R, delta_R, mask=keep_R)


@triton.jit(do_not_specialize=["key_heads"])
def sum_kernel(
    parts_XH2ND,
    d_k_NHD,
    d_v_NHD,
    sums_Y4,
    key_heads,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    R: tl.constexpr,
):
    """Adds the shares of a tile of keys, slot by slot."""
    piece = tl.program_id(0) % (BLOCK_N // R)
    key_head = tl.program_id(0) // (BLOCK_N // R) % key_heads
    row_4 = sums_Y4 + tl.program_id(0) // (BLOCK_N // R) // key_heads * 4
    start, end = tl.load(row_4), tl.load(row_4 + 1)
    slot, slots = tl.load(row_4 + 2), tl.load(row_4 + 3)
    r_R, d_D = piece * R + tl.arange(0, R), tl.arange(0, BLOCK_D)
    d_k_RD = tl.zeros((R, BLOCK_D), tl.float32)
    d_v_RD = tl.zeros((R, BLOCK_D), tl.float32)
    for i in range(0, slots):
        at = ((slot + i) * key_heads + key_head).to(tl.int64) * (2 * BLOCK_N * BLOCK_D)
        place_RD = parts_XH2ND + at + r_R[:, None] * BLOCK_D + d_D[None, :]
        d_k_RD += tl.load(place_RD)
        d_v_RD += tl.load(place_RD + BLOCK_N * BLOCK_D)
    place_RD = (start.to(tl.int64) * key_heads + key_head) * D + r_R[:, None] * (key_heads * D) + d_D[None, :]
    keep_RD = (start + r_R < end)[:, None] & (d_D[None, :] < D)
    tl.store(d_k_NHD + place_RD, d_k_RD.to(d_k_NHD.dtype.element_ty), mask=keep_RD)
    tl.store(d_v_NHD + place_RD, d_v_RD.to(d_v_NHD.dtype.element_ty), mask=keep_RD)


def backward(
    q_NHD: Tensor,
    k_NHD: Tensor,
    v_NHD: Tensor,
    o_NHD: Tensor,
    lse_HN: Tensor,
    d_o_NHD: Tensor,
    segments: Segments,
    given: Given,
) -> tuple[Tensor, Tensor, Tensor]:
    """d q, d k and d v, contiguous, in q's dtype. Launches three or four times, waits for nothing."""
    N, H, D = q_NHD.shape
    key_heads, dtype, device = k_NHD.shape[1], q_NHD.dtype, q_NHD.device
    d_q_NHD = torch.empty(N, H, D, dtype=dtype, device=device)
    d_k_NHD, d_v_NHD = (torch.empty(N, key_heads, D, dtype=dtype, device=device) for _ in range(2))
    if N == 0:
        return d_q_NHD, d_k_NHD, d_v_NHD
    inputs = [x if wide(x) else x.contiguous() for x in (q_NHD, k_NHD, v_NHD, d_o_NHD)]
    delta_HN = torch.empty(H, N, dtype=torch.float32, device=device)
    grid = (triton.cdiv(N, ROWS) * H,)
    delta_kernel[grid](o_NHD, inputs[3], delta_HN, N, H, *in_units(inputs[3]), **delta_options(D), **FUSED)

    read = (*inputs, lse_HN, delta_HN)
    numbers = (N, H, H // key_heads, *in_units(*inputs), D**-0.5 * LOG2E, D**-0.5)
    b = given.for_queries or packed_backward.query_blocks(D, dtype)
    tiles_X6 = packed_tiles.query_tiles(segments, b.queries)
    tables = (tiles_X6, segments.first_N)
    packed_backward.query_kernel[(len(tiles_X6) * H,)](
        *read, d_q_NHD, *tables, *numbers, **b.options(D), **FUSED
    )

    b = given.for_keys or packed_backward.key_blocks(D, dtype)
    tiles_X6, sums_Y4, slots = packed_tiles.key_tiles(segments, b.keys, given.share)
    shape = (slots, key_heads, 2, b.keys, b.options(D)["BLOCK_D"])
    parts_XH2ND = torch.empty(*shape, dtype=torch.float32, device=device)
    outputs, tables = (d_k_NHD, d_v_NHD, parts_XH2ND), (tiles_X6, segments.first_N)
    grid = (len(tiles_X6) * key_heads,)
    packed_backward.key_kernel[grid](*read, *outputs, *tables, *numbers, **b.options(D), **FUSED)
    if slots:
        grid = (len(sums_Y4) * key_heads * (b.keys // ROWS),)
        added = (parts_XH2ND, d_k_NHD, d_v_NHD, sums_Y4, key_heads)
        sum_kernel[grid](*added, **sum_options(D, b), **FUSED)
    return d_q_NHD, d_k_NHD, d_v_NHD


class _Attention(torch.autograd.Function):
    """Keeps q, k, v, o and the log-sum-exps, 4·H·N bytes."""

    @staticmethod
    def forward(
        ctx: Any, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, given: Given
    ) -> Tensor:
        o_NHD, lse_HN = forward(q_NHD, k_NHD, v_NHD, segments, given.forward)
        ctx.save_for_backward(q_NHD, k_NHD, v_NHD, o_NHD, lse_HN)
        ctx.segments, ctx.given = segments, given
        return o_NHD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o_NHD: Tensor) -> tuple[Tensor | None, ...]:
        q_NHD, k_NHD, v_NHD, o_NHD, lse_HN = ctx.saved_tensors
        given = (d_o_NHD, ctx.segments, ctx.given)
        return *backward(q_NHD, k_NHD, v_NHD, o_NHD, lse_HN, *given), None, None


def attention(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, given: Given | None = None
) -> Tensor:
    """`shuhari.kernels.packed.packed_attention` in fp32, fp16 or bf16, differentiable once.

    Strided inputs, such as parts of a fused projection, are read where they stand if D is contiguous and the
    other strides are multiples of 8, else copied. The first call with some `segments` makes their tables;
    nothing waits for the device. Raises ValueError where D is no multiple of 8 or above 256, or the dtype is
    another.
    """
    D = q_NHD.shape[2]
    if D % 8 or not 8 <= D <= 256:
        raise ValueError(
            f"implementation 'triton' takes head dims that are multiples of 8 up to 256, not {D}"
        )
    if q_NHD.dtype not in DTYPES:
        raise ValueError(f"implementation 'triton' takes fp32, fp16 and bf16, not {q_NHD.dtype}")
    o_NHD: Tensor = _Attention.apply(q_NHD, k_NHD, v_NHD, segments, given or Given())
    return o_NHD


def shipped() -> list[Shipped]:
    """Both kernels of this file for every head dim and dtype."""
    found = []
    for D in HEAD_DIMS:
        for dtype in DTYPES:
            name = TYPE_NAMES[dtype]
            types = {"o_NHD": f"*{name}", "d_o_NHD": f"*{name}", "delta_HN": "*fp32"}
            types |= dict.fromkeys(("N", "H", "d_o_row", "d_o_head"), "i32")
            title = f"packed backward delta D{D} {name}"
            found.append(listed(title, delta_kernel, types, delta_options(D)))
            types = {"parts_XH2ND": "*fp32", "d_k_NHD": f"*{name}", "d_v_NHD": f"*{name}"}
            types |= {"sums_Y4": "*i32", "key_heads": "i32"}
            options = sum_options(D, packed_backward.key_blocks(D, dtype))
            found.append(listed(f"packed backward sum D{D} {name}", sum_kernel, types, options))
    return found
