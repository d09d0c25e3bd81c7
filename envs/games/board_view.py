"""Positions with what a player would play there, as data for a picture.

Where a move lands is found by playing it: it is the one free cell that is taken afterwards. That holds for
any game whose board is a grid of marks, whatever its moves are called.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shuhari.envs.games.board_rows import board_rows
from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.games.symmetry import MARKS
from shuhari.envs.player import Player

FREE = "."
PLIES = (0, 2, 3, 5)  # random moves into the game, of the positions that are shown
SEED = 20  # of these moves, so that they are the same positions every time
Cell = tuple[int, int]  # row and column


@dataclass(frozen=True, slots=True)
class BoardView:
    """One position.

    rows: of the board, one character a cell; where the board is no such grid, the text of the position
    mover: the name of the seat to move
    moves, probabilities: of the player, by the moves' names
    cells: where each move lands; None where that is not one free cell
    """

    rows: tuple[str, ...]
    is_grid: bool
    mover: str
    moves: tuple[str, ...]
    probabilities: tuple[float, ...]
    cells: tuple[Cell | None, ...]


def board_views(simulator: Simulator, player: Player) -> list[BoardView]:
    """A few positions of a game, none of which is over, with the player's probabilities."""
    rng, shown = np.random.default_rng(SEED), list[Positions]()
    for plies in PLIES:
        position = simulator.start(1, rng)
        for _ in range(plies):
            moves = len(simulator.views(position)[0].legal_actions)
            after = simulator.play(position, rng.integers(moves, size=1), rng)
            if simulator.seats(after)[0] < 0:
                break
            position = after
        shown.append(position)
    positions = np.concatenate(shown)
    turns, names = simulator.views(positions), simulator.outcomes
    views: dict[str, BoardView] = {}  # by what is seen: some games are over before their positions differ
    for n, (turn, found) in enumerate(zip(turns, player.probabilities(turns), strict=True)):
        rows = grid(turn.observation, names[:2])
        cells: list[Cell | None] = [None] * len(turn.legal_actions)
        if rows:
            moves_A = np.arange(len(cells))
            after = simulator.play(np.repeat(positions[n : n + 1], len(cells)), moves_A, rng)
            cells = [landing(rows, grid(seen.observation, names[:2])) for seen in simulator.views(after)]
        mover, p = names[turn.seat], tuple(float(x) for x in found)
        text = tuple(turn.observation.removesuffix(">").removesuffix(mover).rstrip().splitlines())
        views[turn.observation] = BoardView(
            rows or text, bool(rows), mover, turn.legal_actions, p, tuple(cells)
        )
    return list(views.values())


def grid(observation: str, marks: Sequence[str]) -> tuple[str, ...]:
    """The rows of a board whose cells are free or a seat's mark; () where the text is something else."""
    rows = board_rows(observation[:-MARKS])
    alike = len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}
    return tuple(rows) if alike and set("".join(rows)) <= {FREE, *marks} else ()


def landing(before: Sequence[str], after: Sequence[str]) -> Cell | None:
    """The one cell that was free and no longer is."""
    taken = [
        (r, c)
        for r, (old, new) in enumerate(zip(before, after, strict=False))
        for c, (a, b) in enumerate(zip(old, new, strict=False))
        if a == FREE != b
    ]
    return taken[0] if len(taken) == 1 else None
