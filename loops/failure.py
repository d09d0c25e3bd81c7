"""What ends one rank ends all of them, and is said once.

A rank that fails writes the reason to the store that the ranks met by, and closes its connections: whoever
waits for it then looks the reason up, and raises it too. A rank that was killed writes nothing, but its
process is gone. Rank 0 speaks for all, or the first that is left.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

LAST_WORD = timedelta(seconds=30)  # how long others stay for the speaker: torchrun ends all with the first
NOTICE = 5.0  # seconds in which the reason of a broken connection comes to be known


class Interrupted(Exception):
    """The run was asked to stop, and its state is on disk. All ranks raise it at once."""


class RankLost(ConnectionError):
    """A rank was killed or does not answer; the message is one line."""


class Ended(BaseException):
    """Another rank has ended the run. No `Exception`, or it would pass for one of an environment's."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text

    def exception(self) -> BaseException:
        """What one process would have raised."""
        kinds: dict[str, type[BaseException]] = {
            "refused": ValueError,
            "stopped": KeyboardInterrupt,
            "lost": RankLost,
            "failed": RuntimeError,
        }
        return kinds[self.kind](self.text)


def started() -> tuple[int, int]:
    """This process's rank, and how many torchrun has started: 0 of 1 without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def only_one_speaks() -> None:
    """All ranks but the first fall silent. Until they have met, the first that is left says when torchrun
    stops them."""
    rank, size = started()
    if size > 1:
        signal.signal(signal.SIGTERM, _stopped_early)
    if size > 1 and rank:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (to the end of the process)


def _stopped_early(number: int, frame: FrameType | None) -> None:
    rank, _ = started()
    if rank == min(_siblings(), default=rank):
        os.write(2, b"shuhari: stopped before the run began: give the same command again\n")
        time.sleep(0.5)  # in which the others, stopped as well, see that it lives, and are silent
    os._exit(128 + number)


def _siblings() -> Iterator[int]:
    """Ranks that the same torchrun has started and that live, as far as this system says."""
    parent = os.getppid()
    with contextlib.suppress(OSError):
        for process in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            yield from (int(v.removeprefix(b"RANK=")) for v in variables if v.startswith(b"RANK="))


class Fellows:
    """The ranks of a run as processes: whether they live, and why they have ended."""

    def __init__(self, rank: int, size: int, store: Any, patience: timedelta) -> None:
        """Returns when all ranks are there. Raises RankLost where that takes longer than `patience`."""
        self.rank, self._store = rank, store
        store.set(f"rank {rank}", json.dumps((socket.gethostname(), os.getpid())))
        names = [f"rank {other}" for other in range(size)]
        until = time.monotonic() + patience.total_seconds()
        while not store.check(names):  # and not one long wait, in which no signal would be heard
            if time.monotonic() > until:
                raise RankLost("not all ranks have started")
            time.sleep(0.02)
        self._processes = [json.loads(store.get(name)) for name in names]

    def check(self) -> None:
        """Raises `Ended` where another rank has ended the run."""
        with contextlib.suppress(RuntimeError):  # the store may be another rank's, and gone with it
            if self._store.check(["ended"]):
                raise Ended(*json.loads(self._store.get("ended")))
        if lost := [rank for rank in range(len(self._processes)) if not self._lives(rank)]:
            raise Ended("lost", f"rank {lost[0]} was lost")

    def explain(self, error: RuntimeError) -> Ended:
        """Why a message to the others failed. Raises `Ended` where that is known for sure."""
        until = time.monotonic() + NOTICE
        while time.monotonic() < until:
            self.check()
            time.sleep(0.05)
        return Ended("lost", f"a rank was lost, or hangs ({' '.join(str(error).split())[:150]})")

    def tell(self, ended: Ended) -> None:
        """Let the others know; what was told first stands."""
        with contextlib.suppress(RuntimeError):
            self._store.compare_set("ended", "", json.dumps((ended.kind, ended.text)))

    @property
    def speaks(self) -> bool:
        """Whether this rank speaks to the user for all."""
        return not any(self._lives(rank) for rank in range(self.rank))

    def leave(self) -> None:
        """At the end of the process: others stay until the speaker has said all."""
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(RuntimeError):
            if self.speaks:
                self._store.set("last word", "")
            else:
                self._store.wait(["last word"], LAST_WORD)

    def _lives(self, rank: int) -> bool:
        """Whether a rank's process is there, as far as this machine can say."""
        host, process = self._processes[rank]
        if host != self._processes[self.rank][0]:
            return True
        try:
            os.kill(process, 0)
            with open(f"/proc/{process}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
        except ProcessLookupError:
            return False
        except OSError:  # another user's, or a system without /proc
            return True
