"""Lines to a person and from one: wrapped to a terminal's width, plain where either side is a pipe."""

import shutil
import sys
import textwrap
from contextlib import suppress


class Terminal:
    def __init__(self) -> None:
        self.is_one = sys.stdin.isatty() and sys.stdout.isatty()
        # Whatever is typed must end in a line that says what is legal, and not in a traceback.
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        if self.is_one:
            with suppress(ImportError):  # some builds of Python have none
                import readline  # noqa: F401 (input() then lets a person edit the line)

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    def say(self, text: str = "") -> None:
        """Print a sentence, which is wrapped on a terminal."""
        print(textwrap.fill(text, max(20, self.width)) if self.is_one else text, flush=True)

    def show(self, text: str, end: str = "\n") -> None:
        """Print text as it is, such as a board."""
        print(text, end=end, flush=True)

    def ask(self, prompt: str) -> str | None:
        """What a person answers, without space around it; None at the end of the input."""
        if self.is_one:
            try:
                return input(f"{prompt}> ").strip()
            except EOFError:
                print()
                return None
            except KeyboardInterrupt:
                print()
                raise
        print(f"{prompt}>", flush=True)
        line = sys.stdin.readline()
        return line.strip() if line else None
