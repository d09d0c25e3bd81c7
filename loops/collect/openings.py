"""Where games of self-play begin: far more often than at the start, so that rare positions are met too."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from shuhari.envs.games.referee import Referee
from shuhari.envs.games.simulator import Positions, as_positions
from shuhari.loops.collect.source import Rng

TRIES = 20  # random games for each opening that is wanted


def random_openings(root: Callable[[], Referee], plies: Sequence[int], n: int, rng: Rng) -> Positions:
    """At most `n` different positions after so many random moves; those that are over are left out."""
    found: dict[str, Referee] = {}
    for number in range(TRIES * n):
        referee = root()
        referee.resolve_chance(rng)
        for _ in range(plies[number % len(plies)]):
            if not referee.over:
                referee.apply(str(rng.choice(referee.legal_actions)))
                referee.resolve_chance(rng)
        if not referee.over:
            found.setdefault(referee.observation, referee)
        if len(found) == n:
            break
    return as_positions(list(found.values()))


class Openings(Protocol):
    def draw(self, n: int, rng: Rng) -> Positions:
        """`n` positions that are not over."""
        ...

    def state(self) -> list[int]:
        """What a resumed run needs beside its random numbers."""
        ...

    def load(self, state: list[int]) -> None: ...


class ListedOpenings:
    """The positions of a listed game take turns: each comes once before any comes again."""

    def __init__(self, positions: Positions) -> None:
        self.positions, self.waiting = positions, list[int]()

    def draw(self, n: int, rng: Rng) -> Positions:
        n = min(n, len(self.positions))
        if len(self.waiting) < n:
            self.waiting += rng.permutation(self.positions).tolist()
        drawn, self.waiting = self.waiting[:n], self.waiting[n:]
        return np.array(drawn)

    def state(self) -> list[int]:
        return self.waiting

    def load(self, state: list[int]) -> None:
        self.waiting = state


class RandomOpenings:
    """Half of the games begin at the start, and the others after random play of a random length."""

    def __init__(self, root: Callable[[], Referee], random_position: Callable[[Rng], Referee]) -> None:
        self.root, self.random_position = root, random_position

    def draw(self, n: int, rng: Rng) -> Positions:
        return as_positions([self._from_start(rng) if i % 2 else self.random_position(rng) for i in range(n)])

    def _from_start(self, rng: Rng) -> Referee:
        referee = self.root()
        referee.resolve_chance(rng)
        return referee

    def state(self) -> list[int]:
        return []

    def load(self, state: list[Any]) -> None:
        """There is none."""
