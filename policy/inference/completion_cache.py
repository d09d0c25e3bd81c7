"""Keys and values of completions on any processor: in parts, so that what is read lies together.

The first positions of all rows are in one part, and each further part is at most as large as all before it.
So a rollout reads few pieces of memory, each contiguous over all rows, though nobody knows beforehand how
long its completions will be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shuhari.kernels.shared_prompt import Part

FIRST = 16  # positions of the first part
SPARSE = 4  # if less than one in so many of a part's positions is used, only those are read


@dataclass(frozen=True, slots=True)
class Places:
    """Where some rows' next positions are: in which part, and at which place of it, all at one or each."""

    part: int
    rows: Tensor | slice
    at: int | Tensor


class CompletionCache:
    """Keys and values of `rows` completions of up to `positions` tokens; parts are made when reached."""

    def __init__(self) -> None:
        self.rows = self.positions = 0
        self._parts: list[Tensor] = []  # [layers, 2, rows, Hkv, S, D]: keys, values
        self._layers: list[list[Part]] = []  # of each part, views of its layers

    def reserve(self, used: int, new: int, positions: int) -> None:
        """Make room for `new` rows more, each with so many positions; the `used` rows keep what they have."""
        self.rows, self.positions = max(self.rows, used + new), max(self.positions, positions)
        for i, x in enumerate(self._parts):
            if self.rows > x.shape[2]:
                self._parts[i] = _zeros(x, (*x.shape[:2], self.rows, *x.shape[3:]))
                self._parts[i][:, :, :used] = x[:, :, :used]
            else:
                x[:, 1, used : used + new] = 0  # unseen values are multiplied by zero, so they must be finite
        self._layers = [_layers(x) for x in self._parts]

    def reach(self, position: int, like: Sequence[Tensor]) -> None:
        """Let parts go as far as this position; `like`: keys [_, Hkv, _, D] for each layer."""
        have = sum(x.shape[4] for x in self._parts)
        while have <= position:
            S = min(max(FIRST, have), self.positions - have)
            shape = (len(like), 2, self.rows, like[0].shape[1], S, like[0].shape[3])
            self._parts.append(_zeros(like[0], shape))
            self._layers.append(_layers(self._parts[-1]))
            have += S

    def read(self, rows: int, positions: int) -> list[list[Part]]:
        """For each layer the parts of the first rows, up to so many positions or somewhat more."""
        layers: list[list[Part]] = [[] for _ in self._layers[0]]
        for x, part in zip(self._parts, self._layers, strict=True):
            S = x.shape[4]
            seen = positions if SPARSE * positions < S else S
            if (rows, seen) != (x.shape[2], S):
                part = _layers(x[:, :, :rows, :, :seen])
            for layer, both in zip(layers, part, strict=True):
                layer.append(both)
            positions -= S
            if positions <= 0:
                break
        return layers

    def places(self, lengths_B: npt.NDArray[np.int64]) -> list[Places]:
        """Of the next position of each row, which has `lengths_B` positions already."""
        found, start = [], 0
        for i, x in enumerate(self._parts):
            end = start + x.shape[4]
            rows = np.flatnonzero((lengths_B >= start) & (lengths_B < end))
            at = lengths_B[rows] - start
            if len(rows) == len(lengths_B) and (at == at[0]).all():
                return [Places(i, slice(len(rows)), int(at[0]))]
            if len(rows):
                found.append(Places(i, *(torch.from_numpy(y).to(x.device) for y in (rows, at))))
            start = end
        return found

    def write(self, layer: int, places: Sequence[Places], k_BH1D: Tensor, v_BH1D: Tensor) -> None:
        """Keys and values of a new position of every row."""
        for place in places:
            for x_BHSD, new_BH1D in zip(self._layers[place.part][layer], (k_BH1D, v_BH1D), strict=True):
                x_BHSD[place.rows, :, place.at] = new_BH1D[place.rows, :, 0]

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy rows to other places."""
        for x in self._parts:
            x[:, :, targets] = x[:, :, sources]


def _layers(x: Tensor) -> list[Part]:
    return [(k_BHSD, v_BHSD) for k_BHSD, v_BHSD in x]


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    # Of this size numpy asks the system for large pages, and has them zeroed only where they are touched.
    return torch.from_numpy(np.zeros(prod(shape) * like.itemsize, np.uint8)).view(like.dtype).view(shape)
