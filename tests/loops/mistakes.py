"""What a user gets wrong at the command line: one line, exit status 2."""

from collections.abc import Callable, Sequence

import pytest


def mistake(
    main: Callable[[Sequence[str]], int], arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """Run a command that must refuse its arguments; the one line that it says."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("shuhari: ")
    assert error.count("\n") == 1
    return error
