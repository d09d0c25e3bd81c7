"""Symmetric images of positions: what the rules cannot tell apart, with the moves renamed.

An image is what is seen of a position and the names of its moves, in the order of the original's. The last
two characters of an observation say who moves, and `>` or `=`; they stay.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from shuhari.envs.games.board_rows import board_rows

Image = tuple[str, tuple[str, ...]]
Images = Callable[[str, tuple[str, ...]], list[Image]]  # of an observation and its moves; itself comes first
Grid = npt.NDArray[np.int64]  # [rows, columns] of numbers of cells: the image's cell takes what was there
Cell = tuple[int, int]  # row and column
MARKS = 2  # characters after the board
COLUMNS = "abcdefghijklmnopqrstuvwxyz"


def none(observation: str, moves: tuple[str, ...]) -> list[Image]:
    """A game without known symmetries."""
    return [(observation, moves)]


def square(cells: Grid) -> Iterator[Grid]:
    """The eight rotations and reflections of a square board."""
    for quarter_turns in range(4):
        turned = np.rot90(cells, quarter_turns)
        yield turned
        yield turned[:, ::-1]


def mirrored(cells: Grid) -> Iterator[Grid]:
    """Left and right may be exchanged."""
    yield cells
    yield cells[:, ::-1]


def half_turned(cells: Grid) -> Iterator[Grid]:
    """The board may be turned by half."""
    yield cells
    yield cells[::-1, ::-1]


def images_by(
    symmetries: Callable[[Grid], Iterator[Grid]],
    rename: Callable[[str, Callable[[Cell], Cell], int], str],
) -> Images:
    """Images of boards of single characters.

    rename: a move's name in the image, of the name, where each cell goes, and the number of rows
    """

    def images(observation: str, moves: tuple[str, ...]) -> list[Image]:
        board, marks = observation[:-MARKS], observation[-MARKS:]
        lines, separator = board_rows(board), "/" if "/" in board else ""
        height, width = len(lines), len(lines[0])
        flat, found = "".join(lines), list[Image]()
        for grid in symmetries(np.arange(height * width).reshape(height, width)):
            goes = {int(cell): divmod(at, grid.shape[1]) for at, cell in enumerate(grid.flat)}

            def to(cell: Cell, goes: dict[int, Cell] = goes) -> Cell:
                return goes[cell[0] * width + cell[1]]

            text = separator.join("".join(flat[cell] for cell in line) for line in grid)
            found.append((text + marks, tuple(rename(move, to, height) for move in moves)))
        return found

    return images


def by_number(move: str, to: Callable[[Cell], Cell], height: int) -> str:
    """A cell from 1, row by row on a square board."""
    row, column = to(divmod(int(move) - 1, height))
    return str(row * height + column + 1)


def by_column(move: str, to: Callable[[Cell], Cell], height: int) -> str:
    """A column from 1."""
    return str(to((0, int(move) - 1))[1] + 1)


def from_top(move: str, to: Callable[[Cell], Cell], height: int) -> str:
    """Cells as letter and number, the top row is 1. What names no cell, as a pass, stays."""

    def renamed(match: re.Match[str]) -> str:
        row, column = to((int(match[2]) - 1, COLUMNS.index(match[1])))
        return f"{COLUMNS[column]}{row + 1}"

    return re.sub("([a-z])([0-9]+)(?![a-z])", renamed, move)


def from_bottom(move: str, to: Callable[[Cell], Cell], height: int) -> str:
    """Cells as letter and number, the lowest row is 1."""

    def renamed(match: re.Match[str]) -> str:
        row, column = to((height - int(match[2]), COLUMNS.index(match[1])))
        return f"{COLUMNS[column]}{height - row}"

    return re.sub("([a-z])([0-9]+)", renamed, move)


def canonical(images: Images, observation: str) -> str:
    """The same string for positions that are images of one another."""
    return min(seen for seen, _ in images(observation, ()))


def pick(images: Sequence[Image], uniform: float) -> Image:
    """One of the images, by a number from 0 to below 1."""
    return images[int(uniform * len(images))]
