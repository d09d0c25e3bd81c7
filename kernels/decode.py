"""Attention of one new token a row to a pool of keys and values, where the rows of a group share a prompt.

k_PHD and v_PHD hold the P positions of a layer. Every row reads a contiguous range of them, its *prompt*,
then a range of its *own*. Both are cut into splits of a fixed number of keys, each split's softmax is taken
apart from the others, and a row's splits are merged in their order by their log-sum-exps, as in
Flash-Decoding (Dao et al. 2023). Since splits have a fixed size and not a fixed number, no bit of a row's
result depends on the other rows. Where many rows share a prompt, each split of it is read once for a tile
of them, as in Hydragen (Juravsky et al. 2024); here their own splits stand in the same work list, so that
one launch does both.

Bytes of a call over B rows in groups of G, with prompts of P keys and S own ones, e bytes an element: apart
2·e·Hkv·D·B·(P + S), shared 2·e·Hkv·D·(B/G·P + B·S) from memory, and the prompt once more from L2 for each
tile of a group after its first. Both write and read again 4·H·(D + 1) bytes a row and split, mostly in L2.
FLOPs: 4·B·H·D·(P + S); those that tensor cores do are more, since a program has 16 query rows at least, a
tile 64.

A step can be captured in a CUDA graph: a launch depends on nothing but the sizes of `Reads`, and lengths
are read on the device. From step to step only `own_length_B` changes; on admission `Reads.copy_` takes over
a plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.dispatch import Implementation

NOTHING, SHARED, PROMPT, OWN = range(
    4
)  # kinds of work: of a shared prompt, of a row's prompt, of its own keys
HEADS = 16  # query heads of a row that one program takes at most: the least rows of a matrix instruction
LEAST_GROUP, LEAST_PROMPT = 4, 256


@dataclass(frozen=True, slots=True)
class Reads:
    """Which positions of a pool B rows read, made by `plan`. All tensors are int32, and change in place only.

    prompt_start_B, prompt_length_B: the prompt's range; rows may share it
    own_start_B, own_length_B: the row's own range, its newest key included; 0 for a row that is not in use
    work_W4: what programs do: kind, place in rows_B, row (of SHARED: number of rows), split of its range
    rows_B: the rows, a group's beside each other
    splits: of one row, prompt and own together, at most
    made_for: query heads for each head of keys, head dimension, dtype
    """

    prompt_start_B: Tensor
    prompt_length_B: Tensor
    own_start_B: Tensor
    own_length_B: Tensor
    work_W4: Tensor
    rows_B: Tensor
    splits: int = field(kw_only=True)
    made_for: tuple[int, int, torch.dtype] = field(kw_only=True)

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in order."""
        own = (self.own_start_B, self.own_length_B)
        return self.prompt_start_B, self.prompt_length_B, *own, self.work_W4, self.rows_B

    def to(self, device: torch.device | str) -> "Reads":
        """A copy on that device."""
        return Reads(
            *(x.to(device, copy=True) for x in self.tensors()), splits=self.splits, made_for=self.made_for
        )

    def copy_(self, other: "Reads") -> "Reads":
        """Take over another plan, own lengths included, in place: what a captured graph reads from then on.

        Raises ValueError unless both are of the same sizes.
        """
        sizes = [(x.splits, x.made_for, len(x.rows_B), len(x.work_W4)) for x in (self, other)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"a plan of (splits, shapes, rows, work) {sizes[1]} does not fit into {sizes[0]}"
            )
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(theirs, non_blocking=True)
        return self

    def narrow_(self, whole: "Reads", window: int) -> "Reads":
        """Take over, in place, what lies within the last `window` positions of each row of a plan of these
        sizes that shares no prompt: its rows read different parts of it. Waits for nothing."""
        prompt_B, own_B = whole.prompt_length_B, whole.own_length_B
        unseen_B = (prompt_B + own_B - window).clamp_(min=0)
        of_prompt_B = torch.minimum(unseen_B, prompt_B)
        of_own_B = unseen_B - of_prompt_B
        self.prompt_start_B.copy_(whole.prompt_start_B + of_prompt_B)
        self.prompt_length_B.copy_(prompt_B - of_prompt_B)
        self.own_start_B.copy_(whole.own_start_B + of_own_B)
        self.own_length_B.copy_(own_B - of_own_B)
        return self


