"""Keys and values in one pool of positions, of which each prompt and each completion has a range."""

from bisect import insort

import torch
from torch import Tensor

from shuhari.policy.policy import Policy


class Ranges:
    """Contiguous ranges of a pool, first fit; what is given back joins its neighbours."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._gaps = [(0, size)] if size > 0 else []

    def take(self, n: int) -> int | None:
        """Where `n` free positions begin, which are taken, or None."""
        for i, (start, end) in enumerate(self._gaps):
            if end - start >= n:
                self._gaps[i : i + 1] = [(start + n, end)] if start + n < end else []
                self.free -= n
                return start
        return None

    def give(self, start: int, n: int) -> None:
        """Free a range that was taken."""
        if n:
            insort(self._gaps, (start, start + n))
            joined: list[tuple[int, int]] = []
            for gap in self._gaps:
                if joined and joined[-1][1] == gap[0]:
                    gap = (joined.pop()[0], gap[1])
                joined.append(gap)
            self._gaps, self.free = joined, self.free + n


class KeyValuePool:
    """Keys and values [positions, Hkv, D] of every layer, made when first needed, and their ranges."""

    def __init__(self, policy: Policy, positions: int) -> None:
        self.policy, self.ranges = policy, Ranges(positions)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def allocate(self) -> None:
        """Make the tensors, once."""
        if self.keys:
            return
        heads, D = self.policy.kv_heads, self.policy.head_dim
        shape, dtype, device = (self.ranges.size, heads, D), self.policy.kv_dtype, self.policy.device
        for layers in (self.keys, self.values):
            for _ in range(self.policy.layers):
                layers.append(torch.empty(shape, dtype=dtype, device=device))

    def write(self, layer: int, there_N: Tensor, k_1HND: Tensor, v_1HND: Tensor) -> None:
        """Keys and values of the N tokens of a forward pass, to their positions."""
        for pool_PHD, new_1HND in ((self.keys[layer], k_1HND), (self.values[layer], v_1HND)):
            pool_PHD[there_N] = new_1HND[0].transpose(0, 1)
