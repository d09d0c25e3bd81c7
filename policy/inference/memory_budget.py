"""One budget of memory for all that inference keeps; where room is needed, the oldest is forgotten."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, TypeVar

Got = TypeVar("Got")


class Remembered(Protocol):
    """What nobody uses at present, and is kept in case that somebody will."""

    def forget(self) -> None:
        """Free it, and give its bytes back."""
        ...


class MemoryBudget:
    """`size` bytes, of which `used` are taken. What is remembered counts as taken."""

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0
        self._remembered: OrderedDict[Remembered, None] = OrderedDict()  # least recently used first

    def take(self, n: int) -> bool:
        """Take `n` bytes, for which the oldest is forgotten; whether that made room."""
        if self.used + n > self.size and not self._make_room(n):
            return False
        self.used += n
        return True

    def charge(self, n: int) -> None:
        """Take `n` bytes for what must be, even where nothing is left to forget."""
        self._make_room(n)
        self.used += n

    def give(self, n: int) -> None:
        """Give back what was taken."""
        self.used -= n

    def remember(self, item: Remembered) -> None:
        """Say that nobody uses this any more: it may be forgotten."""
        self._remembered[item] = None

    def recall(self, item: Remembered) -> None:
        """Say that somebody uses this, or that it is gone."""
        self._remembered.pop(item, None)

    def attempt(self, get: Callable[[], Got | None], kind: type[Remembered]) -> Got | None:
        """Call `get` until it gives something, and after each failure forget the oldest of `kind`."""
        while (got := get()) is None and self._forget_oldest(kind):
            pass
        return got

    def _make_room(self, n: int) -> bool:
        while self.used + n > self.size:
            if not self._forget_oldest():
                return False
        return True

    def _forget_oldest(self, kind: type = object) -> bool:
        item = next((x for x in self._remembered if isinstance(x, kind)), None)
        if item is None:
            return False
        del self._remembered[item]
        item.forget()
        return True
