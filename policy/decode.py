"""Rows that are being generated with one adapter, one step at a time: where their keys and values lie.

Rows stand without gaps; where one ends, the last takes its place. Each reads its prompt's block, shared with
the other samples of that prompt, and a slab of its own.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from shuhari.kernels.shared import Prefix, shared_attention
from shuhari.policy.lm import Policy
from shuhari.policy.memory import Block, Slab

Owner = TypeVar("Owner")  # what a row belongs to


class Rows(Generic[Owner]):
    """B rows; `owners[i]` and `blocks[i]` are row i's."""

    def __init__(self, policy: Policy, adapter: str | None) -> None:
        self.policy, self.adapter = policy, adapter
        self.owners: list[Owner] = []
        self.blocks: list[Block] = []
        self.own_B = np.zeros(0, dtype=np.int64)  # own keys and values of each row so far
        self._prompt_B = np.zeros(0, dtype=np.int64)  # tokens of its prompt
        self._keys: list[Tensor] = []  # per layer [capacity, Hkv, positions, D]
        self._values: list[Tensor] = []
        self._prefixes: list[tuple[Slab, Tensor | None, Tensor, bool]] | None = None

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def held(self) -> int:
        """Positions that the rows' own slabs hold; never less than the rows use."""
        return self._keys[0].shape[0] * self._keys[0].shape[2] if self._keys else 0

    def would_hold(self, rows: int, positions: int) -> int:
        """What `held` would be with so many rows more, each with room for so many positions."""
        have_rows, have_positions = (self._keys[0].shape[0], self._keys[0].shape[2]) if self._keys else (0, 0)
        return max(have_rows, len(self) + rows) * max(have_positions, positions)

    def add(self, owners: Sequence[Owner], blocks: Sequence[Block], positions: int) -> None:
        """New rows, each with room for so many own positions."""
        self._reserve(len(self) + len(owners), positions, blocks[0].slab)
        self.owners += owners
        self.blocks += blocks
        lengths = [len(block.key[1]) for block in blocks]
        self.own_B = np.concatenate([self.own_B, np.zeros(len(owners), dtype=np.int64)])
        self._prompt_B = np.concatenate([self._prompt_B, np.array(lengths, dtype=np.int64)])
        self._prefixes = None

    def _reserve(self, rows: int, positions: int, like: Slab) -> None:
        if not self._keys:
            empty = like.keys[0].new_zeros(0, like.keys[0].shape[1], 0, like.keys[0].shape[3])
            self._keys, self._values = [empty] * len(like.keys), [empty] * len(like.keys)
        have_rows, heads, have_positions, D = self._keys[0].shape
        if rows <= have_rows and positions <= have_positions:
            return
        rows, positions = max(rows, have_rows), max(positions, have_positions)
        for slabs in (self._keys, self._values):
            for layer, old in enumerate(slabs):
                # Zeros, because what is masked is multiplied by zero, and must be a number.
                new = old.new_zeros(rows, heads, positions, D)
                new[: len(self), :, :have_positions] = old[: len(self)]
                slabs[layer] = new

    def remove(self, ended: Sequence[int]) -> None:
        """These rows have ended: the last ones move to their places."""
        B = len(self) - len(ended)
        gone = set(ended)
        holes = [row for row in ended if row < B]
        movers = [row for row in range(B, len(self)) if row not in gone]
        for hole, mover in zip(holes, movers, strict=True):
            self.owners[hole], self.blocks[hole] = self.owners[mover], self.blocks[mover]
        for column in (self.own_B, self._prompt_B):
            column[holes] = column[movers]
        del self.owners[B:], self.blocks[B:]
        self.own_B, self._prompt_B = self.own_B[:B], self._prompt_B[:B]
        self._prefixes = None
        if not B:
            self._keys, self._values = [], []
        elif holes:
            for slab in (*self._keys, *self._values):
                slab[holes] = slab[movers]

    def step(self, tokens_B: Tensor) -> Tensor:
        """Logits [B, V] after each row's next token."""
        B = len(self)
        if self._prefixes is None:
            self._prefixes = self._group()
        own_B = torch.from_numpy(self.own_B)
        positions_B = own_B + torch.from_numpy(self._prompt_B)
        rows_B = torch.arange(B)
        longest = int(self.own_B.max()) + 1
        even = bool((self.own_B == longest - 1).all())
        lengths_B = None if even else own_B + 1
        prefixes = self._prefixes

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for slab, new in ((self._keys[layer], k), (self._values[layer], v)):
                if even:
                    slab[:B, :, longest - 1] = new[:, :, 0]
                else:
                    slab[rows_B, :, own_B] = new[:, :, 0]
            k_own, v_own = (x[layer][:B, :, :longest] for x in (self._keys, self._values))
            shared = [_prefix(*group, layer) for group in prefixes]
            return shared_attention(q, k_own, v_own, lengths_B, shared)

        logits_B1V = self.policy.logits(tokens_B[:, None], 1, self.adapter, attend, positions_B[:, None])
        self.own_B = self.own_B + 1
        return logits_B1V[:, -1]

    def _group(self) -> list[tuple[Slab, Tensor | None, Tensor, bool]]:
        """By slab: which of its prompts are read (None: all), by which rows, and if those are in order."""
        readers: dict[Slab, dict[int, list[int]]] = {}
        for row, block in enumerate(self.blocks):
            readers.setdefault(block.slab, {}).setdefault(block.index, []).append(row)
        groups = []
        for slab, by_index in readers.items():
            n = len(slab.logits_NV)
            # Prompts that nobody reads any more are left out once they are the larger part.
            indices = sorted(by_index) if 2 * len(by_index) < n else range(n)
            G = max(map(len, by_index.values()))
            rows = [by_index.get(i, []) for i in indices]
            rows_NG = torch.tensor([found + [-1] * (G - len(found)) for found in rows])
            in_order = rows_NG.flatten().tolist() == list(range(len(self)))
            which = None if len(indices) == n else torch.tensor(indices)
            groups.append((slab, which, rows_NG, in_order))
        return groups


def _prefix(slab: Slab, which: Tensor | None, rows_NG: Tensor, in_order: bool, layer: int) -> Prefix:
    k, v = slab.keys[layer], slab.values[layer]
    if which is not None:
        k, v = k[which], v[which]
    lengths_N = slab.lengths_N if which is None or slab.lengths_N is None else slab.lengths_N[which]
    return Prefix(k, v, rows_NG, lengths_N, in_order)
