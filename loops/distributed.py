"""Several processes of one run, its ranks: `torchrun --nproc-per-node 2 -m shuhari train`.

Every rank holds the same policy, sources and figures, and draws the same random numbers. Long work is split,
and each rank receives all results. So all ranks make the same decisions, and a single process runs the same
code.
"""

import atexit
import hashlib
import os
import signal
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from threading import Thread
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from shuhari.loops.rank_failure import Ended, Interrupted, RankProcesses, launched_rank_and_size

CLOSING = 5.0  # seconds
TIMEOUT = timedelta(minutes=10)  # a rank that does not answer within this time hangs
RANKS_DIFFER = (
    "the ranks have different work: with the same seed, the environment or its expert gives different "
    "results in another process; make it deterministic, or start one process"
)
Item = TypeVar("Item")
Result = TypeVar("Result")


def parts(keys: Sequence[Hashable], size: int) -> list[list[int]]:
    """The items of each rank. Those of one key stay together, unless there are fewer keys than ranks."""
    together: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys if len(set(keys)) >= size else range(len(keys))):
        together[key].append(i)
    shares: list[list[int]] = [[] for _ in range(size)]
    for members in together.values():
        min(shares, key=len).extend(members)
    return shares


def launcher(size: int) -> str:
    """The command that starts so many ranks."""
    if size == 1:
        return "shuhari"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    nodes = f"--nnodes {size // here} " if here < size and size % here == 0 else ""
    return f"torchrun {nodes}--nproc-per-node {here if nodes else size} -m shuhari"


class Ranks:
    """Who this process is among all (`rank` of `size`), and what it does together with them.

    All ranks must call the methods that communicate, and in the same order.
    """

    def __init__(self, rank: int = 0, size: int = 1, processes: RankProcesses | None = None) -> None:
        self.rank, self.size, self._processes = rank, size, processes
        self._sharing = False  # whether this rank works on its part of `map_sharded`

    @property
    def first(self) -> bool:
        """Whether this rank writes the files and speaks to the user."""
        return self.rank == 0

    def device(self, wanted: str) -> str:
        """A GPU of this rank's own where GPUs are wanted. Raises ValueError where there are too few."""
        if self.size == 1 or wanted not in ("auto", "cuda") or not torch.cuda.is_available():
            return wanted
        place, found = int(os.environ.get("LOCAL_RANK", self.rank)), torch.cuda.device_count()
        if place >= found:
            remedy = f"set --nproc-per-node {found}, or policy.device=cpu"
            raise ValueError(f"policy.device={wanted}: each process takes a GPU, there are {found}; {remedy}")
        torch.cuda.set_device(place)
        return f"cuda:{place}"

    def gather(self, mine: Any) -> list[Any]:
        """Every rank's object, in order of the ranks, on all ranks (all-gather)."""
        found: list[Any] = [mine] * self.size
        if self.size > 1:
            self._together(lambda: dist.all_gather_object(found, mine))
        return found

    def map_sharded(
        self,
        items: Sequence[Item],
        work: Callable[[Sequence[Item]], Sequence[Result]],
        keys: Sequence[Hashable] | None = None,
    ) -> list[Result]:
        """A result for each item, in their order: every rank works on its part of them.

        Items of equal `keys` are done by one rank. A nested call inside `work` is not split again.
        """
        if self.size == 1 or self._sharing or not items:
            return list(work(items))
        shares = parts(range(len(items)) if keys is None else keys, self.size)
        own = [items[i] for i in shares[self.rank]]
        self._sharing = True
        try:
            done = list(work(own)) if own else []
        finally:
            self._sharing = False
        results: list[Any] = [None] * len(items)
        for share, (n, found) in zip(shares, self.gather((len(items), done)), strict=True):
            if n != len(items):
                raise ValueError(RANKS_DIFFER)
            for i, result in zip(share, found, strict=True):
                results[i] = result
        return results

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its sum over all ranks. They are on one device, and travel as one."""
        if self.size == 1:
            return
        flat_N = torch.cat([tensor.flatten() for tensor in tensors])
        self._together(lambda: dist.all_reduce(flat_N))
        sums = torch.split(flat_N, [tensor.numel() for tensor in tensors])
        for tensor, sum_N in zip(tensors, sums, strict=True):
            tensor.copy_(sum_N.view_as(tensor))

    def any_rank(self, flag: bool) -> bool:
        """Whether it is so on some rank."""
        return any(self.gather(flag))

    def check_equal(self, tensors: Sequence[Tensor]) -> None:
        """Raises ValueError where an adapter is not the same on all ranks, bit for bit."""
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        if len(set(self.gather(digest.digest()))) > 1:
            raise ValueError("the ranks' adapters have come apart: give them machines of one kind")

    def check(self) -> None:
        """Raises `Ended` where another rank has ended the run; the others need not ask."""
        if self._processes is not None:
            self._processes.check()

    def _together(self, communicate: Callable[[], Any]) -> None:
        try:
            communicate()
        except RuntimeError as error:  # a connection was closed, or nobody answered
            assert self._processes is not None
            raise self._processes.explain(error) from None

    @contextmanager
    def as_one(self) -> Iterator["Ranks"]:
        """In this context an error on one rank ends all ranks, and all raise it."""
        if self._processes is None:
            yield self
            return
        signal.signal(signal.SIGTERM, self._terminated)
        try:
            yield self
        except Interrupted:  # which all raise
            self._set_sigterm(self._processes)
            raise
        except Ended as ended:
            self._leave(self._processes, ended)
            raise ended.exception() from None
        except (ValueError, OSError, FloatingPointError) as error:
            self._leave(self._processes, Ended("refused", str(error)))
            raise
        except KeyboardInterrupt:
            self._leave(self._processes, Ended("stopped", ""))
            raise
        except BaseException:
            self._leave(
                self._processes, Ended("failed", f"rank {self.rank} failed\n{traceback.format_exc()}")
            )
            raise
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # there is nothing left to save or to say

    def _set_sigterm(self, processes: RankProcesses) -> None:
        """torchrun sends SIGTERM to the others once one rank has exited: the one that reports ignores it."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN if processes.speaks else signal.SIG_DFL)

    def _leave(self, processes: RankProcesses, ended: Ended) -> None:
        """Tell the others, and let go of them: nobody waits for this rank any more."""
        self._set_sigterm(processes)
        processes.tell(ended)
        closing = Thread(target=dist.destroy_process_group, daemon=True)
        closing.start()
        closing.join(CLOSING)  # and no longer: it may wait for a GPU that hangs
        if processes.speaks:
            sys.stderr = sys.__stderr__  # without rank 0 the lowest living rank, silent until now, reports

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self.check()
        raise KeyboardInterrupt


SINGLE_PROCESS = Ranks()


@cache
def join() -> Ranks:
    """Meet the other ranks that torchrun has started, or be alone."""
    if launched_rank_and_size()[1] == 1:
        return SINGLE_PROCESS
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    processes = RankProcesses(rank, size, store, TIMEOUT)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    atexit.register(processes.leave)
    return Ranks(rank, size, processes)
