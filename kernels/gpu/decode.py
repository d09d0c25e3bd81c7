"""Decode over a work list: a program takes one split of keys, for one row's heads or a tile of rows.

See `shuhari.kernels.decode` for what is computed, its bytes and FLOPs. Memory-bound: a split's keys and
values are loaded block by block, asynchronously, the next block while one is computed with. Programs of the
same item and of neighbouring heads, which lie beside each other in the pool, start one after another; so do
the tiles of one split of a shared prompt, whose keys the later ones find in L2. `merge_kernel` then merges
each row's splits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.constants import LOG2E
from shuhari.kernels.gpu.constants import COMPLETION, NOTHING, SHARED, UNIT
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Shipped, listed, strides
from shuhari.kernels.gpu.merge_splits import merge
from shuhari.kernels.reads import HEADS, Reads, heads_together, tiling

TABLES = "prompt_start_B prompt_length_B completion_start_B completion_length_B work_W4 rows_B".split()
COUNTS = "B R blocks per_kv splits q_row q_head k_stride k_head v_stride v_head".split()


def options(D: int, dtype: torch.dtype) -> dict[str, int]:
    """Constants and warps of `split_kernel`.

    In 16 bits an SM of 228 KiB and 64 Ki registers holds three programs (two of D = 80, 96 and D > 128, four
    of D = 64), each with one block of keys and values on its way while another is computed with: 40 KiB
    (D = 80) to 96 KiB (D = 128) on their way, where about 30 keep an SM of 4.3 TB/s / 132 busy over a
    microsecond. Tiles have smaller blocks, since their queries and outputs take the registers. fp32 has no
    tensor cores; eight warps are what it takes to keep its products out of local memory.
    """
    split, tile = tiling(D, dtype)
    padded = triton.next_power_of_2(D)
    if dtype == torch.float32:
        block = wide = 32 if padded <= 64 else 16
        stages, warps = 2, 8
    else:
        block, wide = (64 if padded <= 128 else 32), 32
        stages, warps = 3, 4
    blocks = {"BLOCK_N": block, "WIDE_N": wide, "STAGES": stages}
    return {
        "D": D,
        "BLOCK_D": padded,
        "SPLIT": split,
        "NARROW": HEADS,
        "WIDE": tile,
        **blocks,
        "num_warps": warps,
    }


@triton.jit
def attend(
    q_MD,
    k_ND,
    v_ND,
    n,
    k_stride,
    v_stride,
    scale,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Softmax attention of a tile of queries to n >= 1 keys: outputs in fp32 and base-2 log-sum-exps."""
    M: tl.constexpr = q_MD.shape[0]
    d_D = tl.arange(0, BLOCK_D)
    n_N = tl.arange(0, BLOCK_N)
    top_M = tl.full((M,), float("-inf"), tl.float32)
    sum_M = tl.zeros((M,), tl.float32)
    o_MD = tl.zeros((M, BLOCK_D), tl.float32)
    for start in tl.range(0, n, BLOCK_N, num_stages=STAGES):
        live_N = start + n_N < n
        mask_ND = live_N[:, None] & (d_D < D)[None, :] if D < BLOCK_D else live_N[:, None]
        k = tl.load(k_ND + (start + n_N)[:, None] * k_stride + d_D[None, :], mask=mask_ND, other=0.0)
        s_MN = tl.dot(q_MD, tl.trans(k), input_precision="ieee") * scale
        s_MN = tl.where(live_N[None, :], s_MN, float("-inf"))
        higher_M = tl.maximum(top_M, tl.max(s_MN, 1))
        p_MN = tl.exp2(s_MN - higher_M[:, None])
        fade_M = tl.exp2(top_M - higher_M)
        sum_M = sum_M * fade_M + tl.sum(p_MN, 1)
        v = tl.load(v_ND + (start + n_N)[:, None] * v_stride + d_D[None, :], mask=mask_ND, other=0.0)
        o_MD = tl.dot(p_MN.to(v.dtype), v, o_MD * fade_M[:, None], input_precision="ieee")
        top_M = higher_M
    return o_MD / sum_M[:, None], top_M + tl.log2(sum_M)


