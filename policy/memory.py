"""Keys and values in memory: blocks of prompts, read by all their samples, under a budget.

Prompts of one length are computed together and lie in one slab; a block is one prompt of it. Blocks that
nobody uses are remembered while the weights stay, and given up when memory is asked for.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shuhari.kernels.attention import causal_attention
from shuhari.policy.lm import LEARNING, Policy

Tokens = tuple[int, ...]
Key = tuple[str | None, Tokens]  # adapter and prompt


@dataclass(eq=False)
class Slab:
    """Keys and values of N prompts of P tokens, per layer [N, Hkv, P, D], and the logits after them."""

    keys: list[Tensor]
    values: list[Tensor]
    logits_NV: Tensor
    blocks: int = 0  # that are still remembered or used

    @property
    def tokens(self) -> int:
        """Positions held."""
        return len(self.logits_NV) * self.keys[0].shape[2]


@dataclass(eq=False)
class Block:
    """One prompt's place in a slab, and how many requests read it."""

    key: Key
    slab: Slab
    index: int
    users: int = 0


class _Record:
    """Attention that keeps the keys and values that pass by."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keys.append(k.contiguous())  # as projections leave them, heads alternate
        self.values.append(v.contiguous())
        return causal_attention(q, k, v)


@dataclass
class Memory:
    """A budget in positions (one token's keys and values in all layers), and the prompt blocks in it."""

    policy: Policy
    budget: int
    used: int = 0
    _blocks: OrderedDict[Key, Block] = field(default_factory=OrderedDict)  # least recently used first
    _version: int = -1

    @property
    def blocks(self) -> list[Block]:
        """Those that can be found."""
        return list(self._blocks.values())

    def clear(self) -> None:
        """Forget whatever nobody uses."""
        for block in self.blocks:
            if not block.users:
                self._forget(block)

    def take(self, positions: int) -> bool:
        """Take so many positions, forgetting unused blocks where that is needed; whether it could be done."""
        if self.used + positions > self.budget:
            for block in [b for b in self._blocks.values() if not b.users]:
                self._forget(block)
                if self.used + positions <= self.budget:
                    break
        if self.used + positions > self.budget:
            return False
        self.used += positions
        return True

    def give(self, positions: int) -> None:
        """Give back what was taken."""
        self.used -= positions

    def find(self, key: Key) -> Block | None:
        """The block of a prompt, if it is known at the present weights."""
        if self.policy.version != self._version:
            self._version = self.policy.version
            for block in [b for b in self._blocks.values() if b.key[0] == LEARNING]:
                self._forget(block)
        if key in self._blocks:
            self._blocks.move_to_end(key)
        return self._blocks.get(key)

    def compute(self, adapter: str | None, prompts: list[Tokens]) -> list[Block]:
        """Blocks of distinct prompts of one length, whose positions have been taken."""
        record = _Record()
        logits_NKV = self.policy.logits(torch.tensor(prompts), 1, adapter, record)
        slab = Slab(record.keys, record.values, logits_NKV[:, -1], len(prompts))
        blocks = [Block((adapter, prompt), slab, i) for i, prompt in enumerate(prompts)]
        self._blocks.update((block.key, block) for block in blocks)
        return blocks

    def release(self, block: Block) -> None:
        """One user less; a block of older weights goes with its last."""
        block.users -= 1
        if not block.users and self._blocks.get(block.key) is not block:
            self._drop(block)

    def _forget(self, block: Block) -> None:
        """Not to be found any more; its memory stays until nobody reads it."""
        del self._blocks[block.key]
        if not block.users:
            self._drop(block)

    def _drop(self, block: Block) -> None:
        block.slab.blocks -= 1
        if not block.slab.blocks:
            self.give(block.slab.tokens)
