"""Packed causal attention with shared prompts, forward: one program per tile of queries and head.

FlashAttention-2 (Dao 2023): the softmax is taken online over blocks of keys, scores never leave the chip. A
tile is up to BLOCK_M neighbouring positions that read the same prompt: of one segment, or of one prompt's
readers, where a tile may cross from one completion into the next, so that short ones do not leave it empty.
It walks over blocks of keys that all its queries see, the prompt's first, and then over those at an edge or
on the diagonal, under a mask. The programs of one tile's heads start together and share the keys in L2;
tiles with most keys start first.

With V pairs that see each other (`shuhari.kernels.packed`): 4·H·D·V FLOPs; (2·H + 2·Hkv)·N·D elements and
4·H·N bytes of log-sum-exps, if L2 serves each tile's keys beyond the first reading.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, LOG2E, TYPE_NAMES, Shipped
from shuhari.kernels.packed import Segments, sent

Table = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Queries and keys of a block, warps of a program, stages of its loads."""

    queries: int
    keys: int
    warps: int
    stages: int


def blocks(D: int, dtype: torch.dtype) -> Blocks:
    """The launch configuration: as large as registers allow without spills, on sm_80 too."""
    if dtype == torch.float32:  # no tensor cores
        return Blocks(32, 16, 8, 1) if D <= 128 else Blocks(16, 16, 8, 1)
    if D <= 64:  # at most 128 registers of 8 warps on sm_90: two programs a multiprocessor
        return Blocks(128, 64, 4 if D <= 32 else 8, 2)
    return Blocks(128, 64, 8, 3) if D <= 128 else Blocks(64, 32, 8, 3)


@dataclass(frozen=True, slots=True)
class Cut:
    """Tiles of neighbours that read the same prompt. Of each of X, on the host:

    start, end: its positions; until: where the positions with its prompt end
    prompt, prompt_end: the prompt's (equal where there is none)
    own: where the segment of its first position starts; alone: whether it holds no other
    seen: where the last query that sees one of its positions ends
    """

    start: Table
    end: Table
    until: Table
    prompt: Table
    prompt_end: Table
    own: Table
    alone: Table
    seen: Table

    @classmethod
    def of(cls, segments: Segments, size: int) -> "Cut":
        starts_M1 = np.cumsum([0, *segments.lengths])
        roots = np.flatnonzero(np.array(segments.prompts, np.int64) < 0)
        start, end = starts_M1[roots], starts_M1[roots + 1]
        following = np.append(start[1:], starts_M1[-1])  # where a root's readers end
        first, last = np.stack([start, end], 1).ravel(), np.stack([end, following], 1).ravel()
        prompt = np.repeat(start, 2)
        prompt_end = np.stack([start, end], 1).ravel()

        counts = -(-(last - first) // size)
        of = np.repeat(np.arange(len(first)), counts)
        tile = first[of] + (np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)) * size
        tile_end = np.minimum(tile + size, last[of])
        segment = np.searchsorted(starts_M1, tile, "right") - 1
        last_segment = np.searchsorted(starts_M1, tile_end - 1, "right") - 1
        seen = np.where(of % 2 == 0, np.repeat(following, 2)[of], starts_M1[last_segment + 1])
        ends = (tile_end, last[of], prompt[of], prompt_end[of])
        return cls(tile, *ends, starts_M1[segment], segment == last_segment, seen)


def _tiles(segments: Segments, size: int) -> Tensor:
    x = Cut.of(segments, size)
    clear = np.where(x.alone, x.start, x.own)
    table = np.stack([x.start, x.until, x.own, clear, x.prompt, x.prompt_end], 1)
    most = np.argsort(x.own - x.end + x.prompt - x.prompt_end, kind="stable")
    return sent(np.ascontiguousarray(table[most], np.int32), segments.device)


def tiles(segments: Segments, size: int) -> Tensor:
    """int32 [X, 6], those with most keys first: first position; end of the positions with the same prompt;
    start of the first one's segment; end of the keys from there that all queries of the tile see; the
    prompt's start and end.
    """
    table: Tensor = segments.once(("query tiles", size), lambda s: _tiles(s, size))
    return table