@triton.jit
def take(
    q_BHD,
    k_ND,
    v_ND,
    part_MD,
    lse_M,
    rows_B,
    first,
    count,
    block,
    n,
    R,
    q_row,
    q_head,
    k_stride,
    v_stride,
    scale,
    TILE: tl.constexpr,
    ONE_ROW: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Load a tile of queries, R heads of each row; attend; store its part of the answer, row after row.

    `first` is the row, or, of a tile of `count` rows, its place in rows_B. Parts are stored by place: so
    nothing of the rows has to stay in registers meanwhile.
    """
    m_M = tl.arange(0, TILE)
    d_D = tl.arange(0, BLOCK_D)
    used_M = m_M < count * R
    mask_MD = used_M[:, None] & (d_D < D)[None, :]
    if ONE_ROW:
        q_M = first.to(tl.int64) * q_row + (block * R + m_M) * q_head
    else:
        row_M = tl.load(rows_B + first + m_M // R, mask=used_M, other=0).to(tl.int64)
        q_M = row_M * q_row + (block * R + m_M % R) * q_head
    q_MD = tl.load(q_BHD + q_M[:, None] + d_D[None, :], mask=mask_MD, other=0.0)
    o_MD, l_M = attend(q_MD, k_ND, v_ND, n, k_stride, v_stride, scale, D, BLOCK_D, BLOCK_N, STAGES)
    tl.store(part_MD + m_M[:, None] * D + d_D[None, :], o_MD, mask=mask_MD)
    tl.store(lse_M + m_M, l_M, mask=used_M)


@triton.jit(do_not_specialize=COUNTS)
def split_kernel(
    q_BHD,
    k_PHD,
    v_PHD,
    part_CSBRD,
    lse_CSBR,
    prompt_start_B,
    prompt_length_B,
    completion_start_B,
    completion_length_B,
    work_W4,
    rows_B,
    B,
    R,
    blocks,
    per_kv,
    splits,
    q_row,
    q_head,
    k_stride,
    k_head,
    v_stride,
    v_head,
    scale,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SPLIT: tl.constexpr,
    NARROW: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WIDE_N: tl.constexpr,
    STAGES: tl.constexpr,
):
    """One item of work for one block of R query heads. The splits of a row's prompt stand before those
    of its completion."""
    block = tl.program_id(0) % blocks
    item = work_W4 + tl.program_id(0) // blocks * 4
    kind = tl.load(item)
    if kind == NOTHING:
        return
    place = tl.load(item + 1)
    row = tl.load(item + 2)
    split = tl.load(item + 3)
    count = row
    if kind == SHARED:
        row = tl.load(rows_B + place)
    start = tl.load(prompt_start_B + row)
    length = tl.load(prompt_length_B + row)
    slot = split
    if kind == COMPLETION:
        slot += (length + SPLIT - 1) // SPLIT
        start = tl.load(completion_start_B + row)
        length = tl.load(completion_length_B + row)
    n = tl.minimum(length - split * SPLIT, SPLIT)
    if n <= 0:
        return
    start = (start + split * SPLIT).to(tl.int64)
    kv_head = (block // per_kv).to(tl.int64)
    k_ND = k_PHD + (start * k_stride + kv_head * k_head) * UNIT
    v_ND = v_PHD + (start * v_stride + kv_head * v_head) * UNIT
    first = ((block * splits + slot).to(tl.int64) * B + place) * R
    part_MD, lse_M = part_CSBRD + first * D, lse_CSBR + first
    q_row, q_head, k_stride, v_stride = q_row * UNIT, q_head * UNIT, k_stride * UNIT, v_stride * UNIT
    if kind == SHARED:
        take(
            q_BHD, k_ND, v_ND, part_MD, lse_M, rows_B, place, count, block, n, R,
            q_row, q_head, k_stride, v_stride, scale, WIDE, False, D, BLOCK_D, WIDE_N, STAGES,
        )  # fmt: skip
    else:
        take(
            q_BHD, k_ND, v_ND, part_MD, lse_M, rows_B, row, 1, block, n, R,
            q_row, q_head, k_stride, v_stride, scale, NARROW, True, D, BLOCK_D, BLOCK_N, STAGES,
        )  # fmt: skip


def decode(q_BHD: Tensor, k_PHD: Tensor, v_PHD: Tensor, reads: Reads) -> Tensor:
    """`shuhari.kernels.decode.decode_attention`.

    Raises ValueError where dtype or head dimension are none that the kernel takes, or strides are not what
    wide loads take, or do not reach over a split in 32 bits.
    """
    B, H, D = q_BHD.shape
    if k_PHD.dtype not in DTYPES or not 16 <= D <= 256:
        raise ValueError(
            f"'triton' decodes fp32, fp16 and bf16 of 16 <= D <= 256, not {k_PHD.dtype} of D = {D}"
        )
    chosen = options(D, k_PHD.dtype)
    if max(k_PHD.stride(0), v_PHD.stride(0)) * chosen["SPLIT"] >= 2**31:
        raise ValueError(f"{chosen['SPLIT']} positions of k or v are 2^31 elements apart or more")
    r = H // k_PHD.shape[1]
    R = heads_together(r)
    out_BHD = torch.empty(B, H, D, dtype=q_BHD.dtype, device=q_BHD.device)
    part_CSBRD = torch.empty(H // R, reads.splits, B, R, D, dtype=torch.float32, device=q_BHD.device)
    lse_CSBR = torch.empty(H // R, reads.splits, B, R, dtype=torch.float32, device=q_BHD.device)
    if len(reads.work_W4):
        split_kernel[(len(reads.work_W4) * (H // R),)](
            *(q_BHD, k_PHD, v_PHD, part_CSBRD, lse_CSBR, *reads.tensors()),
            *(B, R, H // R, r // R, reads.splits, *strides(q_BHD, k_PHD, v_PHD), D**-0.5 * LOG2E),
            **chosen,
            enable_fp_fusion=True,
        )
    if B:
        merge(part_CSBRD, lse_CSBR, out_BHD, reads, chosen["SPLIT"])
    return out_BHD


def shipped() -> list[Shipped]:
    """For every head dimension and dtype."""
    found = []
    for dtype in DTYPES:
        for D in HEAD_DIMS:
            name = TYPE_NAMES[dtype]
            types = dict.fromkeys(("q_BHD", "k_PHD", "v_PHD"), f"*{name}")
            types |= {"part_CSBRD": "*fp32", "lse_CSBR": "*fp32"}
            types |= dict.fromkeys(TABLES, "*i32") | dict.fromkeys(COUNTS, "i32") | {"scale": "fp32"}
            on_cores = dtype != torch.float32
            found.append(listed(f"splits {name} D{D}", split_kernel, types, options(D, dtype), on_cores))
    return found
