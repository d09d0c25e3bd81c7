"""Long work is said: as it is done on a terminal, in one line elsewhere."""

import io

import pytest
from rich.console import Console

from shuhari.loops.report import monitor
from shuhari.loops.report.monitor import working


def said(terminal: bool, text: str = "measuring [expert]") -> str:
    file = io.StringIO()
    with working(Console(file=file, force_terminal=terminal, width=60), text):
        pass
    return file.getvalue()


def test_a_log_gets_a_line_for_what_took_long_and_none_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(terminal=False) == ""
    monkeypatch.setattr(monitor, "LONG", -1.0)
    assert said(terminal=False) == "measuring [expert]: 0 s\n"


def test_a_terminal_shows_the_work_and_takes_it_away_at_the_end() -> None:
    shown = said(terminal=True, text="measuring expert")
    assert "measuring expert" in shown
    assert "0:00:00" in shown
    assert shown.endswith("\x1b[2K")  # the line is cleared
