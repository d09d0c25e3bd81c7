"""A step of decoding for B rows, which reads and writes at fixed addresses: on a GPU a CUDA graph."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shuhari.kernels.decode import decode_attention
from shuhari.kernels.fused import rotate_and_append
from shuhari.kernels.reads import Reads
from shuhari.kernels.sampling import sample
from shuhari.policy.inference.key_value_pool import KeyValuePool
from shuhari.policy.inference.request import RunningRequest
from shuhari.policy.inference.sampler import seeds_of
from shuhari.policy.model.decode_step import decode_step


class CapturedStep:
    """A decode step of one adapter for plans of the same sizes. It runs the requests that are loaded.

    bytes: the memory that it keeps
    """

    def __init__(
        self,
        pool: KeyValuePool,
        adapter: str | None,
        like: Reads,
        graph_memory: Any,
        forget: Callable[[], None],
    ) -> None:
        """`like`: a plan of those sizes, of which no row is in use; `forget`: frees the step."""
        self.forget = forget
        policy, device, B = pool.policy, pool.policy.device, len(like.rows_B)
        self.reads = like.to(device)
        self.used_B = torch.zeros(B, dtype=torch.int32, device=device)
        self.tokens_B = torch.zeros(B, dtype=torch.int64, device=device)
        self.seeds_B, self.counters_B = self.tokens_B.clone(), self.tokens_B.clone()
        self.temperature_B = torch.zeros(B, dtype=torch.float32, device=device)
        self.logprobs_B = torch.zeros(B, dtype=torch.float32, device=device)
        self.logits_BV = torch.zeros(0)
        self.requests: list[RunningRequest] = []
        windows = {layer.window for layer in policy.weights(adapter).layers} - {None}
        seen = {None: self.reads} | {window: _other_ranges(self.reads) for window in windows}

        def step() -> None:
            w = policy.weights(adapter)  # on a GPU the same tensors each time
            self.reads.completion_length_B.add_(self.used_B)
            for window, narrowed in seen.items():
                if window is not None:
                    narrowed.narrow_(self.reads, window)

            def attend(i: int, qkv_BED: Tensor) -> Tensor:
                k_PHD, v_PHD = pool.keys[i], pool.values[i]
                norms = (w.layers[i].q_norm, w.layers[i].k_norm, w.eps)
                q_BHD = rotate_and_append(qkv_BED, w.cos_TD, w.sin_TD, k_PHD, v_PHD, self.reads, *norms)
                return decode_attention(q_BHD, k_PHD, v_PHD, seen[w.layers[i].window]).flatten(1)

            self.logits_BV = decode_step(w, self.tokens_B, attend)
            tokens_B, logprobs_B = sample(self.logits_BV, self.temperature_B, self.seeds_B, self.counters_B)
            self.tokens_B.copy_(tokens_B)
            self.logprobs_B.copy_(logprobs_B)
            self.counters_B.add_(self.used_B)

        self.run: Callable[[], None] = step
        columns = (self.used_B, self.tokens_B, self.seeds_B, self.counters_B, self.temperature_B)
        tensors = [x for reads in seen.values() for x in reads.tensors()] + [*columns, self.logprobs_B]
        self.bytes = B * policy.bytes_of_logits + sum(x.nbytes for x in tensors)
        if device.type == "cuda":
            reserved = torch.cuda.memory_reserved(device)
            self.run = _captured(step, device, graph_memory)
            self.bytes = max(self.bytes, torch.cuda.memory_reserved(device) - reserved)

    def load(self, reads: Reads, requests: Sequence[RunningRequest]) -> None:
        """Take over a plan and, in its first rows, the requests as they stand."""
        B, n = len(self.tokens_B), len(requests)
        self.requests = list(requests)
        self.reads.copy_(reads)
        for mine, values in (
            (self.used_B, [1] * n),
            (self.tokens_B, [r.tokens[-1] for r in requests]),
            (self.seeds_B, seeds_of(requests)),
            (self.counters_B, [len(r.tokens) for r in requests]),
            (self.temperature_B, [r.request.temperature for r in requests]),
        ):
            column_B = torch.zeros(B, dtype=mine.dtype)
            column_B[:n] = torch.as_tensor(values, dtype=mine.dtype)
            mine.copy_(column_B)

    def drop(self, ended: set[RunningRequest]) -> None:
        """Take rows out of use: their steps read and write nothing from now on."""
        places = [i for i, running in enumerate(self.requests) if running in ended]
        places_U = torch.tensor(places, dtype=torch.int64, device=self.used_B.device)
        for column_B in (self.used_B, self.reads.completion_length_B):
            column_B.index_fill_(0, places_U, 0)


def _other_ranges(reads: Reads) -> Reads:
    """The same work, with ranges of its own, which a window will narrow."""
    a, b, c, d = (x.clone() for x in reads.tensors()[:4])
    return replace(reads, prompt_start_B=a, prompt_length_B=b, completion_start_B=c, completion_length_B=d)


def _captured(step: Callable[[], None], device: torch.device, memory: Any) -> Callable[[], None]:
    """A CUDA graph of a step. It is run first, with no row in use: that compiles, and changes nothing.

    `memory`: what graphs that never run at once share between them.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(2):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=memory):
        step()
    return graph.replay
