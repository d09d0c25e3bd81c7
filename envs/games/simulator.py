"""`Simulator`: an interface to play from many positions of one game at once, for search.

`GameGraph` is a fast simulator of games whose positions can be enumerated, `Referees` one of any game.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shuhari.envs.games.referee import Referee
from shuhari.envs.games.symmetry import Images
from shuhari.envs.games.text import asks_outcome
from shuhari.envs.player import Floats, Ints
from shuhari.envs.types import Turn

Positions = npt.NDArray[Any]  # [N] handles of positions; a move makes new ones and changes none


class Simulator(Protocol):
    """One game. A *situation* is what the seat to move sees of a position. Situations are numbered.

    turns: what the seat to move sees, for each situation so far
    width: the largest number of legal moves of a position
    chance: whether chance moves after some moves
    outcomes: how a game can end, as text: the first seat wins, the second does, or it is a draw
    images: the symmetric images of what is seen and of its moves
    """

    turns: list[Turn]
    chance: bool
    outcomes: tuple[str, ...]
    images: Images

    @property
    def width(self) -> int: ...

    def start(self, n: int, rng: np.random.Generator) -> Positions:
        """The starts [N] of `n` games, after chance has moved."""
        ...

    def positions(self, turns: Sequence[Turn]) -> Positions:
        """The positions [N] of these turns, in a game of perfect information."""
        ...

    def views(self, positions: Positions, whole: bool = False) -> list[Turn]:
        """What the seat to move sees of each position; `whole`: with its serialized state."""
        ...

    def situations(self, positions: Positions) -> Ints:
        """The situations [N] of positions that are not over."""
        ...

    def seats(self, positions: Positions) -> Ints:
        """The seat to move, [N]; -1 if the game is over."""
        ...

    def play(self, positions: Positions, moves_N: Ints, rng: np.random.Generator) -> Positions:
        """The positions [N] after each position's move, given by its number, and after chance has moved."""
        ...

    def returns(self, positions: Positions) -> Floats:
        """The return of every seat so far, [N, seats]."""
        ...


def outcome_turn(turn: Turn, outcomes: tuple[str, ...]) -> Turn:
    """What asks how the game ends from a position, as pre-training writes it."""
    return Turn(asks_outcome(turn.observation), outcomes, turn.seat)


class Referees:
    """A simulator of any sequential game. Its positions are referees."""

    def __init__(self, game: str) -> None:
        self.game, self.turns = game, list[Turn]()
        self._numbers: dict[tuple[int, str], int] = {}
        root = Referee(game)
        self._width = int(root.game.num_distinct_actions())
        self.chance = root.chance_moves
        self.outcomes, self.images = root.text.outcomes, root.text.images

    @property
    def width(self) -> int:
        return self._width

    def start(self, n: int, rng: np.random.Generator) -> Positions:
        return as_positions([self._settled(Referee(self.game), rng) for _ in range(n)])

    def positions(self, turns: Sequence[Turn]) -> Positions:
        return as_positions([Referee.deserialize(turn.state) for turn in turns])

    def views(self, positions: Positions, whole: bool = False) -> list[Turn]:
        return [r.turn() if whole else Turn(r.observation, r.legal_actions, r.seat) for r in positions]

    def situations(self, positions: Positions) -> Ints:
        return np.array([self._number(referee) for referee in positions], dtype=np.int64)

    def seats(self, positions: Positions) -> Ints:
        return np.array([referee.seat for referee in positions], dtype=np.int64)

    def play(self, positions: Positions, moves_N: Ints, rng: np.random.Generator) -> Positions:
        following = []
        for before, move in zip(positions, moves_N, strict=True):
            referee = before.clone()
            referee.apply(referee.legal_actions[move])
            following.append(self._settled(referee, rng))
        return as_positions(following)

    def returns(self, positions: Positions) -> Floats:
        return np.array([referee.returns for referee in positions], dtype=np.float64)

    def _settled(self, referee: Referee, rng: np.random.Generator) -> Referee:
        referee.resolve_chance(rng)
        return referee

    def _number(self, referee: Referee) -> int:
        key = referee.seat, referee.observation
        if key not in self._numbers:
            self._numbers[key] = len(self.turns)
            self.turns.append(referee.turn())
        return self._numbers[key]


def as_positions(referees: Sequence[Referee]) -> Positions:
    """Referees as handles of positions."""
    positions = np.empty(len(referees), dtype=object)
    positions[:] = referees
    return positions
