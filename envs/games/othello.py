"""Othello on small boards, as a game of OpenSpiel, whose own board has eight rows.

A board is two integers, one bit a cell, row by row from the top left. Discs that a line encloses are found
for all cells of a direction at once, by shifts: the usual fill of bitboards.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

import pyspiel

SIZE, SIZES = 6, (4, 6, 8)
COLUMNS = "abcdefgh"
CORNER, EDGE, NEAR = 20, 3, -6  # what a disc is worth there, and beside a corner; elsewhere 1

TYPE = pyspiel.GameType(
    short_name="sized_othello",
    long_name="Othello on 4x4, 6x6 or 8x8",
    dynamics=pyspiel.GameType.Dynamics.SEQUENTIAL,
    chance_mode=pyspiel.GameType.ChanceMode.DETERMINISTIC,
    information=pyspiel.GameType.Information.PERFECT_INFORMATION,
    utility=pyspiel.GameType.Utility.ZERO_SUM,
    reward_model=pyspiel.GameType.RewardModel.TERMINAL,
    max_num_players=2,
    min_num_players=2,
    provides_information_state_string=False,
    provides_information_state_tensor=False,
    provides_observation_string=False,
    provides_observation_tensor=False,
    parameter_specification={"size": SIZE},
)


class Lines:
    """The eight directions of a board of one size, as shifts with the cells that a shift may land on."""

    def __init__(self, size: int) -> None:
        self.size, self.cells = size, (1 << size * size) - 1
        left = sum(1 << size * row for row in range(size))  # the leftmost column
        not_left, not_right = self.cells & ~left, self.cells & ~(left << size - 1)
        steps = ((1, not_left), (-1, not_right), (size, self.cells), (-size, self.cells))
        corners = ((size + 1, not_left), (size - 1, not_right), (1 - size, not_left), (-size - 1, not_right))
        self.steps = steps + corners

    def moves(self, own: int, other: int) -> int:
        """The free cells from which a line of the other's discs is enclosed."""
        free, found = self.cells & ~(own | other), 0
        for shift, allowed in self.steps:
            inner, line = other & allowed, _shifted(own, shift) & allowed & other
            for _ in range(self.size - 3):
                line |= _shifted(line, shift) & inner
            found |= _shifted(line, shift) & allowed & free
        return found

    def flips(self, own: int, other: int, cell: int) -> int:
        """The other's discs that turn over when a disc is placed in `cell`."""
        placed, turned = 1 << cell, 0
        for shift, allowed in self.steps:
            line, ahead = 0, _shifted(placed, shift) & allowed
            while ahead & other:
                line |= ahead
                ahead = _shifted(ahead, shift) & allowed
            if ahead & own:
                turned |= line
        return turned

    @cached_property
    def weights(self) -> tuple[tuple[int, int], ...]:
        """Cells and what a disc on one of them is worth: chosen by us, and not tuned."""
        last = self.size - 1
        groups = dict.fromkeys((CORNER, NEAR, EDGE, 1), 0)
        for cell in range(self.size**2):
            row, column = (min(n, last - n) for n in divmod(cell, self.size))
            nearest, farthest = sorted((row, column))
            worth = NEAR if farthest == 1 else CORNER if farthest == 0 else EDGE if nearest == 0 else 1
            groups[worth] |= 1 << cell
        return tuple((cells, worth) for worth, cells in groups.items())


def _shifted(cells: int, by: int) -> int:
    return cells << by if by > 0 else cells >> -by


@lru_cache
def lines(size: int) -> Lines:
    return Lines(size)


def bits(cells: int) -> Iterator[int]:
    """The numbers of the cells."""
    while cells:
        lowest = cells & -cells
        yield lowest.bit_length() - 1
        cells ^= lowest


class Game(pyspiel.Game):  # type: ignore[misc]
    """Action n places a disc in cell n; the one after the last cell passes."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        params = params or {}
        self.size = int(params.get("size", SIZE))
        if self.size not in SIZES:
            raise ValueError(f"size={self.size} must be one of {', '.join(map(str, SIZES))}")
        cells = self.size**2
        # Actions, chance, seats, least and most return, their sum, moves: every other one may be a pass.
        info = pyspiel.GameInfo(cells + 1, 0, 2, -1.0, 1.0, 0.0, 2 * (cells - 4))
        super().__init__(TYPE, info, params)

    def new_initial_state(self) -> "State":
        return State(self)


class State(pyspiel.State):  # type: ignore[misc]
    """mover: the seat to move. discs: its own, and the other's. free: the cells where it may place one"""

    def __init__(self, game: Game) -> None:
        super().__init__(game)
        self.size, middle = game.size, game.size // 2
        first, second = (middle - 1) * game.size + middle, middle * game.size + middle - 1
        self.discs = 1 << first | 1 << second, 1 << first - 1 | 1 << second + 1
        self.mover, self.over = 0, False
        self.free = lines(game.size).moves(*self.discs)

    def current_player(self) -> int:
        return pyspiel.PlayerId.TERMINAL if self.over else self.mover

    def _legal_actions(self, player: int) -> list[int]:
        return list(bits(self.free)) or [self.size**2]

    def _apply_action(self, action: int) -> None:
        (own, other), rules = self.discs, lines(self.size)
        if action < self.size**2:
            turned = rules.flips(own, other, action)
            own, other = own | turned | 1 << action, other & ~turned
        self.discs, self.mover = (other, own), 1 - self.mover
        self.free = rules.moves(other, own)
        self.over = not self.free and not rules.moves(own, other)

    def _action_to_string(self, player: int, action: int) -> str:
        if action == self.size**2:
            return "pass"
        row, column = divmod(action, self.size)
        return f"{COLUMNS[column]}{row + 1}"

    def is_terminal(self) -> bool:
        return self.over

    def returns(self) -> list[float]:
        if not self.over:
            return [0.0, 0.0]
        own, other = (cells.bit_count() for cells in self.discs)
        lead = float((own > other) - (own < other))
        return [lead, -lead] if self.mover == 0 else [-lead, lead]

    def estimate(self) -> float:
        """How well the first seat stands: its discs less the other's, by the worth of their cells."""
        own, other = self.discs
        rules = lines(self.size)
        lead = sum(
            w * ((own & cells).bit_count() - (other & cells).bit_count()) for cells, w in rules.weights
        )
        return float(lead if self.mover == 0 else -lead)

    def __str__(self) -> str:
        first, second = self.discs if self.mover == 0 else self.discs[::-1]
        cells = ["x" if first >> n & 1 else "o" if second >> n & 1 else "." for n in range(self.size**2)]
        rows = ("".join(cells[n : n + self.size]) for n in range(0, len(cells), self.size))
        return "\n".join(rows)


pyspiel.register_game(TYPE, Game)
