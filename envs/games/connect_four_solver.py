"""An exact solver of Connect Four on boards of any size, within a budget of positions.

It is negamax with alpha-beta, a table of positions, and bitboards (Pons, "Solving Connect Four", 2015). A
column has `rows` bits and an empty bit above. `own` are the stones of the seat to move, `taken` are all
stones.
"""

from collections.abc import Sequence

import numpy as np

from shuhari.envs.games.board_rows import board_rows
from shuhari.envs.games.referee import Referee
from shuhari.envs.types import Turn

BUDGET = 5_000_000  # positions; 5 columns by 4 rows take 164,277, an endgame of 7 by 6 a few thousand


class ConnectFourSolver:
    """Values for the seat to move: 1 won, 0 drawn, -1 lost. The table is kept between calls."""

    def __init__(self, columns: int = 7, rows: int = 6, budget: int = BUDGET) -> None:
        self.columns, self.rows, self.budget = columns, rows, budget
        # Columns from the middle outwards, because good moves first make alpha-beta cut more.
        self.order = sorted(range(columns), key=lambda column: abs(2 * column - columns + 1))
        self.bottom = [1 << (column * (rows + 1)) for column in range(columns)]
        self.full = [((1 << rows) - 1) << (column * (rows + 1)) for column in range(columns)]
        self.shifts = (1, rows, rows + 1, rows + 2)  # up, the two diagonals, along a row
        self._bounds: dict[tuple[int, int], tuple[int, int]] = {}

    def move_values(self, referee: Referee) -> dict[str, int]:
        """The value of each legal move, for the seat to move.

        Raises ValueError for a board of another size, MemoryError if the budget is exceeded.
        """
        own, taken = self._read(referee.observation)
        values = {}
        for move in referee.legal_actions:
            column = int(move) - 1
            stone = self._lowest_free_cell(column, taken)
            won = self._wins(own | stone)
            values[move] = 1 if won else -self._negamax(taken ^ own, taken | stone, -1, 1)
        return values

    def act(self, turns: Sequence[Turn]) -> list[str]:
        """One move for each turn, any of the best moves with the same probability."""
        moves = []
        for turn in turns:
            values = self.move_values(Referee.deserialize(turn.state))
            best = [move for move, value in values.items() if value == max(values.values())]
            moves.append(str(np.random.default_rng(turn.seed).choice(best)))
        return moves

    def value(self, referee: Referee) -> int:
        """The value of a position for the seat to move. The budget is too small for the start of 7 by 6."""
        return max(self.move_values(referee).values())

    def _read(self, observation: str) -> tuple[int, int]:
        board, mover = board_rows(observation[:-2]), observation[-2]
        if len(board) != self.rows or len(board[0]) != self.columns:
            raise ValueError(f"a board of {self.columns} columns and {self.rows} rows, not {observation!r}")
        own = taken = 0
        for height, row in enumerate(reversed(board)):
            for column, mark in enumerate(row):
                bit = self.bottom[column] << height
                own |= bit if mark == mover else 0
                taken |= bit if mark != "." else 0
        return own, taken

    def _lowest_free_cell(self, column: int, taken: int) -> int:
        """The bit of the cell, which the carry of an addition sets; 0 if the column is full."""
        return (taken + self.bottom[column]) & self.full[column]

    def _wins(self, stones: int) -> bool:
        for shift in self.shifts:
            pairs = stones & (stones >> shift)
            if pairs & (pairs >> (2 * shift)):
                return True
        return False

    def _negamax(self, own: int, taken: int, low: int, high: int) -> int:
        """The value for the seat to move, exact if it is within (low, high), else a bound of it."""
        free = [column for column in self.order if self.full[column] & ~taken]
        stones = [self._lowest_free_cell(column, taken) for column in free]
        if not stones:
            return 0
        for stone in stones:
            if self._wins(own | stone):
                return 1
        key = own, taken
        least, most = self._bounds.get(key, (-1, 1))
        low, high = max(low, least), min(high, most)
        if low >= high:
            return low
        if len(self._bounds) >= self.budget:
            raise MemoryError(f"more than {self.budget:,} positions: too many to solve")
        start, best = low, -1
        for stone in stones:
            best = max(best, -self._negamax(taken ^ own, taken | stone, -high, -low))
            low = max(low, best)
            if low >= high:
                break
        if best <= start:
            self._bounds[key] = least, best
        elif best >= high:
            self._bounds[key] = best, most
        else:
            self._bounds[key] = best, best
        return best