def eighths(*tensors: Tensor) -> tuple[int, ...]:
    """Strides of rows and heads in units of 8: kernels multiply, and so know that 16-byte loads fit."""
    return tuple(stride // 8 for x in tensors for stride in x.stride()[:2])


def in_eighths(x_NHD: Tensor) -> Tensor:
    """The tensor itself, as a view of a fused projection is too, or where its strides do not suit a copy."""
    *outer, inner = x_NHD.stride()
    return x_NHD if inner == 1 and not any(stride % 8 for stride in outer) else x_NHD.contiguous()


@triton.jit
def loaded(x, rows_R, d_D, stride, keep_R, D: tl.constexpr, BLOCK_D: tl.constexpr, ALL: tl.constexpr):
    """Rows [R, BLOCK_D] from `x` on: ALL, or those to keep and zeros."""
    place_RD = x + rows_R[:, None] * stride + d_D[None, :]
    if D == BLOCK_D:
        x_RD = tl.load(place_RD) if ALL else tl.load(place_RD, mask=keep_R[:, None], other=0.0)
    else:
        keep_D = d_D[None, :] < D
        x_RD = tl.load(place_RD, mask=keep_D if ALL else keep_R[:, None] & keep_D, other=0.0)
    return x_RD


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
    row_6 = tiles_X6 + (tl.program_id(0) // H) * 6
    tile, until = tl.load(row_6), tl.load(row_6 + 1)
    own, clear = tl.load(row_6 + 2), tl.load(row_6 + 3)
    prompt, prompt_end = tl.load(row_6 + 4), tl.load(row_6 + 5)
    key_head = (head // heads_per_key * 8).to(tl.int64)
    q_row, k_row, v_row = q_row * 8, k_row * 8, v_row * 8
    k_NHD += key_head * k_head
    v_NHD += key_head * v_head
    q_NHD += tile.to(tl.int64) * q_row + (head * 8).to(tl.int64) * q_head

    m_M, n_N, d_D = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    rows_M = tile + m_M
    q_MD = loaded(q_NHD, m_M, d_D, q_row, rows_M < until, D, BLOCK_D, False)
    top_M = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    sum_M = tl.zeros((BLOCK_M,), tl.float32)
    o_MD = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)

    first_M = tl.load(first_N + rows_M, mask=rows_M < until, other=0)
    prompt_count = (prompt_end - prompt) // BLOCK_N
    count = prompt_count + (clear - own) // BLOCK_N
    for EDGE in tl.static_range(2):  # blocks that all queries see, then the others
        for i in range(0, count):
            start = tl.where(i < prompt_count, prompt + i * BLOCK_N, own + (i - prompt_count) * BLOCK_N)
            keys_N = start + n_N
            at_N = keys_N.to(tl.int64)
            keep_N = keys_N < until
            k_ND = loaded(k_NHD, at_N, d_D, k_row, keep_N, D, BLOCK_D, EDGE == 0)
            s_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision="ieee")
            if EDGE == 0:
                higher_M = tl.maximum(top_M, tl.max(s_MN, 1) * scale)
                known_M = higher_M
            else:
                from_M = tl.where(i < prompt_count, prompt, first_M)
                to_M = tl.where(i < prompt_count, prompt_end - 1, rows_M)
                seen_MN = (keys_N[None, :] >= from_M[:, None]) & (keys_N[None, :] <= to_M[:, None])
                s_MN = tl.where(seen_MN, s_MN, float("-inf"))
                higher_M = tl.maximum(top_M, tl.max(s_MN, 1) * scale)
                known_M = tl.where(higher_M == float("-inf"), 0.0, higher_M)  # a query that has seen nothing
            p_MN = tl.exp2(s_MN * scale - known_M[:, None])
            fade_M = tl.exp2(top_M - known_M)
            sum_M = sum_M * fade_M + tl.sum(p_MN, 1)
            o_MD = o_MD * fade_M[:, None]
            v_ND = loaded(v_NHD, at_N, d_D, v_row, keep_N, D, BLOCK_D, EDGE == 0)
            o_MD = tl.dot(p_MN.to(v_ND.dtype), v_ND, o_MD, input_precision="ieee")
            top_M = higher_M
        own += (count - prompt_count) * BLOCK_N
        prompt += prompt_count * BLOCK_N
        prompt_count = tl.cdiv(prompt_end - prompt, BLOCK_N)
        count = prompt_count + tl.cdiv(tl.minimum(tile + BLOCK_M, until) - own, BLOCK_N)

    o_MD = o_MD / sum_M[:, None]
    o_MND = o_NHD + (tile.to(tl.int64) * H + head) * D + m_M[:, None] * (H * D) + d_D[None, :]
    tl.store(o_MND, o_MD.to(o_NHD.dtype.element_ty), mask=(rows_M < until)[:, None] & (d_D[None, :] < D))
    tl.store(lse_HN + head.to(tl.int64) * N + rows_M, top_M + tl.log2(sum_M), mask=rows_M < until)


def forward(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, given: Blocks | None = None
) -> tuple[Tensor, Tensor]:
    """Attention [N, H, D] in q's dtype, contiguous, and log2-sum-exps [H, N] of the scaled scores, fp32.

    Launches once, waits for nothing. D: a multiple of 8.
    """
    N, H, D = q_NHD.shape
    q_NHD, k_NHD, v_NHD = in_eighths(q_NHD), in_eighths(k_NHD), in_eighths(v_NHD)
    b = given or blocks(D, q_NHD.dtype)
    o_NHD = torch.empty(N, H, D, dtype=q_NHD.dtype, device=q_NHD.device)
    lse_HN = torch.empty(H, N, dtype=torch.float32, device=q_NHD.device)
    if N == 0:
        return o_NHD, lse_HN
    tiles_X6 = tiles(segments, b.queries)
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
        *eighths(q_NHD, k_NHD, v_NHD),
        D**-0.5 * LOG2E,
        D=D,
        BLOCK_D=max(16, triton.next_power_of_2(D)),
        BLOCK_M=b.queries,
        BLOCK_N=b.keys,
        num_warps=b.warps,
        num_stages=b.stages,
        enable_fp_fusion=True,
    )
    return o_NHD, lse_HN


def shipped() -> list[Shipped]:
    """The kernel for every head dim and dtype."""
    found = []
    for D in HEAD_DIMS:
        for dtype in DTYPES:
            b, name = blocks(D, dtype), TYPE_NAMES[dtype]
            signature = dict.fromkeys(("q_NHD", "k_NHD", "v_NHD", "o_NHD"), f"*{name}")
            signature |= {"lse_HN": "*fp32", "tiles_X6": "*i32", "first_N": "*i32"}
            sizes = "N H heads_per_key q_row q_head k_row k_head v_row v_head".split()
            signature |= dict.fromkeys(sizes, "i32") | {"scale": "fp32"}
            constants = {
                "D": D,
                "BLOCK_D": triton.next_power_of_2(D),
                "BLOCK_M": b.queries,
                "BLOCK_N": b.keys,
            }
            signature |= dict.fromkeys(constants, "constexpr")
            on_cores = dtype != torch.float32
            label = f"packed forward D{D} {name}"
            found.append(Shipped(label, forward_kernel, signature, constants, b.warps, b.stages, on_cores))
    return found
