"""Packed causal attention with shared prompts, backward (FlashAttention-2, Dao 2023, algorithm 2).

With P = 2^(S - lse), dP = dO V^T and delta = rowsum(dO ∘ O):

    dS = P ∘ (dP - delta)    dV = P^T dO    dK = D^-0.5 dS^T Q    dQ = D^-0.5 dS K

P is made again from q, k and lse, once for dQ (a program per tile of queries and head) and once for dK and dV
(a program per tile of keys and key head, over all heads that read it): 14·H·D·V FLOPs for V pairs that see
each other, where 10·H·D·V would do with atomic additions, but no sum depends on the order of programs.

Which keys a tile of queries sees, and which queries see a tile of keys, is drawn in `packed_tiles`. Where a
prompt's readers go on for long, a tile of its keys is shared out to several programs, by a fixed number of
queries, and their sums are added in fixed order.

Elements read or written once: (5·H + 6·Hkv)·N·D beside delta's 2·H·N·D, and for each share 16·Hkv·BLOCK_N·D
bytes of partial sums, written and then read.
"""

import torch
import triton
import triton.language as tl

from shuhari.kernels.gpu.constants import UNIT
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Blocks, Shipped, listed
from shuhari.kernels.gpu.packed_walk import block_rows, loaded, query_tile, seen, walk

NUMBERS = ["N", "H", "heads_per_key", *(f"{x}_{y}" for x in ("q", "k", "v", "d_o") for y in ("row", "head"))]


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


