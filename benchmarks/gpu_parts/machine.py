"""Where a part runs, how kernels are timed there, and when a value is right."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from shuhari.kernels import dispatch

Row = dict[str, Any]  # a line of the report
Item = tuple[str, Callable[[], Iterable[Row]]]  # a name, and what gives its rows: what a part is a list of
Call = Callable[..., Any]

TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 5e-3}  # relative RMS
ROUNDS, ROUND_MS = 5, 10.0  # of timing: so many, each so long at least


class Machine:
    """A GPU; or, `dry`, a CPU on which Triton interprets the same kernels, and no time means anything."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.device = torch.device("cpu" if dry else "cuda")
        self.wrong = False  # a test's: the next value that is judged is wrong
        if dry:
            mock.patch.object(dispatch, "choose", partial(_interpreted, dispatch.choose)).start()
        else:
            # A backward pass runs on its forward pass's stream, and the default one cannot be captured.
            torch.cuda.set_stream(torch.cuda.Stream())

    def pick(self, real: Any, tiny: Any) -> Any:
        return tiny if self.dry else real

    @property
    def dtype(self) -> torch.dtype:
        """Of 16 bits: the interpreter takes bf16 for the integers that hold it."""
        return torch.float16 if self.dry else torch.bfloat16

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(*shape, device=self.device).to(dtype or self.dtype)

    def rotated(self, of_one: int, make: Callable[[], Call]) -> list[Call]:
        """Calls on inputs of `of_one` bytes each, enough of them that the L2 cache holds no input twice."""
        if self.dry:
            return [make()]
        cache = torch.cuda.get_device_properties(self.device).L2_cache_size
        return [make() for _ in range(1 + 2 * cache // of_one)]

    def ms(self, *rotations: Sequence[Call]) -> list[float]:
        """Median milliseconds of one call of each rotation, measured in turn, without what a launch costs a
        CPU: a rotation is captured in a CUDA graph, whose replays are timed by events."""
        if self.dry:
            return [1000 * seconds(calls[0]) for calls in rotations]
        graphs = [self._captured(calls) for calls in rotations]
        replays = [max(1, round(ROUND_MS / self._replayed(graph, 1))) for graph, _ in graphs]
        times: list[list[float]] = [[] for _ in graphs]
        for _ in range(ROUNDS):
            for (graph, calls), n, mine in zip(graphs, replays, times, strict=True):
                mine.append(self._replayed(graph, n) / calls)
        return [statistics.median(mine) for mine in times]

    def _captured(self, calls: Sequence[Call]) -> tuple[Any, int]:
        """A graph of all calls, several times where they are few, and how many it makes."""
        for call in calls:  # compiles, and makes tables
            call()
        times = max(1, 8 // len(calls))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            for call in [*calls] * times:
                call()
        graph.replay()
        return graph, times * len(calls)

    def _replayed(self, graph: Any, n: int) -> float:
        """Milliseconds of one of n replays."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(n):
            graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / n

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second, read and written together, of a large copy."""
        n = self.pick(2**30, 2**20)
        a, b = (torch.empty(n, dtype=torch.uint8, device=self.device).random_() for _ in range(2))
        return float(2 * n / self.ms([lambda: b.copy_(a)])[0] * 1000)

    @cached_property
    def flops(self) -> float:
        """Floating-point operations a second of a large product in 16 bits."""
        n = self.pick(8192, 64)
        a, b = self.normal(n, n), self.normal(n, n)
        return float(2 * n**3 / self.ms([lambda: a @ b])[0] * 1000)

    def judged(self, value: str, got: Tensor, want: Tensor, dtype: torch.dtype | None = None) -> Row:
        """A value against the same in fp64, by its dtype's tolerance (or another's)."""
        if self.wrong:
            got, self.wrong = got + 1, False
        dtype = dtype or got.dtype
        difference = (got.double() - want).square().mean().sqrt()
        rms = float(difference / want.square().mean().sqrt())
        right = got.shape == want.shape and rms <= TOLERANCE[dtype]
        shown = rms if math.isfinite(rms) else str(rms)
        return {"value": value, "relative_rms": shown, "limit": TOLERANCE[dtype], "right": right}


def _interpreted(
    choose: Call, asked: Any, device: Any, offered: Any = ("plain", "triton"), keys: Any = None
) -> Any:
    """The choice of `shuhari.kernels.dispatch` as on a GPU."""
    if asked == "triton" or (asked is None and "triton" in offered):
        return "triton"
    return choose(asked, device, offered, keys)


def seconds(call: Call) -> float:
    """What a call takes until its results are there."""
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
