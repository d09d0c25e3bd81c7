"""The engine for any processor and any model: keys and values in rectangles, attention by torch.

Rows stand without gaps; where one ends, the last takes its place. Each reads its prompt's block, shared with
the other samples of that prompt (`kernels/shared.py`), and what is its own (`own.py`).
"""

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shuhari.kernels.fused import rotate, turning
from shuhari.kernels.shared import Prefix, shared_attention
from shuhari.policy.inference.completion_keys import OwnKeys
from shuhari.policy.inference.prompt_cache import Block, Memory, Slab, room
from shuhari.policy.inference.request import Drawn, Live, Request
from shuhari.policy.inference.sampler import Sampler
from shuhari.policy.model.decode_step import decode_step
from shuhari.policy.policy import Policy, Tokens

MAX_ROWS = 1024  # rows of one forward pass; bounds memory, and the CPU's caches like it


class SlabEngine:
    """Requests in rows, one set of rows for each adapter."""

    def __init__(self, policy: Policy, positions: int) -> None:
        self.policy = policy
        self.memory = Memory(policy, positions)
        self._rows: dict[str | None, Rows] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def refuses(self, request: Request) -> str:
        n, new = len(request.prompt), request.max_new_tokens
        if room(n) + new > self.memory.budget:
            return f"{n} and {new} new tokens can never fit in a memory of {self.memory.budget} positions"
        return ""

    def admit(self, waiting: deque[Live]) -> list[Drawn]:
        admitted: dict[str | None, list[Live]] = defaultdict(list)
        blocks: dict[Live, Block] = {}
        unknown: dict[str | None, dict[Tokens, list[Live]]] = defaultdict(dict)
        longest: dict[str | None, int] = defaultdict(int)  # new tokens of one admitted
        free = MAX_ROWS - len(self)
        while waiting and free:
            live = waiting[0]
            request, adapter = live.request, live.request.adapter
            rows = self._rows.setdefault(adapter, Rows(self.policy, adapter))
            asked = unknown[adapter]
            block = self.memory.find((adapter, request.prompt))
            if block is not None:
                block.users += 1  # from here on it cannot be forgotten
            before, new = len(admitted[adapter]), max(longest[adapter], request.max_new_tokens)
            planned = rows.would_hold(before, longest[adapter]) if before else rows.held
            more = rows.would_hold(before + 1, new) - planned
            prompt = 0 if block is not None or request.prompt in asked else room(len(request.prompt))
            if not self.memory.take(more + prompt):
                if block is not None:
                    self.memory.release(block)
                break
            waiting.popleft()
            free -= 1
            admitted[adapter].append(live)
            longest[adapter] = new
            if block is not None:
                blocks[live] = block
            else:
                asked.setdefault(request.prompt, []).append(live)
        for adapter, asked in unknown.items():
            for block in self.memory.compute(adapter, list(asked)):
                for live in asked[block.key[1]]:
                    block.users += 1
                    blocks[live] = block
        drawn = []
        for adapter, lives in admitted.items():
            if lives:
                logits_BV = torch.stack([blocks[x].slab.logits_NV[blocks[x].index] for x in lives])
                self._rows[adapter].add(lives, [blocks[x] for x in lives], longest[adapter])
                drawn.append(_drawn(Sampler(lives), logits_BV))
        return drawn

    def step(self) -> list[Drawn]:
        drawn = []
        for rows in [rows for rows in self._rows.values() if len(rows)]:
            tokens_B = torch.tensor([live.tokens[-1] for live in rows.owners], device=self.policy.device)
            drawn.append(rows.step(tokens_B))
        return drawn

    def retire(self, lives: list[Live]) -> None:
        ended: dict[str | None, set[Live]] = defaultdict(set)
        for live in lives:
            ended[live.request.adapter].add(live)
        for adapter, gone in ended.items():
            rows = self._rows[adapter]
            places = [i for i, live in enumerate(rows.owners) if live in gone]
            for i in places:
                self.memory.release(rows.blocks[i])
            held = rows.held
            rows.remove(places)
            self.memory.give(held - rows.held)


def _drawn(sampler: Sampler, logits_BV: Tensor) -> Drawn:
    tokens, logprobs = sampler(logits_BV.cpu())
    return Drawn(sampler.lives, [tokens], [logprobs])


