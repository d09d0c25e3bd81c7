"""The running requests of one adapter as rows, on any processor, and their step.

Rows stand without gaps: where one ends, the last takes its place. Each reads its prompt, which it shares with
the prompt's other samples (`kernels/shared_prompt.py`), and its completion's keys and values.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shuhari.kernels.fused import rotate, turning
from shuhari.kernels.shared_prompt import Prefix, shared_attention
from shuhari.policy.inference.completion_cache import CompletionCache
from shuhari.policy.inference.cpu_prompts import PromptBatch
from shuhari.policy.inference.request import NewTokens, RunningRequest
from shuhari.policy.inference.sampler import Sampler
from shuhari.policy.model.decode_step import decode_step
from shuhari.policy.policy import Policy

# A batch of prompts, which of them are read (None: all), by which rows, and whether those are in order.
Readers = tuple[PromptBatch, Tensor | None, Tensor, bool]


class Rows:
    """B rows of one adapter; row i is that of `requests[i]`."""

    def __init__(self, policy: Policy, adapter: str | None) -> None:
        self.policy, self.adapter = policy, adapter
        self.requests: list[RunningRequest] = []
        self.lengths_B = np.zeros(0, dtype=np.int64)  # of each completion, in keys and values
        self._prompt_lengths_B = np.zeros(0, dtype=np.int64)
        self._keys = CompletionCache()
        self._joining = self._longest = 0  # rows that will be added, and the most positions of one
        self._readers: list[Readers] | None = None
        self._sampler = Sampler([])

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def held(self) -> int:
        """Positions set aside for completions; never less than they use."""
        return self._keys.rows * self._keys.positions

    def growth(self, positions: int) -> int:
        """How many positions more are held once another row joins, with room for so many."""
        before = self._planned(self._joining, self._longest) if self._joining else self.held
        return self._planned(self._joining + 1, max(self._longest, positions)) - before

    def _planned(self, joining: int, longest: int) -> int:
        return max(self._keys.rows, len(self) + joining) * max(self._keys.positions, longest)

    def expect(self, positions: int) -> None:
        """Another row is going to join, with room for so many positions."""
        self._joining, self._longest = self._joining + 1, max(self._longest, positions)

    def add(self, requests: Sequence[RunningRequest]) -> None:
        """The rows that were expected."""
        self._keys.reserve(len(self), len(requests), self._longest)
        self._joining = self._longest = 0
        self.requests += requests
        new_lengths = np.array([len(r.request.prompt) for r in requests], dtype=np.int64)
        self.lengths_B = np.concatenate([self.lengths_B, np.zeros_like(new_lengths)])
        self._prompt_lengths_B = np.concatenate([self._prompt_lengths_B, new_lengths])
        self._readers = None

    def remove(self, ended: Sequence[int]) -> None:
        """These rows have ended: the last ones move to their places."""
        B = len(self) - len(ended)
        gone = set(ended)
        holes = [row for row in ended if row < B]
        movers = [row for row in range(B, len(self)) if row not in gone]
        for hole, mover in zip(holes, movers, strict=True):
            self.requests[hole] = self.requests[mover]
        for column_B in (self.lengths_B, self._prompt_lengths_B):
            column_B[holes] = column_B[movers]
        del self.requests[B:]
        self.lengths_B, self._prompt_lengths_B = self.lengths_B[:B], self._prompt_lengths_B[:B]
        self._readers, self._sampler = None, Sampler([])  # which would keep the prompts of ended requests
        if not B:
            self._keys = CompletionCache()
        elif holes:
            self._keys.move(movers, holes)

    def step(self) -> NewTokens:
        """What follows each row's newest token."""
        B, policy, device, keys = len(self), self.policy, self.policy.device, self._keys
        if self._readers is None:
            self._readers, self._sampler = self._group(), Sampler(self.requests)
        tokens_B = torch.tensor([r.tokens[-1] for r in self.requests], device=device)
        newest = int(self.lengths_B.max())
        keys.reach(newest, self.requests[0].prompt.place.batch.keys)
        parts, places = keys.read(B, newest + 1), keys.places(self.lengths_B)
        lengths_B = torch.from_numpy(self.lengths_B).to(device)
        positions_B = lengths_B + torch.from_numpy(self._prompt_lengths_B).to(device)
        lengths = newest + 1 if isinstance(places[0].at, int) else lengths_B + 1
        readers = self._readers

        def attend(i: int, q_BH1D: Tensor, k_BH1D: Tensor, v_BH1D: Tensor, window: int | None) -> Tensor:
            keys.write(i, places, k_BH1D, v_BH1D)
            prefixes = [_prefix(*group, i) for group in readers]
            return shared_attention(q_BH1D, parts[i], lengths, prefixes, window=window)

        if policy.fused:
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
        self.lengths_B = self.lengths_B + 1
        return drawn(self._sampler, logits_BV)

    def _group(self) -> list[Readers]:
        """By batch: who reads which of its prompts."""
        readers: dict[PromptBatch, dict[int, list[int]]] = {}
        for row, running in enumerate(self.requests):
            place = running.prompt.place
            readers.setdefault(place.batch, {}).setdefault(place.index, []).append(row)
        groups = []
        for batch, by_index in readers.items():
            n = len(batch)
            # Prompts that nobody reads any more are left out once they are the larger part.
            indices = sorted(by_index) if 2 * len(by_index) < n else range(n)
            G = max(map(len, by_index.values()))
            rows = [by_index.get(i, []) for i in indices]
            padded = [found + [-1] * (G - len(found)) for found in rows]
            in_order = [row for found in padded for row in found] == list(range(len(self)))
            rows_NG = torch.tensor(padded, device=self.policy.device)
            which = None if len(indices) == n else torch.tensor(indices, device=self.policy.device)
            groups.append((batch, which, rows_NG, in_order))
        return groups


def _prefix(batch: PromptBatch, which: Tensor | None, rows_NG: Tensor, in_order: bool, layer: int) -> Prefix:
    k, v = batch.keys[layer], batch.values[layer]
    if which is not None:
        k, v = k[which], v[which]
    lengths_N = batch.lengths_N if which is None or batch.lengths_N is None else batch.lengths_N[which]
    return Prefix(k, v, rows_NG, lengths_N, in_order)


def drawn(sampler: Sampler, logits_BV: Tensor) -> NewTokens:
    """One token of each of a sampler's requests."""
    tokens, logprobs = sampler(logits_BV.cpu())
    return NewTokens(sampler.requests, [tokens], [logprobs])
