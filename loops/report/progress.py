"""Progress on a terminal, as bars, and in a log, as lines."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from shuhari.envs.progress import listening

LONG = 2.0  # seconds, after which a line says what took them
EVERY = 30.0  # seconds between two lines of a log about the same work
SHOWN = 0.1  # seconds between two counts on a terminal
WIDE = 100  # columns, from which on there is room for a bar
NARROW = 70  # columns, below which a percentage stands for count and rate


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


class _Count(ProgressColumn):
    """How many are done, of how many of what."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text()
        return Text(f"{task.completed:,.0f}/{task.total:,.0f} {task.fields['what']}")


class _Clock(ProgressColumn):
    """The time that is left, or where nobody counts the time so far."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        seconds = round(task.elapsed or 0 if left is None else left)
        return Text(f"{seconds // 60}:{seconds % 60:02}{'' if left is None else ' left'}", no_wrap=True)


def progress_bar(console: Console) -> Progress:
    """It shows the phase, a bar, the count of steps, their rate, the remaining time and the field `skill`."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[skill]}"),
    )
    return Progress(*columns, console=console, refresh_per_second=4)


def working(console: Console, text: str) -> AbstractContextManager[None]:
    """Say what is being done while it is, and how far it is where that is counted (`envs/progress.py`).

    On a terminal it is a bar with rate and remaining time, which goes away. Elsewhere a line says it now and
    then, and one at the end if it took longer than `LONG` seconds.
    """
    return _bar(console, text) if console.is_terminal else _lines(console, text)


def busy(text: str) -> AbstractContextManager[None]:
    """The same on standard error, of a command whose result follows at once."""
    console = Console(stderr=True)
    return _bar(console, text) if console.is_terminal else _lines(console, text, at_end=False)


@contextmanager
def _bar(console: Console, text: str) -> Iterator[None]:
    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
    if console.width >= WIDE:
        columns += [BarColumn(bar_width=20)]
    columns += [TaskProgressColumn()] if console.width < NARROW else [_Count(), _Rate()]
    columns += [_Clock()]
    with Progress(*columns, console=console, transient=True) as shown:
        room = console.width - 18 if console.width < NARROW else len(text)
        task = shown.add_task(text[:room], total=None, what="")
        counted, at = ("", 0, 0), 0.0

        def listen(what: str, done: int, total: int) -> None:
            nonlocal counted, at
            if (what, total) != counted[:2] or done < counted[2]:  # another piece of work
                shown.reset(task, total=total, what=what)
            elif done < total and time.monotonic() - at < SHOWN:
                return
            counted, at = (what, total, done), time.monotonic()
            shown.update(task, completed=done)

        with listening(listen):
            yield


@contextmanager
def _lines(console: Console, text: str, at_end: bool = True) -> Iterator[None]:
    started = said = time.monotonic()

    def listen(what: str, done: int, total: int) -> None:
        nonlocal said
        if (now := time.monotonic()) - said > EVERY:
            said = now
            console.print(f"{text}: {done:,} of {total:,} {what}, {now - started:.0f} s so far", markup=False)

    with listening(listen):
        yield
    if at_end and (seconds := time.monotonic() - started) > LONG:
        console.print(f"{text}: {seconds:.0f} s", markup=False)
