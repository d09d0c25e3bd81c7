"""The splits of each row, whose softmax `shuhari.kernels.gpu.decode` took apart, merged into one.

Merging averages a row's splits, weighted by their sums of exponentials: it reads each part once, 4·(D + 1)
bytes a row, head and split, most of them from L2, where they were written a moment ago. Parts are added up in
the order of their splits, MERGED at a time, however many a row has room for.
"""

import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.gpu.constants import UNIT
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Shipped, listed, strides
from shuhari.kernels.reads import Reads, tiling

MERGED = 8  # splits loaded at once
COUNTS = "B R H splits out_row out_head".split()


@triton.jit(do_not_specialize=COUNTS)
def merge_kernel(
    part_CSBRD,
    lse_CSBR,
    out_BHD,
    prompt_length_B,
    completion_length_B,
    rows_B,
    B,
    R,
    H,
    splits,
    out_row,
    out_head,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """One head of one row: Σ 2^(lse_s - m) o_s / Σ 2^(lse_s - m) over its splits, BLOCK_S of them at once."""
    place = tl.program_id(0) // H
    head = tl.program_id(0) % H
    row = tl.load(rows_B + place).to(tl.int64)
    n = (tl.load(prompt_length_B + row) + SPLIT - 1) // SPLIT
    n = tl.minimum(n + (tl.load(completion_length_B + row) + SPLIT - 1) // SPLIT, splits)
    first = ((head // R * splits).to(tl.int64) * B + place) * R + head % R
    d_D = tl.arange(0, BLOCK_D)
    s_S = tl.arange(0, BLOCK_S)
    top = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    o_D = tl.zeros((BLOCK_D,), tl.float32)
    for start in range(0, n, BLOCK_S):
        live_S = start + s_S < n
        place_S = first + (start + s_S).to(tl.int64) * B * R
        l_S = tl.load(lse_CSBR + place_S, mask=live_S, other=float("-inf"))
        mask_SD = live_S[:, None] & (d_D < D)[None, :]
        part_SD = tl.load(part_CSBRD + place_S[:, None] * D + d_D[None, :], mask=mask_SD, other=0.0)
        higher = tl.maximum(top, tl.max(l_S, 0))
        fade = tl.exp2(top - higher)
        weight_S = tl.exp2(l_S - higher)
        total = total * fade + tl.sum(weight_S, 0)
        o_D = o_D * fade + tl.sum(weight_S[:, None] * part_SD, 0)
        top = higher
    o_D = o_D / tl.where(n > 0, total, 1.0)
    out_D = out_BHD + (row * out_row + head * out_head) * UNIT + d_D
    tl.store(out_D, o_D.to(out_BHD.dtype.element_ty), mask=d_D < D)


def merge(part_CSBRD: Tensor, lse_CSBR: Tensor, out_BHD: Tensor, reads: Reads, split: int) -> None:
    """Merge the parts of splits of so many keys into `out_BHD`; 0 of a row that reads nothing."""
    B, H, D = out_BHD.shape
    _, splits, _, R, _ = part_CSBRD.shape
    merge_kernel[(B * H,)](
        *(part_CSBRD, lse_CSBR, out_BHD, reads.prompt_length_B, reads.completion_length_B, reads.rows_B),
        *(B, R, H, splits, *strides(out_BHD)),
        **options(D, split),
        enable_fp_fusion=True,
    )


def options(D: int, split: int) -> dict[str, int]:
    """Constants and warps of `merge_kernel`: one warp for D <= 128: many programs run at once."""
    padded = triton.next_power_of_2(D)
    return {"D": D, "BLOCK_D": padded, "SPLIT": split, "BLOCK_S": MERGED, "num_warps": max(1, padded // 128)}


def shipped() -> list[Shipped]:
    """For every head dimension and dtype."""
    found = []
    for dtype in DTYPES:
        for D in HEAD_DIMS:
            types = {"part_CSBRD": "*fp32", "lse_CSBR": "*fp32"}
            types |= {"out_BHD": f"*{TYPE_NAMES[dtype]}"}
            types |= dict.fromkeys(("prompt_length_B", "completion_length_B", "rows_B"), "*i32")
            types |= dict.fromkeys(COUNTS, "i32")
            name = f"merge {TYPE_NAMES[dtype]} D{D}"
            found.append(listed(name, merge_kernel, types, options(D, tiling(D, dtype)[0])))
    return found
