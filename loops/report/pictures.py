"""Pictures for TensorBoard, drawn by Pillow: boards with move probabilities, and skill against a number."""

from collections.abc import Mapping, Sequence
from functools import cache
from math import log2
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from shuhari.envs.games.board_view import FREE, BoardView

Pixels = npt.NDArray[np.uint8]  # [height, width, 3]
PAPER, INK, FAINT, GRID = (255, 255, 255), (40, 40, 40), (120, 120, 120), (205, 205, 205)
MOVE = (31, 119, 180)  # of what is probable
COLORS = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75)]
BOARD, GAP, BAR, ROW = 300, 16, 170, 34  # pixels: of a board's side, between parts, of a bar, of a line
NAMES, TEXT = 96, 26  # pixels: of the names of moves, and of letters; TensorBoard shows it half as large
MOST_MOVES = 9  # bars of a position, of the most probable moves
Draw = ImageDraw.ImageDraw


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def boards(views: Sequence[BoardView]) -> Pixels:
    """Positions under one another: the board, whose free cells are as dark as a move there is probable, and
    the likeliest moves with their probabilities."""
    height = BOARD + 2 * GAP + ROW
    picture = Image.new("RGB", (BOARD + NAMES + BAR + 9 * GAP, max(1, len(views)) * height), PAPER)
    draw = ImageDraw.Draw(picture)
    for n, view in enumerate(views):
        top = n * height + GAP
        draw.text((GAP, top), f"{view.mover} to move", INK, _font(TEXT))
        (_draw_grid if view.is_grid else _draw_text)(draw, view, GAP, top + ROW)
        _draw_moves(draw, view, BOARD + 2 * GAP, top + ROW)
    return np.asarray(picture)


def _draw_grid(draw: Draw, view: BoardView, left: int, top: int) -> None:
    mass: dict[tuple[int, int], float] = {}
    for cell, p in zip(view.cells, view.probabilities, strict=True):
        if cell is not None:
            mass[cell] = mass.get(cell, 0.0) + p
    side = BOARD // max(len(view.rows), len(view.rows[0]))
    for r, row in enumerate(view.rows):
        for c, mark in enumerate(row):
            x, y = left + c * side, top + r * side
            fill = _shade(mass.get((r, c), 0.0))
            draw.rectangle((x, y, x + side, y + side), fill, GRID)
            middle, chance = (x + side / 2, y + side / 2), mass.get((r, c))
            if mark != FREE:
                draw.text(middle, mark, INK, _font(max(10, side * 2 // 3)), "mm")
            elif chance is not None and side >= 30:
                color = PAPER if chance > 0.5 else INK
                draw.text(middle, f"{chance:.0%}", color, _font(max(10, side // 4)), "mm")


def _draw_text(draw: Draw, view: BoardView, left: int, top: int) -> None:
    for n, line in enumerate(view.rows[: BOARD // ROW]):
        draw.text((left, top + n * ROW), line[:22], INK, _font(TEXT))


def _draw_moves(draw: Draw, view: BoardView, left: int, top: int) -> None:
    likeliest = sorted(zip(view.probabilities, view.moves, strict=True), reverse=True)
    for n, (p, move) in enumerate(likeliest[:MOST_MOVES]):
        y = top + n * ROW
        draw.text((left, y), move[:7], INK, _font(TEXT))
        draw.rectangle((left + NAMES, y + 4, left + NAMES + BAR * p, y + ROW - 4), MOVE)
        draw.text((left + NAMES + 8 + BAR * p, y), f"{p:.1%}", FAINT, _font(TEXT))
    if (more := len(likeliest) - MOST_MOVES) > 0:
        draw.text((left, top + MOST_MOVES * ROW), f"and {more} more", FAINT, _font(TEXT))


def _shade(p: float) -> tuple[int, int, int]:
    """From paper to the color of a move; small probabilities can be seen, too."""
    share = min(1.0, p) ** 0.6
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(PAPER, MOVE, strict=True))
    return red, green, blue


WIDTH, HEIGHT, LEFT, BOTTOM, RIGHT, TOP = 720, 480, 90, 80, 250, 20  # pixels of a figure, and its margins


def curves(over: str, lines: Mapping[str, Mapping[int, float]]) -> Pixels:
    """Skill against a number, on a scale of powers of 2; a line for each name, which stands at its end.

    over: what the number counts
    lines: skill by number, by name
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(picture), _font(24)
    numbers = sorted({n for line in lines.values() for n in line})
    values = [value for line in lines.values() for value in line.values()]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin
    last = log2(1 + max(numbers, default=1))

    def at(n: int, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * log2(1 + n) / last
        return x, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    for k in range(5):
        value = low + (high - low) * k / 4
        _, y = at(0, value)
        draw.line((LEFT, y, WIDTH - RIGHT, y), GRID)
        draw.text((LEFT - 8, y), f"{value:.3g}", INK, font, "rm")
    for n in numbers:
        draw.text((at(n, low)[0], HEIGHT - BOTTOM + 8), str(n), INK, font, "mt")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 22), over, INK, font, "mm")
    ends = []
    for k, (name, line) in enumerate(lines.items()):
        points, color = [at(n, value) for n, value in sorted(line.items())], COLORS[k % len(COLORS)]
        draw.line(points, color, 4)
        for x, y in points:
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), color)
        ends.append((points[-1][1], name, color))
    below = -1e9
    for y, name, color in sorted(ends):  # names do not cover one another
        below = max(y, below + 28)
        draw.text((WIDTH - RIGHT + 10, below), name, color, font, "lm")
    return np.asarray(picture)
