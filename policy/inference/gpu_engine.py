"""The engine for a GPU: keys and values in one pool, a step by our kernels, captured in a CUDA graph.

A prompt is a range of positions that all its samples read, a request's own tokens are another. Rows stand in
slots; how many slots, splits and items of work there are is rounded up to few sizes, and each combination is
captured once. Where no request has to be looked at in between, several steps are made at a time, and then
their tokens read.

On a CPU it runs too, without graphs and by the kernels' definitions: so it is tested, not used there.
"""

from bisect import insort
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels.decode import decode_attention
from shuhari.kernels.fused import rotate_and_append
from shuhari.kernels.reads import Reads, plan
from shuhari.kernels.sampling import sample
from shuhari.kernels.segments import Segments
from shuhari.policy.inference.prompt_cache import PREFILL, packed_row, parts
from shuhari.policy.inference.request import Drawn, Live, Request
from shuhari.policy.inference.sampler import Sampler
from shuhari.policy.model.decode_step import decode_step
from shuhari.policy.policy import Policy, Tokens

MAX_ROWS = 1024
BURST = 8  # steps between two looks at the tokens, at most
Key = tuple[str | None, Tokens]  # adapter and prompt


class Ranges:
    """Contiguous ranges of a pool, first fit; what is given back joins its neighbours."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._gaps = [(0, size)] if size > 0 else []

    def take(self, n: int) -> int | None:
        """Where `n` free positions begin, which are taken, or None."""
        for i, (start, end) in enumerate(self._gaps):
            if end - start >= n:
                self._gaps[i : i + 1] = [(start + n, end)] if start + n < end else []
                self.free -= n
                return start
        return None

    def give(self, start: int, n: int) -> None:
        """Free a range that was taken."""
        if n:
            insort(self._gaps, (start, start + n))
            joined: list[tuple[int, int]] = []
            for gap in self._gaps:
                if joined and joined[-1][1] == gap[0]:
                    gap = (joined.pop()[0], gap[1])
                joined.append(gap)
            self._gaps, self.free = joined, self.free + n


@dataclass(eq=False)
class Prompt:
    """A prompt in the pool, how many requests read it, and the logits [1, V] after it."""

    key: Key
    start: int
    logits_1V: Tensor
    users: int = 0


@dataclass(eq=False)
class Row:
    """A running request: its prompt and its own range."""

    prompt: Prompt
    start: int


class Slots:
    """Everything that a step of B rows reads and writes, at fixed addresses, and the step."""

    def __init__(self, engine: "PoolEngine", adapter: str | None, like: Reads) -> None:
        device, B = engine.policy.device, len(like.rows_B)
        self.reads = like.to(device)
        self.used_B = torch.zeros(B, dtype=torch.int32, device=device)
        self.tokens_B = torch.zeros(B, dtype=torch.int64, device=device)
        self.seeds_B, self.counters_B = self.tokens_B.clone(), self.tokens_B.clone()
        self.temperature_B = torch.zeros(B, dtype=torch.float32, device=device)
        self.logprobs_B = torch.zeros(B, dtype=torch.float32, device=device)
        self.logits_BV = torch.zeros(0)
        self.lives: list[Live] = []
        windows = {layer.window for layer in engine.policy.weights(adapter).layers} - {None}
        seen = {None: self.reads} | {window: _ranges_apart(self.reads) for window in windows}

        def step() -> None:
            w = engine.policy.weights(adapter)  # on a GPU the same tensors each time
            self.reads.completion_length_B.add_(self.used_B)
            for window, narrowed in seen.items():
                if window is not None:
                    narrowed.narrow_(self.reads, window)

            def attend(i: int, qkv_BED: Tensor) -> Tensor:
                k_PHD, v_PHD = engine.keys[i], engine.values[i]
                norms = (w.layers[i].q_norm, w.layers[i].k_norm, w.eps)
                q_BHD = rotate_and_append(qkv_BED, w.cos_TD, w.sin_TD, k_PHD, v_PHD, self.reads, *norms)
                return decode_attention(q_BHD, k_PHD, v_PHD, seen[w.layers[i].window]).flatten(1)

            self.logits_BV = decode_step(w, self.tokens_B, attend)
            tokens_B, logprobs_B = sample(self.logits_BV, self.temperature_B, self.seeds_B, self.counters_B)
            self.tokens_B.copy_(tokens_B)
            self.logprobs_B.copy_(logprobs_B)
            self.counters_B.add_(self.used_B)

        self.step: Callable[[], None] = step
        if device.type == "cuda":
            self.step = _captured(step, device, engine.graph_memory)

    def load(self, reads: Reads, lives: Sequence[Live]) -> None:
        """Take over a plan and, in its first rows, the requests as they stand."""
        B, n = len(self.tokens_B), len(lives)
        self.lives = list(lives)
        self.reads.copy_(reads)
        for mine, values in (
            (self.used_B, [1] * n),
            (self.tokens_B, [live.tokens[-1] for live in lives]),
            (self.seeds_B, np.array([live.request.seed for live in lives], np.uint64).view(np.int64)),
            (self.counters_B, [len(live.tokens) for live in lives]),
            (self.temperature_B, [live.request.temperature for live in lives]),
        ):
            column_B = torch.zeros(B, dtype=mine.dtype)
            column_B[:n] = torch.as_tensor(values, dtype=mine.dtype)
            mine.copy_(column_B)

    def drop(self, lives: set[Live]) -> None:
        """Rows that are not in use any more: their steps read and write nothing."""
        places = [i for i, live in enumerate(self.lives) if live in lives]
        places_U = torch.tensor(places, dtype=torch.int64, device=self.used_B.device)
        for column_B in (self.used_B, self.reads.completion_length_B):
            column_B.index_fill_(0, places_U, 0)


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


class PoolEngine:
    """Requests in slots of a pool of `positions`; see `shuhari.policy.inference.request.Engine`."""

    def __init__(self, policy: Policy, positions: int) -> None:
        self.policy = policy
        self.ranges = Ranges(positions)
        self.keys: list[Tensor] = []  # per layer [positions, Hkv, D], made when first needed
        self.values: list[Tensor] = []
        self._prompts: OrderedDict[Key, Prompt] = OrderedDict()  # least recently used first
        self._rows: dict[str | None, dict[Live, Row]] = defaultdict(dict)
        self._slots: dict[tuple[object, ...], Slots] = {}
        self._loaded: dict[str | None, Slots] = {}  # whose state is that of the rows
        self._versions = dict(policy.versions)  # of the adapters, when last asked
        self.graph_memory = torch.cuda.graph_pool_handle() if policy.device.type == "cuda" else None

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def refuses(self, request: Request) -> str:
        n, new = len(request.prompt), request.max_new_tokens
        if n + new > self.ranges.size:
            return f"{n} and {new} new tokens can never fit in a memory of {self.ranges.size} positions"
        return ""

    def _take(self, n: int) -> int | None:
        """A range, for which prompts that nobody reads are forgotten, the least recently used first."""
        start = self.ranges.take(n)
        for unread in [p for p in self._prompts.values() if not p.users]:
            if start is not None:
                break
            self._forget(unread)
            start = self.ranges.take(n)
        return start

    def _forget(self, prompt: Prompt) -> None:
        """Not to be found any more; its range is free once nobody reads it."""
        del self._prompts[prompt.key]
        if not prompt.users:
            self.ranges.give(prompt.start, len(prompt.key[1]))

    def admit(self, waiting: deque[Live]) -> list[Drawn]:
        self._allocate()
        if self.policy.versions != self._versions:
            before, self._versions = self._versions, dict(self.policy.versions)
            changed = {name for name, version in self._versions.items() if before.get(name) != version}
            for stale in [p for p in self._prompts.values() if p.key[0] in changed]:
                self._forget(stale)
        admitted: dict[str | None, list[Live]] = defaultdict(list)
        unknown: list[Prompt] = []
        while waiting and len(self) < MAX_ROWS:
            live = waiting[0]
            key = (live.request.adapter, live.request.prompt)
            prompt: Prompt | None = self._prompts.get(key)
            if prompt is None:
                if (start := self._take(len(key[1]))) is None:
                    break
                prompt = self._prompts[key] = Prompt(key, start, torch.zeros(0))
                unknown.append(prompt)
            self._prompts.move_to_end(key)
            prompt.users += 1  # from here on it cannot be forgotten
            if (own := self._take(live.request.max_new_tokens)) is None:
                prompt.users -= 1
                if not prompt.users and prompt in unknown:
                    unknown.remove(prompt)
                    self._forget(prompt)
                break
            waiting.popleft()
            self._rows[key[0]][live] = Row(prompt, own)
            admitted[key[0]].append(live)
        self._prefill(unknown)
        drawn = []
        for adapter, lives in admitted.items():
            self._loaded.pop(adapter, None)
            logits_BV = torch.cat([self._rows[adapter][live].prompt.logits_1V for live in lives])
            drawn.append(self._draw(lives, logits_BV))
        return drawn

    def _allocate(self) -> None:
        if not self.keys:
            config = self.policy.model.config
            heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            D = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            shape, dtype, device = (self.ranges.size, heads, D), self.policy.kv_dtype, self.policy.device
            for layers in (self.keys, self.values):
                for _ in range(config.num_hidden_layers):
                    layers.append(torch.empty(shape, dtype=dtype, device=device))

    def _prefill(self, prompts: Sequence[Prompt]) -> None:
        """Compute prompts, packed, straight into their ranges."""
        by_adapter: dict[str | None, list[Prompt]] = defaultdict(list)
        for prompt in prompts:
            by_adapter[prompt.key[0]].append(prompt)
        for adapter, group in by_adapter.items():
            for part in parts(group, [len(p.key[1]) for p in group], PREFILL):
                self._prefill_part(adapter, part)

    def _prefill_part(self, adapter: str | None, prompts: Sequence[Prompt]) -> None:
        texts, device = [prompt.key[1] for prompt in prompts], self.policy.device
        segments = Segments.pack([len(text) for text in texts], [-1] * len(texts), device)
        there = np.concatenate([np.arange(p.start, p.start + len(p.key[1])) for p in prompts])
        there_N = torch.from_numpy(there).to(device)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
            for pool, new in ((self.keys[layer], k), (self.values[layer], v)):
                pool[there_N] = new[0].transpose(0, 1)
            return packed_row(q, k, v, segments, window)

        tokens_1N = torch.tensor([[token for text in texts for token in text]], device=device)
        ends_N = segments.starts_M1.long()[1:] - 1
        logits_NV = self.policy.logits(tokens_1N, ends_N, adapter, attend, segments.positions_N[None])[0]
        for i, prompt in enumerate(prompts):
            prompt.logits_1V = logits_NV[i : i + 1]

    def _draw(self, lives: list[Live], logits_BV: Tensor) -> Drawn:
        """First tokens."""
        seeds_B = torch.from_numpy(np.array([live.request.seed for live in lives], np.uint64).view(np.int64))
        temperature_B = torch.tensor([live.request.temperature for live in lives], dtype=torch.float32)
        device = logits_BV.device
        seeds_B, temperature_B = seeds_B.to(device), temperature_B.to(device)
        tokens_B, logprobs_B = sample(logits_BV, temperature_B, seeds_B, torch.zeros_like(seeds_B))
        drawn = Drawn(lives, [tokens_B.tolist()], [logprobs_B.tolist()])
        _redraw(drawn, logits_BV, list(range(len(lives))))
        return drawn

    def step(self) -> list[Drawn]:
        return [self._step(adapter, rows) for adapter, rows in self._rows.items() if rows]

    def _step(self, adapter: str | None, rows: dict[Live, Row]) -> Drawn:
        slots = self._loaded.get(adapter)
        if slots is None or 2 * len(rows) <= len(slots.used_B):
            slots = self._loaded[adapter] = self._load(adapter, list(rows))
        places, lives = zip(*((i, live) for i, live in enumerate(slots.lives) if live in rows), strict=True)
        self.policy.weights(adapter)  # an update goes into the tensors that were captured
        watched = any(_special(live) or live.request.stop for live in lives)
        left = min(live.request.max_new_tokens - len(live.tokens) for live in lives)
        steps = []
        for _ in range(1 if watched else min(left, BURST)):
            slots.step()
            steps.append((slots.tokens_B.clone(), slots.logprobs_B.clone()))
        columns = (torch.stack(column).tolist() for column in zip(*steps, strict=True))
        drawn = Drawn(list(lives), *([[row[i] for i in places] for row in column] for column in columns))
        if redrawn := _redraw(drawn, slots.logits_BV, places):
            places_U = torch.tensor([places[i] for i in redrawn], device=self.policy.device)
            tokens_U = torch.tensor([drawn.tokens[0][i] for i in redrawn], device=self.policy.device)
            slots.tokens_B.index_copy_(0, places_U, tokens_U)
        return drawn

    def _load(self, adapter: str | None, lives: list[Live]) -> Slots:
        """Slots of the next larger sizes, with these requests in them."""
        rows = [self._rows[adapter][live] for live in lives]
        prompts = list({row.prompt: None for row in rows})
        number = {prompt: n for n, prompt in enumerate(prompts)}
        slots = _rounded(len(lives), 1)
        unused = [-1] * (slots - len(lives))
        config, dtype = self.policy.model.config, self.policy.kv_dtype
        capacity = _rounded(max(live.request.max_new_tokens for live in lives), 64)
        given = (
            [*(number[row.prompt] for row in rows), *unused],
            [prompt.start for prompt in prompts],
            [len(prompt.key[1]) for prompt in prompts],
            [*(row.start for row in rows), *unused],
            [*(len(live.tokens) - 1 for live in lives), *([0] * len(unused))],
            capacity,
            config.num_attention_heads // self.keys[0].shape[1],
            self.keys[0].shape[2],
            dtype,
        )
        # Within a window rows of one prompt read different parts of it.
        windows = any(layer.window for layer in self.policy.weights(adapter).layers)
        reads = plan(*given, shared=False if windows else None)
        items, splits = len(reads.work_W4), _rounded(reads.splits, 1)
        work = _rounded(items, 1)
        reads = replace(reads, work_W4=F.pad(reads.work_W4, (0, 0, 0, work - items)), splits=splits)
        key = (adapter, slots, work, splits, capacity)
        if key not in self._slots:
            self._slots[key] = Slots(self, adapter, _empty(reads))
        self._slots[key].load(reads, lives)
        return self._slots[key]

    def retire(self, lives: list[Live]) -> None:
        for slots in self._loaded.values():
            slots.drop(set(lives))
        for live in lives:
            row = self._rows[live.request.adapter].pop(live)
            self.ranges.give(row.start, live.request.max_new_tokens)
            row.prompt.users -= 1
            if not row.prompt.users and self._prompts.get(row.prompt.key) is not row.prompt:
                self.ranges.give(row.prompt.start, len(row.prompt.key[1]))


def _special(live: Live) -> bool:
    """Whether its next token must be drawn on the host: seed and temperature do not say all."""
    return bool(live.allowed) or live.place >= len(live.tokens)


def _redraw(drawn: Drawn, logits_BV: Tensor, places: Sequence[int]) -> list[int]:
    """Draw on the host, of the one step drawn, what must be; which of the requests those are."""
    chosen = [i for i, live in enumerate(drawn.lives) if _special(live)]
    if chosen:
        rows_U = torch.tensor([places[i] for i in chosen], device=logits_BV.device)
        tokens, logprobs = Sampler([drawn.lives[i] for i in chosen])(logits_BV[rows_U].cpu())
        for i, token, logprob in zip(chosen, tokens, logprobs, strict=True):
            drawn.tokens[0][i], drawn.logprobs[0][i] = token, logprob
    return chosen


def _ranges_apart(reads: Reads) -> Reads:
    """The same work, of ranges that will be others."""
    a, b, c, d = (x.clone() for x in reads.tensors()[:4])
    return replace(reads, prompt_start_B=a, prompt_length_B=b, completion_start_B=c, completion_length_B=d)


def _rounded(n: int, least: int) -> int:
    """The next power of two."""
    return max(least, 1 << (n - 1).bit_length())


def _empty(reads: Reads) -> Reads:
    """The same sizes, with no row in use."""
    empty = reads.to("cpu")
    for lengths_B in (empty.prompt_length_B, empty.completion_length_B):
        lengths_B.zero_()
    return empty
