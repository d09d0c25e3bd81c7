"""Long work is said: as it is done on a terminal, in one line elsewhere."""

import io
import re
from pathlib import Path

import pytest
from person import Person
from rich.console import Console

from shuhari.envs.progress import counted, counting
from shuhari.loops.report import progress
from shuhari.loops.report.progress import working


def said(terminal: bool, text: str = "measuring [expert]") -> str:
    file = io.StringIO()
    with working(Console(file=file, force_terminal=terminal, width=60), text):
        pass
    return file.getvalue()


def test_a_log_gets_a_line_for_what_took_long_and_none_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(terminal=False) == ""
    monkeypatch.setattr(progress, "LONG", -1.0)
    assert said(terminal=False) == "measuring [expert]: 0 s\n"


def test_a_terminal_shows_the_work_and_takes_it_away_at_the_end() -> None:
    shown = said(terminal=True, text="measuring expert")
    assert "measuring expert" in shown
    assert "0:00" in shown
    assert shown.endswith("\x1b[2K")  # the line is cleared


def counts(terminal: bool, width: int = 100) -> str:
    """What is shown of three games within which two positions are asked about."""
    file = io.StringIO()
    with working(Console(file=file, force_terminal=terminal, width=width), "measuring expert"):
        for _ in counted("games", range(3)):
            with counting("positions", 2) as tell:
                tell(2)
    return file.getvalue()


@pytest.mark.parametrize(("width", "count"), [(40, "100%"), (100, "3/3 games")])
def test_a_terminal_shows_how_far_the_outermost_count_is(width: int, count: str) -> None:
    shown = counts(terminal=True, width=width)
    assert count in shown
    assert "positions" not in shown
    assert all(len(line) <= width for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).split("\r"))


def test_a_log_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(terminal=False) == ""
    monkeypatch.setattr(progress, "EVERY", -1.0)
    lines = counts(terminal=False).splitlines()
    assert lines == [f"measuring expert: {done} of 3 games, 0 s so far" for done in (1, 2, 3)]


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ctrl_c_while_measuring_stops_before_the_next_player_and_a_second_one_at_once(
    times: int, tmp_path: Path
) -> None:
    person = Person(80, "train", "threads=1", f"out={tmp_path}", kind="xterm")
    while not re.search(r"measuring expert .*[0-9,]+/[0-9,]+ positions", person.read):
        person.wait("positions")
    person.type("\x03")
    person.wait("stopping after the current step (once more to stop at once)")
    if times == 2:
        assert not person.ended(0.2)
        person.type("\x03")
    assert person.ended(30)
    assert person.status() == 130
    assert "Traceback" not in person.read
    if times == 1:
        assert "stopped before measuring expert_mode; it had no checkpoint yet: start it anew" in person.read


def test_nobody_needs_to_listen() -> None:
    assert list(counted("games", "abc")) == ["a", "b", "c"]
