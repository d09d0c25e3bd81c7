"""Attention of one new token a row to a pool of keys and values, where the rows of a group share a prompt.

k_PHD and v_PHD hold the P positions of a layer. Every row reads two contiguous ranges of them: its *prompt*,
which other rows may read too, then its *completion*, which it reads alone (`shuhari.kernels.reads`). Both are
cut into splits of a fixed number of keys, each split's softmax is taken apart from the others, and a row's
splits are merged in their order by their log-sum-exps, as in Flash-Decoding (Dao et al. 2023). Since splits
have a fixed size and not a fixed number, no bit of a row's result depends on the other rows. Where many rows
share a prompt, each split of it is read once for a tile of them, as in Hydragen (Juravsky et al. 2024); here
the splits of completions stand in the same work list, so that one launch does both.

Bytes of a call over B rows in groups of G, prompts of P keys, completions of S, e bytes an element: apart
2·e·Hkv·D·B·(P + S), shared 2·e·Hkv·D·(B/G·P + B·S) from memory, and the prompt once more from L2 for each
tile of a group after its first. Both write and read again 4·H·(D + 1) bytes a row and split, mostly in L2.
FLOPs: 4·B·H·D·(P + S); those that tensor cores do are more, since a program has 16 query rows at least, a
tile 64.

A step can be captured in a CUDA graph: a launch depends on nothing but the sizes of `Reads`, and lengths
are read on the device. From step to step only `completion_length_B` changes, to count the newest key before
any layer appends it; on admission `Reads.copy_` takes over a plan.
"""

import torch
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.dispatch import Implementation
from shuhari.kernels.reads import Reads


def plain(q_BHD: Tensor, k_PHD: Tensor, v_PHD: Tensor, reads: Reads) -> Tensor:
    """The definition, row by row; in fp32 at least."""
    wide = torch.promote_types(q_BHD.dtype, torch.float32)
    ranges = [
        (reads.prompt_start_B.tolist(), reads.prompt_length_B.tolist()),
        (reads.completion_start_B.tolist(), reads.completion_length_B.tolist()),
    ]
    o_BHD = torch.zeros_like(q_BHD, dtype=wide)
    for b, q_HD in enumerate(q_BHD.to(wide)):
        parts = [slice(starts[b], starts[b] + lengths[b]) for starts, lengths in ranges]
        k_SHD, v_SHD = (torch.cat([x[part] for part in parts]).to(wide) for x in (k_PHD, v_PHD))
        if len(k_SHD):
            k_SHD, v_SHD = (x.repeat_interleave(len(q_HD) // x.shape[1], 1) for x in (k_SHD, v_SHD))
            weights_HS = (torch.einsum("hd,shd->hs", q_HD, k_SHD) * q_BHD.shape[2] ** -0.5).softmax(-1)
            o_BHD[b] = torch.einsum("hs,shd->hd", weights_HS, v_SHD)
    return o_BHD.to(q_BHD.dtype)


def decode_attention(
    q_BHD: Tensor,
    k_PHD: Tensor,
    v_PHD: Tensor,
    reads: Reads,
    implementation: Implementation | None = None,
) -> Tensor:
    """Attention [B, H, D] of each row's query to all keys of its prompt and completion; 0 where it has none.

    H is a multiple of the heads of k and v; D is contiguous in all. Scores are scaled by D^-0.5.

    Raises ValueError where `reads` was planned for other shapes, dtypes differ, or "triton" is asked for and
    cannot run.
    """
    B, H, D = q_BHD.shape
    given = (B, H / k_PHD.shape[1], D, k_PHD.dtype)
    planned = (len(reads.rows_B), *reads.made_for)
    if planned != given:
        raise ValueError(f"reads are planned for (rows, heads a key head, D, dtype) {planned}, not {given}")
    if not q_BHD.dtype == k_PHD.dtype == v_PHD.dtype:
        raise ValueError(f"q, k and v must be alike, not {q_BHD.dtype}, {k_PHD.dtype} and {v_PHD.dtype}")
    if dispatch.choose(implementation, q_BHD.device) == "plain":
        return plain(q_BHD, k_PHD, v_PHD, reads)
    from shuhari.kernels.gpu import decode as gpu

    return gpu.decode(q_BHD, k_PHD, v_PHD, reads)
