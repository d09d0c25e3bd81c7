"""What the command line says of a mistake: one line on standard error, with exit status 2."""

import difflib
import sys
import time
import warnings
from collections.abc import Iterable
from typing import NoReturn

from shuhari.loops.rank_failure import launched_rank_and_size

USUAL_WARNING = warnings.formatwarning
INTERRUPTED = 130  # exit status
FIRST_RANK = 5.0  # seconds in which the first of several ranks will have failed as well, and spoken


def fail(message: str, told: bool = False) -> NoReturn:
    """Print the message on one line and exit. `told`: the ranks have met, and the first of them speaks."""
    if launched_rank_and_size()[0] and not told:
        time.sleep(FIRST_RANK)  # torchrun ends this process as soon as the first rank has spoken and ended
        sys.stderr = sys.__stderr__
    print(f"shuhari: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def suggest(word: str, known: Iterable[str]) -> str:
    """The known word that is nearest to a mistyped one, or all known words where none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """For `warnings.formatwarning`: our own warnings are one line; those of others keep file and line."""
    ours = category.__module__.startswith("shuhari.")
    return f"shuhari: {message}\n" if ours else USUAL_WARNING(message, category, filename, lineno, line)
