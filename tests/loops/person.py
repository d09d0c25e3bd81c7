"""A person at a terminal, for tests of commands that ask."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time


class Person:
    """Types to `shuhari` on a terminal of its own, of so many columns, and reads what it writes.

    kind: of terminal; "dumb" ones show nothing that moves, so what is written is text
    """

    def __init__(self, columns: int, *arguments: str, kind: str = "dumb") -> None:
        self.child, self.terminal = pty.fork()
        if not self.child:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            # Of whoever runs the tests: it would say how wide his terminal is.
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)
            os.environ |= {"TERM": kind, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-P", "-m", "shuhari.loops.cli.main", *arguments]
            os.execve(command[0], command, dict(os.environ))  # C's has what readline wrote into it, too
        self.read, self.at = "", 0  # all that was written, and up to where a test has waited

    def wait(self, text: str, seconds: float = 60.0) -> str:
        """What has been written since the last wait, up to and with this text; "" stands for the end."""
        start, until = self.at, time.monotonic() + seconds
        while not text or text not in self.read[start:]:
            assert select.select([self.terminal], [], [], until - time.monotonic())[0], self.read
            try:
                self.read += os.read(self.terminal, 4096).decode()
            except OSError:  # the other side is closed
                assert not text, self.read
                break
        self.at = self.read.index(text, start) + len(text) if text else len(self.read)
        return self.read[start : self.at]

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
