"""Packed texts: many in one row of positions, cut into segments, where completions may read one prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """N packed positions, cut into M segments; each sees itself causally and, before that, the whole of
    another, if it reads one: its prompt. Made by `pack`.

    lengths, prompts: what `pack` was given, on the host
    starts_M1: int32 [M + 1], segment m is positions starts[m] to starts[m + 1]
    positions_N: int64 [N], the place of each position in its text: a completion's count on after its prompt's
    first_N: int32 [N], where the segment of each position begins
    """

    lengths: tuple[int, ...]
    prompts: tuple[int, ...]
    starts_M1: Tensor
    positions_N: Tensor
    first_N: Tensor
    made: dict[Any, Any] = field(default_factory=dict, repr=False)  # tables, each made when first asked for

    @classmethod
    def pack(
        cls, lengths: Sequence[int], prompts: Sequence[int], device: torch.device | str = "cpu"
    ) -> "Segments":
        """Segments of so many positions (0 is allowed), each with the number of its prompt or -1.

        The readers of a prompt follow it directly, and a prompt reads nobody: prompt, its completions, next
        prompt, its completions, ... Raises ValueError where that is broken or a length is negative.
        """
        lengths, prompts = tuple(map(int, lengths)), tuple(map(int, prompts))
        if len(lengths) != len(prompts):
            raise ValueError(f"{len(lengths)} lengths, but {len(prompts)} prompts: one of each a segment")
        root = -1  # the last segment that reads nobody
        for m, (length, prompt) in enumerate(zip(lengths, prompts, strict=True)):
            if length < 0:
                raise ValueError(f"segment {m} has length {length}: 0 or more")
            if prompt not in (-1, root):
                nearest = f"{root} or -1" if root >= 0 else "-1"
                raise ValueError(f"segment {m} reads {prompt}: readers follow their prompt, here {nearest}")
            if prompt == -1:
                root = m
        sizes_M = np.array(lengths, np.int64)
        starts_M1 = np.concatenate([[0], sizes_M.cumsum()])
        before_M = np.array([0 if p < 0 else lengths[p] for p in prompts], np.int64)
        first_N = starts_M1[:-1].repeat(sizes_M)
        positions_N = np.arange(starts_M1[-1]) - first_N + before_M.repeat(sizes_M)
        tables = (starts_M1.astype(np.int32), positions_N, first_N.astype(np.int32))
        starts, positions, first = (sent(x, torch.device(device)) for x in tables)
        return cls(lengths, prompts, starts, positions, first)

    @property
    def longest(self) -> int:
        """Positions of the longest text, a reader's prompt included."""
        before = (0 if prompt < 0 else self.lengths[prompt] for prompt in self.prompts)
        return max(map(sum, zip(self.lengths, before, strict=True)), default=0)

    @property
    def device(self) -> torch.device:
        return self.positions_N.device

    def once(self, key: Any, make: Callable[["Segments"], Any]) -> Any:
        """make(self), kept under `key`: a table serves every layer and both directions."""
        if key not in self.made:
            self.made[key] = make(self)
        return self.made[key]


def sent(table: "np.ndarray[Any, Any]", device: torch.device) -> Tensor:
    """A table on a device, by a copy that the host does not wait for."""
    tensor = torch.from_numpy(table)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