@triton.jit
def query_step(d_q_MD, queries, keys, values, block, d_D, D: tl.constexpr, MASKED: tl.constexpr):
    """One block of keys into dQ."""
    q_MD, d_o_MD, lse_M, delta_M, scale = queries
    k_ND = block_rows(keys, block, d_D, D, MASKED)
    v_ND = block_rows(values, block, d_D, D, MASKED)
    s_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision="ieee")
    p_MN = tl.exp2(s_MN * scale - lse_M[:, None])
    if MASKED == 1:
        p_MN = tl.where(seen(block), p_MN, 0.0)
    d_p_MN = tl.dot(d_o_MD, tl.trans(v_ND), input_precision="ieee")
    d_s_MN = p_MN * (d_p_MN - delta_M[:, None])
    return tl.dot(d_s_MN.to(k_ND.dtype), k_ND, d_q_MD, input_precision="ieee")


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
    tile = query_tile(tiles_X6, tl.program_id(0) // H)
    start, run_end = tile[0], tile[1]
    q_row, k_row, v_row, d_o_row = q_row * UNIT, k_row * UNIT, v_row * UNIT, d_o_row * UNIT
    key_head, head_units = (head // heads_per_key * UNIT).to(tl.int64), (head * UNIT).to(tl.int64)
    k_NHD += key_head * k_head
    v_NHD += key_head * v_head
    q_NHD += start.to(tl.int64) * q_row + head_units * q_head
    d_o_NHD += start.to(tl.int64) * d_o_row + head_units * d_o_head

    m_M, n_N, d_D = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    rows_M = start + m_M
    keep_M = rows_M < run_end
    q_MD = loaded(q_NHD, m_M, d_D, q_row, keep_M, D, BLOCK_D, False)
    d_o_MD = loaded(d_o_NHD, m_M, d_D, d_o_row, keep_M, D, BLOCK_D, False)
    places_M = head.to(tl.int64) * N + rows_M
    lse_M = tl.load(lse_HN + places_M, mask=keep_M, other=0.0)
    delta_M = tl.load(delta_HN + places_M, mask=keep_M, other=0.0)
    first_M = tl.load(first_N + rows_M, mask=keep_M, other=0)
    d_q_MD = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)

    queries = (q_MD, d_o_MD, lse_M, delta_M, scale)
    d_q_MD = walk(
        query_step, d_q_MD, queries, (k_NHD, k_row), (v_NHD, v_row), tile, rows_M, first_M, n_N, d_D, D
    )

    place_MD = d_q_NHD + (start.to(tl.int64) * H + head) * D + m_M[:, None] * (H * D) + d_D[None, :]
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
    start, run_end = tl.load(row_6), tl.load(row_6 + 1)
    first_query, masked_end = tl.load(row_6 + 2), tl.load(row_6 + 3)
    queries_end, slot = tl.load(row_6 + 4), tl.load(row_6 + 5)
    q_row, k_row, v_row, d_o_row = q_row * UNIT, k_row * UNIT, v_row * UNIT, d_o_row * UNIT
    m_M, n_N, d_D = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    keys_N = start + n_N
    keep_N = keys_N < run_end
    head_units = (key_head * UNIT).to(tl.int64)
    k_NHD += start.to(tl.int64) * k_row + head_units * k_head
    v_NHD += start.to(tl.int64) * v_row + head_units * v_head
    k_ND = loaded(k_NHD, n_N, d_D, k_row, keep_N, D, BLOCK_D, False)
    v_ND = loaded(v_NHD, n_N, d_D, v_row, keep_N, D, BLOCK_D, False)
    d_k_ND = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    d_v_ND = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)

    count = tl.cdiv(masked_end - first_query, BLOCK_M)
    for WHOLE in tl.static_range(2):  # queries that need the mask, then those that see all of the tile
        divisor = tl.maximum(count, 1)
        for i in range(0, heads_per_key * count):
            head = (key_head * heads_per_key + i // divisor).to(tl.int64)
            block = first_query + i % divisor * BLOCK_M
            rows_M = block + m_M
            keep_M = rows_M < queries_end
            q_MD = loaded(
                q_NHD + head * UNIT * q_head, rows_M.to(tl.int64), d_D, q_row, keep_M, D, BLOCK_D, False
            )
            d_o_MD = loaded(
                d_o_NHD + head * UNIT * d_o_head, rows_M.to(tl.int64), d_D, d_o_row, keep_M, D, BLOCK_D, False
            )
            lse_M = tl.load(lse_HN + head * N + rows_M, mask=keep_M, other=float("inf"))
            delta_M = tl.load(delta_HN + head * N + rows_M, mask=keep_M, other=0.0)
            s_NM = tl.dot(k_ND, tl.trans(q_MD), input_precision="ieee")
            p_NM = tl.exp2(s_NM * scale - lse_M[None, :])
            if WHOLE == 0:
                first_M = tl.load(first_N + rows_M, mask=keep_M, other=0)
                from_M = tl.where(first_M < run_end, first_M, 0)  # readers see a whole prompt
                seen_NM = (keys_N[:, None] >= from_M[None, :]) & (keys_N[:, None] <= rows_M[None, :])
                p_NM = tl.where(seen_NM, p_NM, 0.0)
            d_v_ND = tl.dot(p_NM.to(d_o_MD.dtype), d_o_MD, d_v_ND, input_precision="ieee")
            d_p_NM = tl.dot(v_ND, tl.trans(d_o_MD), input_precision="ieee")
            d_s_NM = p_NM * (d_p_NM - delta_M[None, :])
            d_k_ND = tl.dot(d_s_NM.to(q_MD.dtype), q_MD, d_k_ND, input_precision="ieee")
        first_query += count * BLOCK_M
        count = tl.cdiv(tl.maximum(queries_end - first_query, 0), BLOCK_M)

    d_k_ND *= d_scale
    if slot < 0:
        at = (start.to(tl.int64) * key_heads + key_head) * D
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
            numbers = {"tiles_X6": "*i32", "first_N": "*i32"}
            numbers |= dict.fromkeys(NUMBERS, "i32") | {"scale": "fp32", "d_scale": "fp32"}
            d_q, d_k_v = {"d_q_NHD": f"*{name}"}, {"d_k_NHD": f"*{name}", "d_v_NHD": f"*{name}"}
            for label, kernel, blocks, outputs in (
                ("queries", query_kernel, query_blocks(D, dtype), d_q),
                ("keys", key_kernel, key_blocks(D, dtype), d_k_v | {"parts_XH2ND": "*fp32"}),
            ):
                title, types = f"packed backward {label} D{D} {name}", read | outputs | numbers
                found.append(listed(title, kernel, types, blocks.options(D), on_cores))
    return found
