"""How far long work is: whoever does it counts, whoever shows it listens, and neither knows the other.

Of counts within counts the outermost is heard.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Listener = Callable[[str, int, int], None]  # takes what is counted, how many are done, and of how many

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """The listener hears what is counted in the block."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes how many are done."""
    listener = _LISTENER.get()
    before = _LISTENER.set(None)
    try:
        yield lambda done: listener(what, done, total) if listener else None
    finally:
        _LISTENER.reset(before)


def counted(what: str, items: Sequence[Item]) -> Iterator[Item]:
    """The items; each is done when the next is asked for."""
    with counting(what, len(items)) as tell:
        for done, item in enumerate(items, 1):
            yield item
            tell(done)
