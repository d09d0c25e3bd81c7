"""The engine for any processor and any model: keys and values in rectangles, attention by torch."""

from collections import defaultdict

from torch import Tensor

from shuhari.policy.inference import cpu_prompts
from shuhari.policy.inference.cpu_prompts import rounded
from shuhari.policy.inference.cpu_rows import Rows, drawn
from shuhari.policy.inference.memory_budget import MemoryBudget
from shuhari.policy.inference.prompt_cache import CachedPrompt
from shuhari.policy.inference.request import NewTokens, Request, RunningRequest
from shuhari.policy.inference.sampler import Sampler
from shuhari.policy.policy import Policy


class CPUEngine:
    """Rows of requests, one set of rows for each adapter; see `shuhari.policy.inference.scheduler.Engine`."""

    most_rows = 1024  # of one forward pass: they are to stay in the processor's caches

    def __init__(self, policy: Policy, memory: int) -> None:
        self.policy, self.budget = policy, MemoryBudget(memory)
        self._rows: dict[str | None, Rows] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def refuses(self, request: Request) -> str:
        n, new = len(request.prompt), request.max_new_tokens
        needed = self._prompt_bytes(n) + new * self.policy.bytes_per_position
        if needed > self.budget.size:
            return (
                f"{n} and {new} new tokens need {needed:,} bytes, and memory for keys and values is "
                f"{self.budget.size:,}"
            )
        return ""

    def _prompt_bytes(self, length: int) -> int:
        return rounded(length) * self.policy.bytes_per_position + self.policy.bytes_of_logits

    def take_prompt(self, prompt: CachedPrompt) -> bool:
        return self.budget.take(self._prompt_bytes(len(prompt.tokens)))

    def free_prompt(self, prompt: CachedPrompt) -> None:
        n = 1
        if prompt.place is not None:
            batch = prompt.place.batch
            batch.prompts -= 1
            n = 0 if batch.prompts else len(batch)  # a batch goes as a whole
        self.budget.give(n * self._prompt_bytes(len(prompt.tokens)))

    def compute_prompts(self, adapter: str | None, prompts: list[CachedPrompt]) -> None:
        cpu_prompts.compute(self.policy, adapter, prompts)

    def take_row(self, running: RunningRequest) -> bool:
        request = running.request
        if request.adapter not in self._rows:
            self._rows[request.adapter] = Rows(self.policy, request.adapter)
        rows = self._rows[request.adapter]
        if not self.budget.take(rows.growth(request.max_new_tokens) * self.policy.bytes_per_position):
            return False
        rows.expect(request.max_new_tokens)
        return True

    def start(self, adapter: str | None, group: list[RunningRequest]) -> None:
        self._rows[adapter].add(group)

    def draw_first(self, group: list[RunningRequest], logits_BV: Tensor) -> NewTokens:
        return drawn(Sampler(group), logits_BV)

    def step(self) -> list[NewTokens]:
        return [rows.step() for rows in self._rows.values() if len(rows)]

    def retire(self, ended: list[RunningRequest]) -> None:
        by_adapter: dict[str | None, set[RunningRequest]] = defaultdict(set)
        for running in ended:
            by_adapter[running.request.adapter].add(running)
        for adapter, gone in by_adapter.items():
            rows = self._rows[adapter]
            held = rows.held
            rows.remove([i for i, running in enumerate(rows.requests) if running in gone])
            self.budget.give((held - rows.held) * self.policy.bytes_per_position)
