"""Boards and curves as pictures: the right cells are dark, and lines go where the skill goes."""

import numpy as np

from shuhari.envs.games.board_view import BoardView, board_views, grid, landing
from shuhari.envs.games.simulator import Referees
from shuhari.envs.player import RandomPlayer
from shuhari.loops.report import pictures

XO = ("x", "o")


def test_a_move_lands_on_the_one_free_cell_that_it_takes() -> None:
    first, *rest = board_views(Referees("tic_tac_toe"), RandomPlayer())
    assert first.rows == ("...", "...", "...")
    assert dict(zip(first.moves, first.cells, strict=True)) == {str(n + 1): divmod(n, 3) for n in range(9)}
    assert all(p == 1 / 9 for p in first.probabilities)
    for view in rest:
        assert sorted(view.cells) == [  # type: ignore[type-var]
            (r, c) for r, row in enumerate(view.rows) for c, mark in enumerate(row) if mark == "."
        ]
    column, *_ = board_views(Referees("connect_four"), RandomPlayer())
    assert column.cells == tuple((5, c) for c in range(7))  # a mark falls
    assert landing((".x", "o."), ("xx", "o.")) == (0, 0)
    assert landing(("ox.",), ("ooo",)) == (0, 2)  # a disc that turns over is no landing
    assert landing((".x", "o."), ("xx", "oo")) is None
    assert landing(("xb",), ("bx",)) is None  # a capture


def test_only_boards_of_marks_are_grids() -> None:
    assert grid("x.../..../....o>", XO) == ("x...", "....", "....")
    assert grid("x.../.../....o>", XO) == ()
    assert grid("1,3,5,7,9 0>", ("0", "1")) == ()
    assert grid("J p1>", ("0", "1")) == ()
    poker = board_views(Referees("kuhn_poker"), RandomPlayer())
    assert not poker[0].is_grid
    assert poker[0].rows[0] in ("J", "Q", "K")  # what is hidden stays hidden
    assert len({view.rows for view in poker}) == len(poker)


def test_the_same_positions_are_shown_every_time() -> None:
    seen = [[v.rows for v in board_views(Referees("hex(board_size=4)"), RandomPlayer())] for _ in range(2)]
    assert seen[0] == seen[1]
    assert len(seen[0]) > 2
    assert board_views(Referees("nim(pile_sizes=1;1)"), RandomPlayer())  # however short games are


def test_the_likelier_cell_is_darker_and_its_bar_longer() -> None:
    view = BoardView(("..", "x."), True, "o", ("1", "2", "4"), (0.0, 0.9, 0.1), ((0, 0), (0, 1), (1, 1)))
    picture = pictures.boards([view]).astype(int)
    side, top = pictures.BOARD // 2, pictures.GAP + pictures.ROW

    def shade(row: int, column: int) -> int:
        y, x = top + row * side + 8, pictures.GAP + column * side + 8
        return int(picture[y, x].sum())

    assert shade(0, 0) == shade(1, 0) == 3 * 255
    assert shade(0, 1) < shade(1, 1) < 3 * 255
    left = pictures.BOARD + 2 * pictures.GAP + pictures.NAMES
    bars = [
        int((picture[top + n * pictures.ROW + 10, left:] == pictures.MOVE).all(1).sum()) for n in range(3)
    ]
    assert bars[0] > 5 * bars[1] > 0
    assert bars[2] <= 2
    assert pictures.boards([view, view]).shape[0] == 2 * len(picture)


def test_a_curve_rises_with_the_skill() -> None:
    rising, falling = (pictures.curves("samples", {"a": {1: x, 8: y}}) for x, y in ((0.1, 0.9), (0.9, 0.1)))

    def heights(picture: np.ndarray) -> list[int]:  # type: ignore[type-arg]
        """The mean row of the line in its left and its right half."""
        rows, columns = np.nonzero((picture == pictures.COLORS[0]).all(2))
        plotted = columns < pictures.WIDTH - pictures.RIGHT
        middle = columns[plotted].mean()
        return [int(rows[plotted & side].mean()) for side in (columns < middle, columns > middle)]

    left, right = heights(rising)
    assert left > right + 100
    left, right = heights(falling)
    assert right > left + 100
    assert pictures.curves("samples", {"a": {1: 0.5}}).shape == (pictures.HEIGHT, pictures.WIDTH, 3)
