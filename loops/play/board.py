"""A position as people draw it, from the text that players see.

A game without an entry in `DRAWINGS` has its rows under one another where the text has rows of one length,
and else the text itself.
"""

from collections.abc import Callable, Sequence

from shuhari.envs.games.board_rows import board_rows
from shuhari.envs.games.referee import Referee
from shuhari.envs.games.symmetry import COLUMNS

Rows = Sequence[str]


def board(referee: Referee) -> list[str]:
    """The lines of what the seat to move sees; of a game that is over, of what all may see."""
    name = referee.text.seats[referee.seat] if referee.seat >= 0 else "-"
    text = referee.observation.removesuffix(">").removesuffix(name).rstrip()
    if not text:  # what is hidden stays hidden
        return []
    kind = referee.game.get_type().short_name
    rows = board_rows(text) if kind == "tic_tac_toe" or "/" in text else [text]
    if kind in DRAWINGS:
        return DRAWINGS[kind](rows)
    alike = len(rows) > 1 and len({len(row) for row in rows}) == 1
    return [" ".join(row) for row in rows] if alike else text.splitlines()


def _numbered_cells(rows: Rows) -> list[str]:
    """Free cells show the number by which they are named."""
    cells = [str(n) if cell == "." else cell for n, cell in enumerate("".join(rows), 1)]
    return [" ".join(cells[i : i + len(rows)]) for i in range(0, len(cells), len(rows))]


def _numbered_columns(rows: Rows) -> list[str]:
    numbers = [str(n) for n in range(1, len(rows[0]) + 1)]
    wide = max(map(len, numbers))
    return [" ".join(cell.rjust(wide) for cell in row).rstrip() for row in (*rows, numbers)]


def _letters(rows: Rows, lowest_first: bool, shift: int = 0) -> list[str]:
    """Letters above the columns and numbers beside the rows; each row `shift` further to the right."""
    wide = len(str(len(rows)))
    lines = [f"{' ' * wide} {' '.join(COLUMNS[: len(rows[0])])}"]
    for n, row in enumerate(rows):
        number = len(rows) - n if lowest_first else n + 1
        lines.append(f"{' ' * shift * n}{number:>{wide}} {' '.join(row)}")
    return lines


def _dots(rows: Rows) -> list[str]:
    """Horizontal lines between dots, and under them vertical lines with boxes between."""
    lines = []
    for n, row in enumerate(rows):
        marks = row.replace(".", " ")
        drawn = marks if n % 2 else f"+{'+'.join(marks)}+"
        lines.append(f"{'hv'[n % 2]}{n // 2} {drawn}".rstrip())
    return lines


def _tiles(rows: Rows) -> list[str]:
    tiles = [["." if tile == "0" else tile for tile in row.split()] for row in rows]
    wide = max(len(tile) for row in tiles for tile in row)
    return [" ".join(tile.rjust(wide) for tile in row) for row in tiles]


DRAWINGS: dict[str, Callable[[Rows], list[str]]] = {
    "tic_tac_toe": _numbered_cells,
    "connect_four": _numbered_columns,
    "hex": lambda rows: _letters(rows, lowest_first=False, shift=1),
    "othello": lambda rows: _letters(rows, lowest_first=False),
    "sized_othello": lambda rows: _letters(rows, lowest_first=False),
    "breakthrough": lambda rows: _letters(rows, lowest_first=True),
    "dots_and_boxes": _dots,
    "2048": _tiles,
}
