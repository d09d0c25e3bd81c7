"""What stands around the splits of a decode step: the newest keys and values appended, the parts merged.

Appending reads and writes each row's key and value once. Merging averages a row's splits, weighted by their
sums of exponentials: it reads each part once, 4·(D + 1) bytes a row, head and split, most of them from L2,
where they were written a moment ago. Parts are added up in the order of their splits, MERGED at a time,
however many a row has room for.
"""

import triton
import triton.language as tl
from torch import Tensor

from shuhari.kernels.decode import Reads, tiling
from shuhari.kernels.gpu.launch import DTYPES, HEAD_DIMS, TYPE_NAMES, Shipped

UNIT = tl.constexpr(
    8
)  # elements, 16 bytes at least: strides are passed in it, so that all loads are wide ones
MERGED = 8  # splits loaded at once
APPENDED_HEADS, WARPS = 8, 4  # key heads and warps of a program that appends
APPEND_COUNTS = "Hkv k_row k_row_head v_row v_row_head k_stride k_head v_stride v_head".split()
MERGE_COUNTS = "B R H splits out_row out_head".split()


def strides(*tensors: Tensor) -> list[int]:
    """The two outer strides of each, in units.

    Raises ValueError where the last dimension is not contiguous, or a stride no multiple of the unit.
    """
    found = [x for tensor in tensors for x in tensor.stride()[:2]]
    if any(x.stride(2) != 1 for x in tensors) or any(x % UNIT.value for x in found):
        shown = [x.stride() for x in tensors]
        raise ValueError(f"strides must be multiples of {UNIT.value} elements, the last 1; they are {shown}")
    return [x // UNIT.value for x in found]


@triton.jit(do_not_specialize=MERGE_COUNTS)
def merge_kernel(
    part_CSBRD,
    lse_CSBR,
    out_BHD,
    prompt_length_B,
    own_length_B,
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
    n = tl.minimum(n + (tl.load(own_length_B + row) + SPLIT - 1) // SPLIT, splits)
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
        *(part_CSBRD, lse_CSBR, out_BHD, reads.prompt_length_B, reads.own_length_B, reads.rows_B),
        *(B, R, H, splits, *strides(out_BHD)),
        **options(D, split),
        enable_fp_fusion=True,
    )


def options(D: int, split: int) -> dict[str, int]:
    """Constants and warps of `merge_kernel`: one warp for D <= 128: many programs run at once."""
    padded = triton.next_power_of_2(D)
    return {"D": D, "BLOCK_D": padded, "SPLIT": split, "BLOCK_S": MERGED, "num_warps": max(1, padded // 128)}


@triton.jit(do_not_specialize=APPEND_COUNTS)
def append_kernel(
    k_BHD,
    v_BHD,
    k_PHD,
    v_PHD,
    own_start_B,
    own_length_B,
    Hkv,
    k_row,
    k_row_head,
    v_row,
    v_row_head,
    k_stride,
    k_head,
    v_stride,
    v_head,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Some heads of one row's newest key and value, to the last position of its own range."""
    row = tl.program_id(0).to(tl.int64)
    length = tl.load(own_length_B + row)
    if length <= 0:
        return
    position = (tl.load(own_start_B + row) + length - 1).to(tl.int64)
    h_H = (tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H))[:, None].to(tl.int64)
    d_D = tl.arange(0, BLOCK_D)[None, :]
    mask_HD = (h_H < Hkv) & (d_D < D)
    k_HD = tl.load(k_BHD + (row * k_row + h_H * k_row_head) * UNIT + d_D, mask=mask_HD)
    v_HD = tl.load(v_BHD + (row * v_row + h_H * v_row_head) * UNIT + d_D, mask=mask_HD)
    k_HD, v_HD = k_HD.to(k_PHD.dtype.element_ty), v_HD.to(v_PHD.dtype.element_ty)
    tl.store(k_PHD + (position * k_stride + h_H * k_head) * UNIT + d_D, k_HD, mask=mask_HD)
    tl.store(v_PHD + (position * v_stride + h_H * v_head) * UNIT + d_D, v_HD, mask=mask_HD)


def append(k_BHD: Tensor, v_BHD: Tensor, k_PHD: Tensor, v_PHD: Tensor, reads: Reads) -> None:
    """`shuhari.kernels.decode.append`.

    Raises ValueError where strides are not what wide stores take.
    """
    B, Hkv, D = k_BHD.shape
    if B:
        append_kernel[(B, triton.cdiv(Hkv, APPENDED_HEADS))](
            *(k_BHD, v_BHD, k_PHD, v_PHD, reads.own_start_B, reads.own_length_B),
            *(Hkv, *strides(k_BHD, v_BHD, k_PHD, v_PHD)),
            **_appending(D),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )


def _appending(D: int) -> dict[str, int]:
    return {"D": D, "BLOCK_D": triton.next_power_of_2(D), "BLOCK_H": APPENDED_HEADS}


def shipped() -> list[Shipped]:
    """Both kernels for every head dimension and dtype."""
    found = []
    for dtype in DTYPES:
        for D in HEAD_DIMS:
            name, kind = f"{TYPE_NAMES[dtype]} D{D}", f"*{TYPE_NAMES[dtype]}"
            constants = options(D, tiling(D, dtype)[0])
            warps = constants.pop("num_warps")
            signature = {"part_CSBRD": "*fp32", "lse_CSBR": "*fp32", "out_BHD": kind}
            signature |= dict.fromkeys(("prompt_length_B", "own_length_B", "rows_B"), "*i32")
            signature |= dict.fromkeys(MERGE_COUNTS, "i32") | dict.fromkeys(constants, "constexpr")
            found.append(Shipped(f"merge {name}", merge_kernel, signature, constants, warps, 3, False))
            constants = _appending(D)
            signature = dict.fromkeys(("k_BHD", "v_BHD", "k_PHD", "v_PHD"), kind)
            signature |= dict.fromkeys(("own_start_B", "own_length_B"), "*i32")
            signature |= dict.fromkeys(APPEND_COUNTS, "i32") | dict.fromkeys(constants, "constexpr")
            found.append(Shipped(f"append {name}", append_kernel, signature, constants, WARPS, 3, False))
    return found
