"""The newest items that were collected; batches are drawn from them at random."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")


class Replay(Generic[Item]):
    """The newest `size` items, oldest first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.items: list[Item] = []

    def __len__(self) -> int:
        return len(self.items)

    def add(self, items: Sequence[Item]) -> None:
        """Append items, and drop the oldest ones beyond the size."""
        self.items = [*self.items, *items][-self.size :]

    def draw(self, n: int, rng: np.random.Generator) -> list[Item]:
        """`n` items at random, with replacement."""
        return [self.items[i] for i in rng.integers(len(self.items), size=n)]
