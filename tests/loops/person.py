"""A person at a terminal, for tests of commands that ask."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
import traceback
from typing import NoReturn

from shuhari.loops.cli.main import main


def _go_on(arguments: tuple[str, ...]) -> NoReturn:
    """In a copy of the tests' process: `shuhari` on the terminal at its descriptors, and nothing after it."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        sys.argv = ["shuhari", *arguments]
        main()
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


class Person:
    """Types to `shuhari` on a terminal of its own, of so many columns, and reads what it writes."""

    def __init__(self, columns: int, *arguments: str, forked: bool = False) -> None:
        """`forked`: it is no new process but a copy of this one, where a model takes long to be imported."""
        self.child, self.terminal = pty.fork()
        if not self.child:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            # Of whoever runs the tests: it would say how wide his terminal is.
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)
            os.environ |= {"TERM": "dumb", "OMP_NUM_THREADS": "1"}
            if forked:
                _go_on(arguments)
            command = [sys.executable, "-P", "-m", "shuhari.loops.cli.main", *arguments]
            os.execve(command[0], command, dict(os.environ))  # C's has what readline wrote into it, too
        self.read = ""

    def wait(self, text: str, seconds: float = 20.0) -> str:
        """What has been written since, up to and with this text; "" stands for the end."""
        start, until = len(self.read), time.monotonic() + seconds
        while not text or text not in self.read[start:]:
            assert select.select([self.terminal], [], [], until - time.monotonic())[0], self.read
            try:
                self.read += os.read(self.terminal, 4096).decode()
            except OSError:  # the other side is closed
                assert not text, self.read
                break
        return self.read[start:]

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def ended(self, seconds: float) -> bool:
        """Whether it ends within this time."""
        until = time.monotonic() + seconds
        while os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def status(self) -> int:
        self.wait("")
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
