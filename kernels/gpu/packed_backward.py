"""Packed causal attention with shared prompts, backward (FlashAttention-2, Dao 2023, algorithm 2).

With P = 2^(S - lse), dP = dO V^T and delta = rowsum(dO ∘ O):

    dS = P ∘ (dP - delta)    dV = P^T dO    dK = D^-0.5 dS^T Q    dQ = D^-0.5 dS K

P is made again from q, k and lse, once for dQ (a program per tile of queries and head) and once for dK and dV
(a program per tile of keys and key head, over all heads that read it): 14·H·D·V FLOPs for V pairs that see
each other, where 10·H·D·V would do with atomic additions, but no sum depends on the order of programs.

The queries that see a key are one range of positions: those that follow it in its segment and, if that is a
prompt, its readers, which follow it directly. Where readers go on for long, a tile of the prompt's keys is
shared out to several programs, by a fixed number of queries, and their sums are added in fixed order.

Elements read or written once: (5·H + 6·Hkv)·N·D beside delta's 2·H·N·D, and for each share 16·Hkv·BLOCK_N·D
bytes of partial sums, written and then read.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Shipped
from shuhari.kernels.gpu.packed_forward import Blocks, Cut, loaded
from shuhari.kernels.packed import Segments, sent

SHARE = 2048  # queries that one program of a prompt's keys takes


def query_blocks(D: int, dtype: torch.dtype) -> Blocks:
    """The launch configuration of dQ: as large as registers allow without spills, on sm_80 too."""
    if dtype == torch.float32:  # no tensor cores
        return Blocks(32, 16, 8, 1)
    if D <= 64:
        return Blocks(128, 64, 8, 2)
    return Blocks(128, 32, 8, 3) if D <= 128 else Blocks(64, 32, 8, 2)


def key_blocks(D: int, dtype: torch.dtype) -> Blocks:
    """The launch configuration of dK and dV, likewise."""
    if dtype == torch.float32:
        return Blocks(16, 32, 8, 1) if D <= 128 else Blocks(16, 16, 8, 1)
    if D <= 64:
        return Blocks(64, 128, 8, 2)
    if D < 128:  # masked loads want registers too
        return Blocks(32, 64, 8, 2)
    return Blocks(32, 128, 8, 2) if D == 128 else Blocks(32, 32, 8, 2)


def _key_tiles(segments: Segments, size: int, share: int) -> tuple[Tensor, Tensor, int]:
    x = Cut.of(segments, size)
    shares = np.where(x.seen > x.until, -(-(x.seen - x.start) // share), 1)
    several = shares > 1
    of = np.repeat(np.arange(len(shares)), shares)
    query = x.start[of] + (np.arange(len(of)) - np.repeat(np.cumsum(shares) - shares, shares)) * share
    stop = np.where(several[of], np.minimum(query + share, x.seen[of]), x.seen[of])
    clear = np.where(x.alone, x.end, x.seen)[of]
    slot = np.where(several[of], np.cumsum(several[of]) - 1, -1)
    table = np.stack([x.start[of], x.until[of], query, np.maximum(clear, query), stop, slot], 1)
    table = table[np.argsort(query - stop, kind="stable")]
    slots = shares * several
    sums = np.stack([x.start, x.end, np.cumsum(slots) - slots, slots], 1)[several]
    device = segments.device
    sent_table, sent_sums = (sent(np.ascontiguousarray(t, np.int32), device) for t in (table, sums))
    return sent_table, sent_sums, int(slots.sum())


def key_tiles(segments: Segments, size: int, share: int = SHARE) -> tuple[Tensor, Tensor, int]:
    """int32 [X, 6], those with most queries first: first position; end of the positions with the same
    prompt; first query; end of the queries from there that do not see all of the tile; end of the queries;
    the slot of a partial sum, or -1. int32 [Y, 4] of tiles in several shares: start, end, first slot, slots.
    And the number of slots.
    """
    made: tuple[Tensor, Tensor, int] = segments.once(
        ("key tiles", size, share), lambda s: _key_tiles(s, size, share)
    )
    return made


@triton.jit(do_not_specialize=["N", "H", "heads_per_key"])
def query_kernel(
    q_NHD,
    k_NHD,
    v_NHD,
    d_o_NHD,
    lse_HN,
    delta_HN,
    d_q_NHD,
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
    d_o_row,
    d_o_head,
    scale,
    d_scale,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """dQ of one tile of queries and head: over the same keys as forward."""
    head = tl.program_id(0) % H
    row_6 = tiles_X6 + (tl.program_id(0) // H) * 6
    tile, until = tl.load(row_6), tl.load(row_6 + 1)
    own, clear = tl.load(row_6 + 2), tl.load(row_6 + 3)
    prompt, prompt_end = tl.load(row_6 + 4), tl.load(row_6 + 5)
    q_row, k_row, v_row, d_o_row = q_row * 8, k_row * 8, v_row * 8, d_o_row * 8
    key_head, head_8 = (head // heads_per_key * 8).to(tl.int64), (head * 8).to(tl.int64)
    k_NHD += key_head * k_head
    v_NHD += key_head * v_head
    q_NHD += tile.to(tl.int64) * q_row + head_8 * q_head
    d_o_NHD += tile.to(tl.int64) * d_o_row + head_8 * d_o_head

    m_M, n_N, d_D = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    rows_M = tile + m_M
    keep_M = rows_M < until
    q_MD = loaded(q_NHD, m_M, d_D, q_row, keep_M, D, BLOCK_D, False)
    d_o_MD = loaded(d_o_NHD, m_M, d_D, d_o_row, keep_M, D, BLOCK_D, False)
    places_M = head.to(tl.int64) * N + rows_M
    lse_M = tl.load(lse_HN + places_M, mask=keep_M, other=0.0)
    delta_M = tl.load(delta_HN + places_M, mask=keep_M, other=0.0)
    first_M = tl.load(first_N + rows_M, mask=keep_M, other=0)
    d_q_MD = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)

    prompt_count = (prompt_end - prompt) // BLOCK_N
    count = prompt_count + (clear - own) // BLOCK_N
    for EDGE in tl.static_range(2):
        for i in range(0, count):
            start = tl.where(i < prompt_count, prompt + i * BLOCK_N, own + (i - prompt_count) * BLOCK_N)
            keys_N = start + n_N
            at_N = keys_N.to(tl.int64)
            keep_N = keys_N < until
            k_ND = loaded(k_NHD, at_N, d_D, k_row, keep_N, D, BLOCK_D, EDGE == 0)
            v_ND = loaded(v_NHD, at_N, d_D, v_row, keep_N, D, BLOCK_D, EDGE == 0)
            s_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision="ieee")
            p_MN = tl.exp2(s_MN * scale - lse_M[:, None])
            if EDGE == 1:
                from_M = tl.where(i < prompt_count, prompt, first_M)
                to_M = tl.where(i < prompt_count, prompt_end - 1, rows_M)
                seen_MN = (keys_N[None, :] >= from_M[:, None]) & (keys_N[None, :] <= to_M[:, None])
                p_MN = tl.where(seen_MN, p_MN, 0.0)
            d_p_MN = tl.dot(d_o_MD, tl.trans(v_ND), input_precision="ieee")
            d_s_MN = p_MN * (d_p_MN - delta_M[:, None])
            d_q_MD = tl.dot(d_s_MN.to(k_ND.dtype), k_ND, d_q_MD, input_precision="ieee")
        own += (count - prompt_count) * BLOCK_N
        prompt += prompt_count * BLOCK_N
        prompt_count = tl.cdiv(prompt_end - prompt, BLOCK_N)
        count = prompt_count + tl.cdiv(tl.minimum(tile + BLOCK_M, until) - own, BLOCK_N)

    place_MD = d_q_NHD + (tile.to(tl.int64) * H + head) * D + m_M[:, None] * (H * D) + d_D[None, :]
    d_q_MD = (d_q_MD * d_scale).to(d_q_NHD.dtype.element_ty)
    tl.store(place_MD, d_q_MD, mask=keep_M[:, None] & (d_D[None, :] < D))


@triton.jit(do_not_specialize=["N", "H", "heads_per_key"])
def key_kernel(
    q_NHD,
    k_NHD,
    v_NHD,
    d_o_NHD,
    lse_HN,
    delta_HN,
    d_k_NHD,
    d_v_NHD,
    parts_XH2ND,
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
    d_o_row,
    d_o_head,
    scale,
    d_scale,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """dK and dV of one tile of keys and key head, or a share of them: over the heads that read it, in order.

    Scores stand as [keys, queries], so that P^T and dS^T go from one product into the next in registers. A
    query that is not there has lse inf, and so P = 0.
    """
    key_heads = H // heads_per_key
    key_head = tl.program_id(0) % key_heads
    row_6 = tiles_X6 + (tl.program_id(0) // key_heads) * 6
    tile, until = tl.load(row_6), tl.load(row_6 + 1)
    query, clear = tl.load(row_6 + 2), tl.load(row_6 + 3)
    stop, slot = tl.load(row_6 + 4), tl.load(row_6 + 5)
    q_row, k_row, v_row, d_o_row = q_row * 8, k_row * 8, v_row * 8, d_o_row * 8
    m_M, n_N, d_D = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    keys_N = tile + n_N
    keep_N = keys_N < until
    head_8 = (key_head * 8).to(tl.int64)
    k_NHD += tile.to(tl.int64) * k_row + head_8 * k_head
    v_NHD += tile.to(tl.int64) * v_row + head_8 * v_head
    k_ND = loaded(k_NHD, n_N, d_D, k_row, keep_N, D, BLOCK_D, False)
    v_ND = loaded(v_NHD, n_N, d_D, v_row, keep_N, D, BLOCK_D, False)
    d_k_ND = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    d_v_ND = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)

    count = tl.cdiv(clear - query, BLOCK_M)
    for WHOLE in tl.static_range(2):  # blocks on the diagonal or with several segments, then the others
        divisor = tl.maximum(count, 1)
        for i in range(0, heads_per_key * count):
            head = (key_head * heads_per_key + i // divisor).to(tl.int64)
            start = query + i % divisor * BLOCK_M
            at, rows_M = start.to(tl.int64), start + m_M
            keep_M = rows_M < stop
            q_MD = loaded(
                q_NHD + head * 8 * q_head, rows_M.to(tl.int64), d_D, q_row, keep_M, D, BLOCK_D, False
            )
            d_o_MD = loaded(
                d_o_NHD + head * 8 * d_o_head, rows_M.to(tl.int64), d_D, d_o_row, keep_M, D, BLOCK_D, False
            )
            lse_M = tl.load(lse_HN + head * N + rows_M, mask=keep_M, other=float("inf"))
            delta_M = tl.load(delta_HN + head * N + rows_M, mask=keep_M, other=0.0)
            s_NM = tl.dot(k_ND, tl.trans(q_MD), input_precision="ieee")
            p_NM = tl.exp2(s_NM * scale - lse_M[None, :])
            if WHOLE == 0:
                first_M = tl.load(first_N + rows_M, mask=keep_M, other=0)
                from_M = tl.where(first_M < until, first_M, 0)  # readers see a whole prompt
                seen_NM = (keys_N[:, None] >= from_M[None, :]) & (keys_N[:, None] <= rows_M[None, :])
                p_NM = tl.where(seen_NM, p_NM, 0.0)
            d_v_ND = tl.dot(p_NM.to(d_o_MD.dtype), d_o_MD, d_v_ND, input_precision="ieee")
            d_p_NM = tl.dot(v_ND, tl.trans(d_o_MD), input_precision="ieee")
            d_s_NM = p_NM * (d_p_NM - delta_M[None, :])
            d_k_ND = tl.dot(d_s_NM.to(q_MD.dtype), q_MD, d_k_ND, input_precision="ieee")
        query += count * BLOCK_M
        count = tl.cdiv(tl.maximum(stop - query, 0), BLOCK_M)

    d_k_ND *= d_scale
    if slot < 0:
        at = (tile.to(tl.int64) * key_heads + key_head) * D
        place_ND = at + n_N[:, None] * (key_heads * D) + d_D[None, :]
        keep_ND = keep_N[:, None] & (d_D[None, :] < D)
        tl.store(d_k_NHD + place_ND, d_k_ND.to(d_k_NHD.dtype.element_ty), mask=keep_ND)
        tl.store(d_v_NHD + place_ND, d_v_ND.to(d_v_NHD.dtype.element_ty), mask=keep_ND)
    else:
        part = parts_XH2ND + (slot * key_heads + key_head).to(tl.int64) * (2 * BLOCK_N * BLOCK_D)
        tl.store(part + n_N[:, None] * BLOCK_D + d_D[None, :], d_k_ND)
        tl.store(part + (BLOCK_N + n_N)[:, None] * BLOCK_D + d_D[None, :], d_v_ND)


def shipped() -> list[Shipped]:
    """Both kernels for every head dim and dtype."""
    found = []
    for D in HEAD_DIMS:
        for dtype in DTYPES:
            name, on_cores = TYPE_NAMES[dtype], dtype != torch.float32
            read = dict.fromkeys(("q_NHD", "k_NHD", "v_NHD", "d_o_NHD"), f"*{name}")
            read |= {"lse_HN": "*fp32", "delta_HN": "*fp32"}
            strides = [f"{x}_{y}" for x in ("q", "k", "v", "d_o") for y in ("row", "head")]
            numbers = {"tiles_X6": "*i32", "first_N": "*i32"}
            numbers |= dict.fromkeys(("N", "H", "heads_per_key", *strides), "i32")
            numbers |= {"scale": "fp32", "d_scale": "fp32"}
            of_keys = {"d_k_NHD": f"*{name}", "d_v_NHD": f"*{name}", "parts_XH2ND": "*fp32"}
            for label, kernel, b, outputs in (
                ("queries", query_kernel, query_blocks(D, dtype), {"d_q_NHD": f"*{name}"}),
                ("keys", key_kernel, key_blocks(D, dtype), of_keys),
            ):
                constants = {"D": D, "BLOCK_D": triton.next_power_of_2(D)}
                constants |= {"BLOCK_M": b.queries, "BLOCK_N": b.keys}
                signature = read | outputs | numbers | dict.fromkeys(constants, "constexpr")
                title = f"packed backward {label} D{D} {name}"
                found.append(Shipped(title, kernel, signature, constants, b.warps, b.stages, on_cores))
    return found
