"""Keys and values in memory: blocks of prompts, read by all their samples, under a budget.

Prompts that are new together are computed together, packed without padding. Those of about one length lie in
one slab; a block is one prompt of it. Blocks that nobody uses are remembered while the weights stay, and
given up when memory is asked for.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from shuhari.kernels.attention import causal_attention
from shuhari.kernels.packed import packed_attention
from shuhari.kernels.segments import Segments
from shuhari.policy.policy import Policy, Tokens

Item = TypeVar("Item")
Key = tuple[str | None, Tokens]  # adapter and prompt


STEP = 8  # prompts whose lengths, in such steps, are the same share a slab
PREFILL = 32_768  # tokens of one forward pass


def room(length: int) -> int:
    """Positions that are set aside for a prompt."""
    return -(-length // STEP) * STEP


@dataclass(eq=False)
class Slab:
    """Keys and values of N prompts of up to P tokens, per layer [N, Hkv, P, D], and the logits after them."""

    keys: list[Tensor]
    values: list[Tensor]
    logits_NV: Tensor
    lengths_N: Tensor | None = None  # None: all are P
    blocks: int = 0  # that are still remembered or used

    @property
    def tokens(self) -> int:
        """Positions set aside."""
        return len(self.logits_NV) * room(self.keys[0].shape[2])


@dataclass(eq=False)
class Block:
    """One prompt's place in a slab, and how many requests read it."""

    key: Key
    slab: Slab
    index: int
    users: int = 0


class _Record:
    """Attention that keeps the keys and values that pass by."""

    def __init__(self, segments: Segments | None = None) -> None:
        self.segments = segments
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        self.keys.append(k.contiguous())  # as projections leave them, heads alternate
        self.values.append(v.contiguous())
        if self.segments is None:
            return causal_attention(q, k, v, window=window)
        return packed_row(q, k, v, self.segments, window)


def packed_row(
    q_1HND: Tensor, k_1HND: Tensor, v_1HND: Tensor, segments: Segments, window: int | None
) -> Tensor:
    """`packed_attention` where a forward pass has one row of all texts."""
    q_NHD, k_NHD, v_NHD = (x[0].transpose(0, 1) for x in (q_1HND, k_1HND, v_1HND))
    return packed_attention(q_NHD, k_NHD, v_NHD, segments, None, window).transpose(0, 1)[None]


@dataclass
class Memory:
    """A budget in positions (one token's keys and values in all layers), and the prompt blocks in it."""

    policy: Policy
    budget: int
    used: int = 0
    _blocks: OrderedDict[Key, Block] = field(default_factory=OrderedDict)  # least recently used first
    _versions: dict[str | None, int] = field(default_factory=dict)  # of the adapters, when last asked

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
        if self.policy.versions != self._versions:
            before, self._versions = self._versions, dict(self.policy.versions)
            changed = {name for name, version in self._versions.items() if before.get(name) != version}
            for block in [b for b in self._blocks.values() if b.key[0] in changed]:
                self._forget(block)
        if key in self._blocks:
            self._blocks.move_to_end(key)
        return self._blocks.get(key)

    def compute(self, adapter: str | None, prompts: list[Tokens]) -> list[Block]:
        """Blocks of distinct prompts, whose positions have been taken."""
        blocks: dict[Tokens, Block] = {}
        for part in parts(prompts, list(map(len, prompts)), PREFILL):
            for slab, members in self._slabs(adapter, part):
                slab.blocks = len(members)
                blocks |= {p: Block((adapter, p), slab, i) for i, p in enumerate(members)}
        self._blocks.update((block.key, block) for block in blocks.values())
        return [blocks[prompt] for prompt in prompts]

    def _slabs(self, adapter: str | None, prompts: list[Tokens]) -> Iterator[tuple[Slab, list[Tokens]]]:
        """One forward pass, and its slabs with their prompts."""
        device, lengths = self.policy.device, [len(prompt) for prompt in prompts]
        if len(set(lengths)) == 1:
            record = _Record()
            logits_NKV = self.policy.logits(torch.tensor(prompts, device=device), 1, adapter, record)
            yield Slab(record.keys, record.values, logits_NKV[:, -1]), prompts
            return
        segments = Segments.pack(lengths, [-1] * len(lengths), device)
        record = _Record(segments)
        tokens_1N = torch.tensor([[token for prompt in prompts for token in prompt]], device=device)
        ends_N = segments.starts_M1.long()[1:] - 1
        places_1N = segments.positions_N[None]
        logits_NV = self.policy.logits(tokens_1N, ends_N, adapter, record, places_1N)[0]
        alike: dict[int, list[int]] = defaultdict(list)
        for i, length in enumerate(lengths):
            alike[room(length)].append(i)
        for members in alike.values():
            chosen = torch.tensor(members, device=device)
            lengths_N = torch.tensor([lengths[i] for i in members], device=device)
            place_NP = torch.arange(max(lengths[i] for i in members), device=device)
            even = len({lengths[i] for i in members}) == 1
            # Padding repeats the last position: what is masked must still be numbers.
            there_NP = segments.starts_M1[chosen].long()[:, None] + place_NP.minimum(lengths_N[:, None] - 1)
            keys, values = (
                [x[0][:, there_NP].transpose(0, 1).contiguous() for x in both]
                for both in (record.keys, record.values)
            )
            yield (
                Slab(keys, values, logits_NV[chosen], None if even else lengths_N),
                [prompts[i] for i in members],
            )

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


def parts(items: Sequence[Item], lengths: Sequence[int], most: int) -> Iterator[list[Item]]:
    """Items in their order, as many at a time as have lengths of `most` together; one at least."""
    part: list[Item] = []
    total = 0
    for item, length in zip(items, lengths, strict=True):
        if part and total + length > most:
            yield part
            part, total = [], 0
        part.append(item)
        total += length
    if part:
        yield part
