"""An error on one rank ends all ranks, and one rank reports it.

A failing rank writes the reason to the rendezvous store and closes its connections. Ranks that wait for it
read the reason and raise it too. A killed rank writes nothing; the others see that its process is gone. Rank
0 reports for all, or the lowest rank that still lives.
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

LAST_WORD = timedelta(seconds=30)  # the others wait for the report: torchrun ends all ranks once one exits
NOTICE = 5.0  # seconds to wait for the reason of a broken connection


class Interrupted(Exception):
    """The run was asked to stop, and its state is on disk. All ranks raise it at once."""


class RankLost(ConnectionError):
    """A rank was killed or does not answer; the message is one line."""


class Ended(BaseException):
    """Another rank has ended the run. A BaseException: handlers of environments' errors do not catch it."""

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


def launched_rank_and_size() -> tuple[int, int]:
    """This process's rank, and how many torchrun has started: 0 of 1 without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def only_one_speaks() -> None:
    """Silence all ranks but the first. Until they have connected, the lowest living rank reports that
    torchrun stopped them."""
    rank, size = launched_rank_and_size()
    if size > 1:
        signal.signal(signal.SIGTERM, _stopped_early)
    if size > 1 and rank:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (to the end of the process)


def _stopped_early(number: int, frame: FrameType | None) -> None:
    rank, _ = launched_rank_and_size()
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


class RankProcesses:
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
        """The probable reason of a failed communication. Raises `Ended` if a rank wrote one or is gone."""
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
