"""The processes of a part: killed where they hang or time is up, begun again behind what they lost."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESTARTS = 5  # of one process


class Process:
    """A shard of a part. Rows of what goes wrong go to `write`; `stall`: seconds that an item may take."""

    def __init__(
        self,
        command: list[str],
        shard: int,
        deadline: float,
        stall: float,
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        self.command, self.shard, self.deadline, self.stall, self.write = (
            command,
            shard,
            deadline,
            stall,
            write,
        )
        self.ended, self.starts = False, 0
        self._start(0)

    def _start(self, skip: int) -> None:
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (read on)
        command = [*self.command, "--shard", str(self.shard), "--skip", str(skip)]
        # A session of its own, so that a compiler that it has started is killed with it.
        self.popen = subprocess.Popen(command, stdout=self.out, stderr=self.err, start_new_session=True)
        self.item, self.name, self.since, self.starts = (
            -1,
            "before the first",
            time.monotonic(),
            self.starts + 1,
        )

    def look(self) -> bool:
        """Whether it still runs, once what has become of it is seen to."""
        code, now = self.popen.poll(), time.monotonic()
        self._progress(now)
        if code is None and now < self.deadline and now < self.since + self.stall:
            return True
        if code == 0:
            self.ended = True
            return False
        if code is None:
            self.kill()
            fault = "out of time" if now >= self.deadline else "hung"
        else:
            fault = "crashed"
        self.write({"item": self.name, "fault": fault, "exit": code, "why": _tail(self.err)})
        if fault == "out of time" or self.item < 0 or self.starts > RESTARTS:
            return False
        self._start(self.item + 1)
        return True

    def _progress(self, now: float) -> None:
        lines = [line for line in _tail(self.out).splitlines() if line.startswith("item ")]
        if lines:
            _, item, name = lines[-1].split(" ", 2)
            if int(item) != self.item:
                self.item, self.name, self.since = int(item), name, now

    def kill(self) -> None:
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()


def _tail(file: Any) -> str:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), 1500, max(0, size - 1500)).decode(errors="replace")


def run(
    script: Path,
    options: list[str],
    shards: int,
    limit: float,
    stall: float,
    write: Callable[[dict[str, Any]], None],
) -> bool:
    """All shards of a part side by side; whether each came to its end."""
    command = [sys.executable, str(script), *options, "--shards", str(shards)]
    deadline = time.monotonic() + limit
    running = processes = [Process(command, i, deadline, stall, write) for i in range(shards)]
    try:
        while running:
            running = [process for process in running if process.look()]
            time.sleep(0.05)
    finally:  # the benchmark itself may be told to stop
        for process in processes:
            process.kill()
    return all(process.ended for process in processes)
