"""Which positions of a pool of keys and values each row of a decode step reads, and which program does it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

# Kinds of work: none (padding); a split of a prompt for several rows, of one for one row, of a completion.
NOTHING, SHARED, PROMPT, COMPLETION = range(4)
HEADS = 16  # query heads of a row that one program takes at most: the least rows of a matrix instruction
LEAST_GROUP, LEAST_PROMPT = 4, 256  # rows and keys from which on a prompt is shared by default


@dataclass(frozen=True, slots=True)
class Reads:
    """Which positions of a pool B rows read, made by `plan`. All tensors are int32, and change in place only.

    prompt_start_B, prompt_length_B: the prompt's range; rows may share it
    completion_start_B, completion_length_B: the completion's range, which is the row's alone, its newest key
        included; length 0 for a row that is not in use
    work_W4: what programs do: kind, place in rows_B, row (of SHARED: number of rows), split of its range
    rows_B: the rows, those of one prompt beside each other
    splits: of one row, prompt and completion together, at most
    made_for: query heads for each head of keys, head dimension, dtype
    """

    prompt_start_B: Tensor
    prompt_length_B: Tensor
    completion_start_B: Tensor
    completion_length_B: Tensor
    work_W4: Tensor
    rows_B: Tensor
    splits: int = field(kw_only=True)
    made_for: tuple[int, int, torch.dtype] = field(kw_only=True)

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in order."""
        prompts = (self.prompt_start_B, self.prompt_length_B)
        return *prompts, self.completion_start_B, self.completion_length_B, self.work_W4, self.rows_B

    def to(self, device: torch.device | str) -> "Reads":
        """A copy on that device."""
        return Reads(
            *(x.to(device, copy=True) for x in self.tensors()), splits=self.splits, made_for=self.made_for
        )

    def copy_(self, other: "Reads") -> "Reads":
        """Take over another plan, in place: what a captured graph reads from then on.

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
        prompt_B, completion_B = whole.prompt_length_B, whole.completion_length_B
        unseen_B = (prompt_B + completion_B - window).clamp_(min=0)
        of_prompt_B = torch.minimum(unseen_B, prompt_B)
        of_completion_B = unseen_B - of_prompt_B
        self.prompt_start_B.copy_(whole.prompt_start_B + of_prompt_B)
        self.prompt_length_B.copy_(prompt_B - of_prompt_B)
        self.completion_start_B.copy_(whole.completion_start_B + of_completion_B)
        self.completion_length_B.copy_(completion_B - of_completion_B)
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
    less. Prompts of less than one split are few bytes beside a launch and the rows' completions.
    """
    return rows >= LEAST_GROUP and prompt_length >= LEAST_PROMPT


def plan(
    group_B: Sequence[int],
    prompt_start_N: Sequence[int],
    prompt_length_N: Sequence[int],
    completion_start_B: Sequence[int],
    completion_length_B: Sequence[int],
    completion_capacity: int,
    r: int,
    D: int,
    dtype: torch.dtype,
    *,
    shared: bool | None = None,
) -> Reads:
    """Plan what rows read, on the CPU: once an admission, never in a step.

    group_B: the number n of each row's prompt, or -1 for a row not in use (its output is 0)
    completion_capacity: what no completion will exceed while this plan is in use; not checked on the device
    r: query heads for each head of keys
    shared: read a prompt once for all its rows, always or never; None: where `sharing_pays`

    Of the batch, a row's result depends only on whether its prompt is shared: give `shared` for results
    that are bitwise the same in groups of any size.

    Raises ValueError where a completion is longer than the capacity.
    """
    if max(completion_length_B, default=0) > completion_capacity:
        longest = max(completion_length_B)
        raise ValueError(f"a completion of {longest} is more than the capacity of {completion_capacity}")
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
    of_completion = range(-(-completion_capacity // split))
    # By splits, not by rows: those that no completion has reached, whose programs exit at once, come last.
    completions = [(COMPLETION, place, row, i) for i in of_completion for place, row in enumerate(order)]
    items = together + apart + completions
    splits = max((-(-prompt_length_N[n] // split) for n in group_B if n >= 0), default=0) + len(of_completion)
    n_B = np.asarray(group_B, dtype=np.int64)
    unused = [row for row, n in enumerate(group_B) if n < 0]
    columns = (
        _by_row(prompt_start_N, n_B),
        _by_row(prompt_length_N, n_B),
        np.where(n_B < 0, 0, completion_start_B),
        np.where(n_B < 0, 0, completion_length_B),
        np.asarray(items, np.int32).reshape(-1, 4),
        np.asarray(order + unused),
    )
    tensors = (torch.from_numpy(np.ascontiguousarray(x, dtype=np.int32)) for x in columns)
    return Reads(*tensors, splits=splits, made_for=(r, D, dtype))


def _by_row(x_N: Sequence[int], n_B: np.ndarray) -> np.ndarray:
    """What stands for each row's prompt; 0 for rows not in use."""
    return np.where(n_B < 0, 0, np.asarray([*x_N, 0], dtype=np.int64)[n_B])