def tiling(D: int, dtype: torch.dtype) -> tuple[int, int]:
    """Keys of a split, and query rows of a tile of a shared prompt."""
    if dtype == torch.float32:
        return 256, 16
    return 256, 64 if D <= 128 else 32


def heads_together(r: int) -> int:
    """Query heads of a row in one program: the largest divisor of r that is at most HEADS."""
    return max(x for x in range(1, HEADS + 1) if r % x == 0)


def sharing_pays(rows: int, prompt_length: int) -> bool:
    """Whether a prompt is read once for all its rows by default.

    An estimate from counts, until a GPU has measured it. A tile costs the tensor cores what 4 rows apart do
    (64 query rows against 16 each), so from 4 rows on sharing computes no more, and reads (rows - 1)/rows
    less. Prompts of less than one split are few bytes beside a launch and the rows' own keys.
    """
    return rows >= LEAST_GROUP and prompt_length >= LEAST_PROMPT


def most_work(
    rows: int, prompt_length: int, own_capacity: int, D: int, dtype: torch.dtype
) -> tuple[int, int]:
    """Items of work and splits of a row that no plan of so many rows exceeds, whatever they share."""
    split = tiling(D, dtype)[0]
    splits = -(-prompt_length // split) + -(-own_capacity // split)
    return rows * splits, splits


def plan(
    group_B: Sequence[int],
    prompt_start_N: Sequence[int],
    prompt_length_N: Sequence[int],
    own_start_B: Sequence[int],
    own_length_B: Sequence[int],
    own_capacity: int,
    r: int,
    D: int,
    dtype: torch.dtype,
    *,
    shared: bool | None = None,
    work: int | None = None,
    splits: int | None = None,
) -> Reads:
    """What rows read, on the CPU: once an admission, never a step.

    group_B: the number n of each row's prompt, or -1 for a row not in use (its output is 0)
    own_capacity: what no own length will exceed while this plan is in use; not checked on the device
    shared: read a prompt once for all its rows, always or never; None: where `sharing_pays`
    work, splits: sizes to pad to, for graphs (None: what it takes). An item of padding costs a program that
        exits at once, so better a graph for each of a few sizes than one for the most that may come.

    A row's bits depend on whether its prompt is shared, and on nothing else of the batch: for results that
    are bitwise the same in groups of any size give `shared`.

    Raises ValueError where an own length exceeds the capacity, or the plan the given sizes.
    """
    if max(own_length_B, default=0) > own_capacity:
        raise ValueError(f"own_length_B has {max(own_length_B)}, more than the capacity of {own_capacity}")
    split, tile = tiling(D, dtype)
    samples = tile // heads_together(r)
    members: list[list[int]] = [[] for _ in prompt_length_N]
    for row, n in enumerate(group_B):
        if n >= 0:
            members[n].append(row)
    order: list[int] = []
    together, apart = [], []
    for rows, length in zip(members, prompt_length_N, strict=True):
        parts = range(-(-length // split))
        if sharing_pays(len(rows), length) if shared is None else shared:
            places = range(len(order), len(order) + len(rows), samples)
            end = len(order) + len(rows)
            together += [(SHARED, place, min(samples, end - place), i) for i in parts for place in places]
        else:
            apart += [(PROMPT, place, row, i) for place, row in enumerate(rows, len(order)) for i in parts]
        order += rows
    owns = -(-own_capacity // split)
    own = [
        (OWN, place, row, i) for i in range(owns) for place, row in enumerate(order)
    ]  # those that may exit at once come last
    items = together + apart + own
    needed = max((-(-prompt_length_N[n] // split) for n in group_B if n >= 0), default=0) + owns
    work, splits = len(items) if work is None else work, needed if splits is None else splits
    if len(items) > work or needed > splits:
        raise ValueError(f"{len(items)} items of work and {needed} splits do not fit in {work} and {splits}")
    work_W4 = np.zeros((work, 4), np.int32)
    if items:
        work_W4[: len(items)] = items
    n_B = np.asarray(group_B, dtype=np.int64)
    unused = [row for row, n in enumerate(group_B) if n < 0]
    columns = (
        _of_rows(prompt_start_N, n_B),
        _of_rows(prompt_length_N, n_B),
        np.where(n_B < 0, 0, own_start_B),
        np.where(n_B < 0, 0, own_length_B),
        work_W4,
        np.asarray(order + unused),
    )
    tensors = (torch.from_numpy(np.ascontiguousarray(x, dtype=np.int32)) for x in columns)
    return Reads(*tensors, splits=splits, made_for=(r, D, dtype))


def _of_rows(of_N: Sequence[int], n_B: np.ndarray) -> np.ndarray:
    """Each row's number, of its prompt; 0 of rows not in use."""
    return np.where(n_B < 0, 0, np.asarray([*of_N, 0], dtype=np.int64)[n_B])


def plain(q_BHD: Tensor, k_PHD: Tensor, v_PHD: Tensor, reads: Reads, scale: float) -> Tensor:
    """The definition, row by row; in fp32 at least."""
    wide = torch.promote_types(q_BHD.dtype, torch.float32)
    ranges = [
        (reads.prompt_start_B.tolist(), reads.prompt_length_B.tolist()),
        (reads.own_start_B.tolist(), reads.own_length_B.tolist()),
    ]
    o_BHD = torch.zeros_like(q_BHD, dtype=wide)
    for b, q_HD in enumerate(q_BHD.to(wide)):
        parts = [slice(starts[b], starts[b] + lengths[b]) for starts, lengths in ranges]
        k_SHD, v_SHD = (torch.cat([x[part] for part in parts]).to(wide) for x in (k_PHD, v_PHD))
        if len(k_SHD):
            k_SHD, v_SHD = (x.repeat_interleave(len(q_HD) // x.shape[1], 1) for x in (k_SHD, v_SHD))
            weights_HS = (torch.einsum("hd,shd->hs", q_HD, k_SHD) * scale).softmax(-1)
            o_BHD[b] = torch.einsum("hs,shd->hd", weights_HS, v_SHD)
    return o_BHD.to(q_BHD.dtype)


def append_plain(k_BHD: Tensor, v_BHD: Tensor, k_PHD: Tensor, v_PHD: Tensor, reads: Reads) -> None:
    """The definition of `append`."""
    used_U = (reads.own_length_B > 0).nonzero()[:, 0]
    places_U = (reads.own_start_B + reads.own_length_B - 1)[used_U].long()
    k_PHD[places_U], v_PHD[places_U] = k_BHD[used_U].to(k_PHD.dtype), v_BHD[used_U].to(v_PHD.dtype)


def decode_attention(
    q_BHD: Tensor,
    k_PHD: Tensor,
    v_PHD: Tensor,
    reads: Reads,
    implementation: Implementation | None = None,
    scale: float | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Attention [B, H, D] of each row's query to all keys of its prompt and of its own; 0 where it has none.

    H is a multiple of the heads of k and v; D is contiguous in all. scale: D**-0.5 unless given.

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
    scale = D**-0.5 if scale is None else scale
    if dispatch.choose(implementation, q_BHD.device) == "plain":
        o_BHD = plain(q_BHD, k_PHD, v_PHD, reads, scale)
        return o_BHD if out is None else out.copy_(o_BHD)
    from shuhari.kernels.gpu import decode as gpu

    return gpu.decode(q_BHD, k_PHD, v_PHD, reads, scale, torch.empty_like(q_BHD) if out is None else out)


def append(
    k_BHD: Tensor,
    v_BHD: Tensor,
    k_PHD: Tensor,
    v_PHD: Tensor,
    reads: Reads,
    implementation: Implementation | None = None,
) -> None:
    """Write each row's newest key and value to the last place of its own range; of rows not in use, nothing.

    `own_length_B` counts that place already: a step adds 1 to the lengths once, then every layer appends and
    attends with the same lengths. Bytes: 4·e·B·Hkv·D.

    Raises ValueError where "triton" is asked for and cannot run.
    """
    if dispatch.choose(implementation, k_BHD.device) == "plain":
        append_plain(k_BHD, v_BHD, k_PHD, v_PHD, reads)
        return
    from shuhari.kernels.gpu import merge as gpu

    gpu.append(k_BHD, v_BHD, k_PHD, v_PHD, reads)
