"""What has been collected and is still learned from: the newest so many, drawn at random."""

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
        """Append, and forget the oldest beyond the size."""
        self.items = [*self.items, *items][-self.size :]

    def draw(self, n: int, rng: np.random.Generator) -> list[Item]:
        """`n` items, each drawn from all."""
        return [self.items[i] for i in rng.integers(len(self.items), size=n)]
