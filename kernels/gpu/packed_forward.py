"""Packed causal attention with shared prompts, forward: one program per tile of queries and head.

FlashAttention-2 (Dao 2023): the softmax is taken online over blocks of keys, scores never leave the chip. A
tile is up to BLOCK_M neighbouring positions that read the same prompt. `packed_tiles` draws the keys that it
sees, `packed_walk` goes over them. The programs of one tile's heads start together and share the keys in L2;
tiles with most keys start first.

With V pairs that see each other (`shuhari.kernels.packed`): 4·H·D·V FLOPs; (2·H + 2·Hkv)·N·D elements and
4·H·N bytes of log-sum-exps, if L2 serves each tile's keys beyond the first reading.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.constants import LOG2E
from shuhari.kernels.gpu import packed_tiles
from shuhari.kernels.gpu.constants import UNIT
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Blocks, Shipped, in_units, listed, wide
from shuhari.kernels.gpu.packed_walk import block_rows, loaded, query_tile, seen, walk
from shuhari.kernels.segments import Segments

NUMBERS = "N H heads_per_key q_row q_head k_row k_head v_row v_head".split()


def blocks(D: int, dtype: torch.dtype) -> Blocks:
    """The launch configuration: as large as registers allow without spills, on sm_80 too."""
    if dtype == torch.float32:  # no tensor cores
        return Blocks(32, 16, 8, 1) if D <= 128 else Blocks(16, 16, 8, 1)
    if D <= 64:  # at most 128 registers of 8 warps on sm_90: two programs a multiprocessor
        return Blocks(128, 64, 4 if D <= 32 else 8, 2)
    return Blocks(128, 64, 8, 3) if D <= 128 else Blocks(64, 32, 8, 3)


@triton.jit
def forward_step(state, queries, keys, values, block, d_D, D: tl.constexpr, MASKED: tl.constexpr):
    """One block of keys into the online softmax."""
    q_MD, scale = queries
    top_M, sum_M, o_MD = state
    k_ND = block_rows(keys, block, d_D, D, MASKED)
    s_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision="ieee")
    if MASKED == 0:
        higher_M = tl.maximum(top_M, tl.max(s_MN, 1) * scale)
        known_M = higher_M
    else:
        s_MN = tl.where(seen(block), s_MN, float("-inf"))
        higher_M = tl.maximum(top_M, tl.max(s_MN, 1) * scale)
        known_M = tl.where(higher_M == float("-inf"), 0.0, higher_M)  # a query that has seen nothing
    p_MN = tl.exp2(s_MN * scale - known_M[:, None])
    fade_M = tl.exp2(top_M - known_M)
    sum_M = sum_M * fade_M + tl.sum(p_MN, 1)
    o_MD = o_MD * fade_M[:, None]
    v_ND = block_rows(values, block, d_D, D, MASKED)
    o_MD = tl.dot(p_MN.to(v_ND.dtype), v_ND, o_MD, input_precision="ieee")
    return higher_M, sum_M, o_MD


@triton.jit(do_not_specialize=["N", "H", "heads_per_key"])
def forward_kernel(
    q_NHD,
    k_NHD,
    v_NHD,
    o_NHD,
    lse_HN,
    tiles_X6,
    first_N,
    N,
    H,
    heads_per_key,
    q_row,
    q_head,
    k_row,
    k_head,
    v_row,
    v_head,
    scale,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """o, and log2 of the sum of exps (base 2, so that the backward pass need not round it once more)."""
    head = tl.program_id(0) % H
    tile = query_tile(tiles_X6, tl.program_id(0) // H)
    start, run_end = tile[0], tile[1]
    key_head = (head // heads_per_key * UNIT).to(tl.int64)
    q_row, k_row, v_row = q_row * UNIT, k_row * UNIT, v_row * UNIT
    k_NHD += key_head * k_head
    v_NHD += key_head * v_head
    q_NHD += start.to(tl.int64) * q_row + (head * UNIT).to(tl.int64) * q_head

    m_M, n_N, d_D = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    rows_M = start + m_M
    keep_M = rows_M < run_end
    q_MD = loaded(q_NHD, m_M, d_D, q_row, keep_M, D, BLOCK_D, False)
    top_M = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    sum_M = tl.zeros((BLOCK_M,), tl.float32)
    o_MD = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    first_M = tl.load(first_N + rows_M, mask=keep_M, other=0)
    state = (top_M, sum_M, o_MD)
    top_M, sum_M, o_MD = walk(
        forward_step, state, (q_MD, scale), (k_NHD, k_row), (v_NHD, v_row), tile, rows_M, first_M, n_N, d_D, D
    )

    o_MD = o_MD / sum_M[:, None]
    o_MND = o_NHD + (start.to(tl.int64) * H + head) * D + m_M[:, None] * (H * D) + d_D[None, :]
    tl.store(o_MND, o_MD.to(o_NHD.dtype.element_ty), mask=keep_M[:, None] & (d_D[None, :] < D))
    tl.store(lse_HN + head.to(tl.int64) * N + rows_M, top_M + tl.log2(sum_M), mask=keep_M)


def forward(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, given: Blocks | None = None
) -> tuple[Tensor, Tensor]:
    """Attention [N, H, D] in q's dtype, contiguous, and log2-sum-exps [H, N] of the scaled scores, fp32.

    Launches once, waits for nothing. D: a multiple of 8.
    """
    N, H, D = q_NHD.shape
    q_NHD, k_NHD, v_NHD = (x if wide(x) else x.contiguous() for x in (q_NHD, k_NHD, v_NHD))
    b = given or blocks(D, q_NHD.dtype)
    o_NHD = torch.empty(N, H, D, dtype=q_NHD.dtype, device=q_NHD.device)
    lse_HN = torch.empty(H, N, dtype=torch.float32, device=q_NHD.device)
    if N == 0:
        return o_NHD, lse_HN
    tiles_X6 = packed_tiles.query_tiles(segments, b.queries)
    forward_kernel[(len(tiles_X6) * H,)](
        q_NHD,
        k_NHD,
        v_NHD,
        o_NHD,
        lse_HN,
        tiles_X6,
        segments.first_N,
        N,
        H,
        H // k_NHD.shape[1],
        *in_units(q_NHD, k_NHD, v_NHD),
        D**-0.5 * LOG2E,
        **b.options(D),
        enable_fp_fusion=True,
    )
    return o_NHD, lse_HN


def shipped() -> list[Shipped]:
    """The kernel for every head dim and dtype."""
    found = []
    for D in HEAD_DIMS:
        for dtype in DTYPES:
            name = TYPE_NAMES[dtype]
            types = dict.fromkeys(("q_NHD", "k_NHD", "v_NHD", "o_NHD"), f"*{name}")
            types |= {"lse_HN": "*fp32", "tiles_X6": "*i32", "first_N": "*i32"}
            types |= dict.fromkeys(NUMBERS, "i32") | {"scale": "fp32"}
            options = blocks(D, dtype).options(D)
            title = f"packed forward D{D} {name}"
            found.append(listed(title, forward_kernel, types, options, dtype != torch.float32))
    return found
