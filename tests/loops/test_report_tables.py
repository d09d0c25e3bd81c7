"""The report's tables in a terminal of any width: nothing is cut."""

import io

import pytest
from rich.console import Console

from shuhari.loops.report.report import Report

HEADS = ["player", *(f"vs player_{n}" for n in range(8))]
ROWS = [
    [name, *(f"{1000 + n}-{2000 + n}-{i}" for n in range(8))]
    for i, name in enumerate(("expert", "selfplay_search"))
]


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200, None])
def test_no_cell_is_cut_whatever_the_width(width: int | None) -> None:
    """None: to a pipe, which has no width of its own."""
    file = io.StringIO()
    console = Console(file=file, width=width)
    Report._show_table(console, "eight columns", HEADS, ROWS)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= (width or 80)
    assert "…" not in file.getvalue()
    words = " ".join(file.getvalue().split())
    for text in (*HEADS, *(cell for row in ROWS for cell in row)):
        assert text in words, text