class Rows:
    """B rows of one adapter; `owners[i]` and `blocks[i]` are row i's."""

    def __init__(self, policy: Policy, adapter: str | None) -> None:
        self.policy, self.adapter = policy, adapter
        self.owners: list[Live] = []
        self.blocks: list[Block] = []
        self.own_B = np.zeros(0, dtype=np.int64)  # own keys and values of each row so far
        self._prompt_B = np.zeros(0, dtype=np.int64)  # tokens of its prompt
        self._own = OwnKeys()
        self._prefixes: list[tuple[Slab, Tensor | None, Tensor, bool]] | None = None
        self._sampler: Sampler

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def held(self) -> int:
        """Positions set aside for the rows' own keys; never less than the rows use."""
        return self._own.rows * self._own.positions

    def would_hold(self, rows: int, positions: int) -> int:
        """What `held` would be with so many rows more, each with room for so many positions."""
        return max(self._own.rows, len(self) + rows) * max(self._own.positions, positions)

    def add(self, owners: Sequence[Live], blocks: Sequence[Block], positions: int) -> None:
        """New rows, each with room for so many own positions."""
        self._own.reserve(len(self), len(owners), positions)
        self.owners += owners
        self.blocks += blocks
        lengths = [len(block.key[1]) for block in blocks]
        self.own_B = np.concatenate([self.own_B, np.zeros(len(owners), dtype=np.int64)])
        self._prompt_B = np.concatenate([self._prompt_B, np.array(lengths, dtype=np.int64)])
        self._prefixes = None

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
            self._own = OwnKeys()
        elif holes:
            self._own.move(movers, holes)

    def step(self, tokens_B: Tensor) -> Drawn:
        """What follows each row's newest token."""
        B = len(self)
        if self._prefixes is None:
            self._prefixes, self._sampler = self._group(), Sampler(self.owners)
        policy, device, own = self.policy, self.policy.device, self._own
        newest = int(self.own_B.max())
        own.reach(newest, self.blocks[0].slab.keys)
        parts, places = own.read(B, newest + 1), own.places(self.own_B)
        own_B = torch.from_numpy(self.own_B).to(device)
        positions_B = own_B + torch.from_numpy(self._prompt_B).to(device)
        lengths = newest + 1 if isinstance(places[0].at, int) else own_B + 1
        prefixes = self._prefixes

        def attend(i: int, q_BH1D: Tensor, k_BH1D: Tensor, v_BH1D: Tensor, window: int | None) -> Tensor:
            own.write(i, places, k_BH1D, v_BH1D)
            groups = [_prefix(*group, i) for group in prefixes]
            return shared_attention(q_BH1D, parts[i], lengths, groups, window=window)

        if policy.path == "lean":
            w = policy.weights(self.adapter)
            turn = turning(w.cos_TD[positions_B], w.sin_TD[positions_B])

            def turn_and_attend(i: int, qkv_BED: Tensor) -> Tensor:
                layer = w.layers[i]
                turned = rotate(qkv_BED, w.kv_heads, turn, layer.q_norm, layer.k_norm, w.eps)
                q, k, v = (x[:, :, None].to(w.kv_dtype) for x in turned)
                return attend(i, q, k, v, layer.window).flatten(1)

            logits_BV = decode_step(w, tokens_B, turn_and_attend)
        else:
            tokens_B1, positions_B1 = tokens_B[:, None], positions_B[:, None]
            logits_BV = policy.logits(tokens_B1, 1, self.adapter, attend, positions_B1)[:, -1]
        self.own_B = self.own_B + 1
        return _drawn(self._sampler, logits_BV)

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
            padded = [found + [-1] * (G - len(found)) for found in rows]
            in_order = [row for found in padded for row in found] == list(range(len(self)))
            rows_NG = torch.tensor(padded, device=self.policy.device)
            which = None if len(indices) == n else torch.tensor(indices, device=self.policy.device)
            groups.append((slab, which, rows_NG, in_order))
        return groups


def _prefix(slab: Slab, which: Tensor | None, rows_NG: Tensor, in_order: bool, layer: int) -> Prefix:
    k, v = slab.keys[layer], slab.values[layer]
    if which is not None:
        k, v = k[which], v[which]
    lengths_N = slab.lengths_N if which is None or slab.lengths_N is None else slab.lengths_N[which]
    return Prefix(k, v, rows_NG, lengths_N, in_order)
