"""The engine for a GPU: keys and values in one pool, a step by our kernels, captured in a CUDA graph.

All samples of a prompt read its range of the pool; each completion has a range of its own. How many rows,
splits and items of work a step has is rounded up to few sizes; each combination is captured once, and
remembered. Where no request has to be looked at in between, several steps are made before their tokens are
read.

It also runs on a CPU, without graphs and by the kernels' definitions; this is for tests.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels.reads import Reads, plan
from shuhari.kernels.sampling import sample
from shuhari.policy.inference.captured_step import CapturedStep
from shuhari.policy.inference.key_value_pool import KeyValuePool
from shuhari.policy.inference.memory_budget import MemoryBudget
from shuhari.policy.inference.prefill import prefill
from shuhari.policy.inference.prompt_cache import CachedPrompt
from shuhari.policy.inference.request import NewTokens, Request, RunningRequest
from shuhari.policy.inference.sampler import Sampler, seeds_of
from shuhari.policy.policy import Policy

POOL = 0.75  # share of the memory that the pool takes; logits and captured steps share the rest
MOST_ROWS = 1024
COLUMNS = 1024  # bytes of a row in a step, beside its logits
BURST = 8  # steps between two looks at the tokens, at most
Sizes = tuple[str | None, int, int, int, int]  # adapter, rows, items of work, splits, tokens of a completion


class GPUEngine:
    """Requests in the rows of captured steps; see `shuhari.policy.inference.scheduler.Engine`."""

    def __init__(self, policy: Policy, memory: int) -> None:
        self.policy, self.budget = policy, MemoryBudget(memory)
        self.pool = KeyValuePool(policy, int(POOL * memory) // policy.bytes_per_position)
        self.budget.charge(self.pool.ranges.size * policy.bytes_per_position)
        # A row needs logits after its prompt, and those of its step, which has up to twice as many rows.
        rows = (memory - self.budget.used) // (3 * policy.bytes_of_logits + COLUMNS)
        self.most_rows = min(MOST_ROWS, _power_of_two(rows + 1) // 2)
        self._rows: dict[str | None, dict[RunningRequest, int]] = defaultdict(dict)  # where completions start
        self.captured: dict[Sizes, CapturedStep] = {}
        self.loaded: dict[str | None, CapturedStep] = {}  # whose state is that of the rows
        self.graph_memory = torch.cuda.graph_pool_handle() if policy.device.type == "cuda" else None

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def refuses(self, request: Request) -> str:
        n, new, size = len(request.prompt), request.max_new_tokens, self.pool.ranges.size
        if not self.most_rows or n + new > size:
            return f"{n} and {new} new tokens do not fit in a memory of {self.budget.size:,} bytes"
        return ""

    def take_prompt(self, prompt: CachedPrompt) -> bool:
        if not self.budget.take(self.policy.bytes_of_logits):
            return False
        prompt.place = self._take_range(len(prompt.tokens))
        if prompt.place is None:
            self.budget.give(self.policy.bytes_of_logits)
        return prompt.place is not None

    def free_prompt(self, prompt: CachedPrompt) -> None:
        self.pool.ranges.give(prompt.place, len(prompt.tokens))
        self.budget.give(self.policy.bytes_of_logits)

    def _take_range(self, n: int) -> int | None:
        return self.budget.attempt(lambda: self.pool.ranges.take(n), CachedPrompt)

    def take_row(self, running: RunningRequest) -> bool:
        start = self._take_range(running.request.max_new_tokens)
        if start is not None:
            self._rows[running.request.adapter][running] = start
        return start is not None

    def compute_prompts(self, adapter: str | None, prompts: list[CachedPrompt]) -> None:
        self.pool.allocate()
        there = np.concatenate([np.arange(p.place, p.place + len(p.tokens)) for p in prompts])
        there_N = torch.from_numpy(there).to(self.policy.device)
        logits_NV, _ = prefill(
            self.policy, adapter, prompts, lambda layer, k, v: self.pool.write(layer, there_N, k, v)
        )
        for i, prompt in enumerate(prompts):
            prompt.logits_1V = logits_NV[i : i + 1].clone()  # each is freed for itself
            prompt.computed = True

    def start(self, adapter: str | None, group: list[RunningRequest]) -> None:
        self._unload(adapter)

    def draw_first(self, group: list[RunningRequest], logits_BV: Tensor) -> NewTokens:
        device = logits_BV.device
        temperatures = [running.request.temperature for running in group]
        temperature_B = torch.tensor(temperatures, dtype=torch.float32, device=device)
        seeds_B = seeds_of(group).to(device)
        tokens_B, logprobs_B = sample(logits_BV, temperature_B, seeds_B, torch.zeros_like(seeds_B))
        new = NewTokens(group, [tokens_B.tolist()], [logprobs_B.tolist()])
        _redraw(new, logits_BV, list(range(len(group))))
        return new

    def step(self) -> list[NewTokens]:
        return [self._step(adapter, list(rows)) for adapter, rows in self._rows.items() if rows]

    def _step(self, adapter: str | None, running: list[RunningRequest]) -> NewTokens:
        step = self.loaded.get(adapter)
        if step is None or 2 * len(running) <= len(step.used_B):
            step = self.load(adapter, running)
        rows = self._rows[adapter]
        places = [i for i, request in enumerate(step.requests) if request in rows]
        requests = [step.requests[i] for i in places]
        self.policy.weights(adapter)  # an update goes into the tensors that were captured
        watched = any(_special(r) or r.request.stop for r in requests)
        left = min(r.limit - len(r.tokens) for r in requests)
        tokens: list[Tensor] = []
        logprobs: list[Tensor] = []
        for _ in range(1 if watched else min(left, BURST)):
            step.run()
            tokens.append(step.tokens_B.clone())
            logprobs.append(step.logprobs_B.clone())
        tokens_TB, logprobs_TB = torch.stack(tokens).tolist(), torch.stack(logprobs).tolist()
        new = NewTokens(
            requests,
            [[token_B[i] for i in places] for token_B in tokens_TB],
            [[logprob_B[i] for i in places] for logprob_B in logprobs_TB],
        )
        if redrawn := _redraw(new, step.logits_BV, places):
            places_U = torch.tensor([places[i] for i in redrawn], device=self.policy.device)
            tokens_U = torch.tensor([new.tokens[0][i] for i in redrawn], device=self.policy.device)
            step.tokens_B.index_copy_(0, places_U, tokens_U)
        return new

    def load(self, adapter: str | None, running: list[RunningRequest]) -> CapturedStep:
        """The step of the next larger sizes, with these requests in it."""
        self._unload(adapter)
        reads, capacity = self._plan(adapter, running)
        sizes = (adapter, len(reads.rows_B), len(reads.work_W4), reads.splits, capacity)
        if sizes in self.captured:
            self.budget.recall(self.captured[sizes])
        else:
            step = CapturedStep(
                self.pool, adapter, _empty(reads), self.graph_memory, partial(self._forget_step, sizes)
            )
            self.captured[sizes] = step
            self.budget.charge(step.bytes)
        step = self.loaded[adapter] = self.captured[sizes]
        step.load(reads, running)
        return step

    def _unload(self, adapter: str | None) -> None:
        if (step := self.loaded.pop(adapter, None)) is not None:
            step.requests = []  # they would keep their prompts' logits
            self.budget.remember(step)

    def _forget_step(self, sizes: Sizes) -> None:
        self.budget.give(self.captured.pop(sizes).bytes)

    def _plan(self, adapter: str | None, running: list[RunningRequest]) -> tuple[Reads, int]:
        """What these requests read, padded to sizes that come again, and the most tokens of a completion."""
        starts = self._rows[adapter]
        prompts = list(dict.fromkeys(r.prompt for r in running))
        number = {prompt: n for n, prompt in enumerate(prompts)}
        unused = [-1] * (_power_of_two(len(running)) - len(running))
        capacity = _power_of_two(max(r.limit for r in running), 64)
        # Within a window rows of one prompt read different parts of it.
        windows = any(layer.window for layer in self.policy.weights(adapter).layers)
        reads = plan(
            [*(number[r.prompt] for r in running), *unused],
            [prompt.place for prompt in prompts],
            [len(prompt.tokens) for prompt in prompts],
            [*(starts[r] for r in running), *unused],
            [*(len(r.tokens) - 1 for r in running), *([0] * len(unused))],
            capacity,
            self.policy.heads // self.policy.kv_heads,
            self.policy.head_dim,
            self.policy.kv_dtype,
            shared=False if windows else None,
        )
        items = len(reads.work_W4)
        padded_W4 = F.pad(reads.work_W4, (0, 0, 0, _power_of_two(items) - items))
        return replace(reads, work_W4=padded_W4, splits=_power_of_two(reads.splits)), capacity

    def retire(self, ended: list[RunningRequest]) -> None:
        for step in self.loaded.values():
            step.drop(set(ended))
        for running in ended:
            start = self._rows[running.request.adapter].pop(running)
            self.pool.ranges.give(start, running.limit)
        for adapter in [adapter for adapter in self.loaded if not self._rows[adapter]]:
            self._unload(adapter)


def _special(running: RunningRequest) -> bool:
    """Whether its next token must be drawn on the host: seed and temperature do not say all."""
    return bool(running.allowed) or running.explore_at >= len(running.tokens)


def _redraw(new: NewTokens, logits_BV: Tensor, places: Sequence[int]) -> list[int]:
    """Draw tokens of a single step again where that needs the host; the numbers of those requests."""
    chosen = [i for i, running in enumerate(new.requests) if _special(running)]
    if chosen:
        rows_U = torch.tensor([places[i] for i in chosen], device=logits_BV.device)
        tokens, logprobs = Sampler([new.requests[i] for i in chosen])(logits_BV[rows_U].cpu())
        for i, token, logprob in zip(chosen, tokens, logprobs, strict=True):
            new.tokens[0][i], new.logprobs[0][i] = token, logprob
    return chosen


def _power_of_two(n: int, least: int = 1) -> int:
    """The next one, from n on."""
    return max(least, 1 << (n - 1).bit_length())


def _empty(reads: Reads) -> Reads:
    """The same sizes, with no row in use."""
    empty = reads.to("cpu")
    for lengths_B in (empty.prompt_length_B, empty.completion_length_B):
        lengths_B.zero_()
    return empty
