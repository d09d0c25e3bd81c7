"""Which requests run: in the order they came, as far as memory goes, and each prompt computed once."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from shuhari.policy.inference.memory_budget import MemoryBudget
from shuhari.policy.inference.prompt_cache import CachedPrompt, PromptCache
from shuhari.policy.inference.request import NewTokens, Request, RunningRequest
from shuhari.policy.policy import Policy

PREFILL = 32_768  # tokens of one forward pass over prompts


class Engine(Protocol):
    """Where keys and values lie, and how requests that run get their next tokens."""

    budget: MemoryBudget
    most_rows: int  # requests that may run at once

    def refuses(self, request: Request) -> str:
        """Why memory can never hold a request, or ""."""
        ...

    def take_prompt(self, prompt: CachedPrompt) -> bool:
        """Take memory for a prompt; whether there was enough."""
        ...

    def free_prompt(self, prompt: CachedPrompt) -> None:
        """Give it back."""
        ...

    def compute_prompts(self, adapter: str | None, prompts: list[CachedPrompt]) -> None:
        """Compute keys, values and logits of prompts for which memory has been taken."""
        ...

    def take_row(self, running: RunningRequest) -> bool:
        """Take memory for a request's completion; whether there was enough. `start` or nothing follows."""
        ...

    def start(self, adapter: str | None, group: list[RunningRequest]) -> None:
        """Let requests run whose prompts have been computed."""
        ...

    def draw_first(self, group: list[RunningRequest], logits_BV: Tensor) -> NewTokens:
        """First tokens, by the logits after their prompts."""
        ...

    def step(self) -> list[NewTokens]:
        """Next tokens of all that run; the last ones have been handed to them before."""
        ...

    def retire(self, ended: list[RunningRequest]) -> None:
        """Give back what these held for their completions."""
        ...

    def __len__(self) -> int:
        """Requests that run."""
        ...


class Scheduler:
    """Requests that wait or run on an engine."""

    def __init__(self, policy: Policy, engine: Engine) -> None:
        self.engine = engine
        self.prompts = PromptCache(policy, engine.budget, engine.free_prompt)
        self.waiting: deque[RunningRequest] = deque()

    def __len__(self) -> int:
        return len(self.waiting) + len(self.engine)

    def admit(self) -> list[NewTokens]:
        """Start requests that wait, as many as memory holds; their first tokens."""
        self.prompts.forget_stale()
        admitted: dict[str | None, list[RunningRequest]] = defaultdict(list)
        unknown: dict[str | None, list[CachedPrompt]] = defaultdict(list)
        free = self.engine.most_rows - len(self.engine)
        while self.waiting and free and self._take(self.waiting[0], unknown):
            running = self.waiting.popleft()
            admitted[running.request.adapter].append(running)
            free -= 1
        for adapter, prompts in unknown.items():
            for part in chunks(prompts, PREFILL):
                self.engine.compute_prompts(adapter, part)
        first = []
        for adapter, group in admitted.items():
            logits_BV = torch.cat([running.prompt.logits_1V for running in group])
            self.engine.start(adapter, group)
            first.append(self.engine.draw_first(group, logits_BV))
        return first

    def _take(self, running: RunningRequest, unknown: dict[str | None, list[CachedPrompt]]) -> bool:
        """Take memory for a request and, where nobody has, for its prompt; whether there was enough."""
        adapter, tokens = running.request.adapter, running.request.prompt
        prompt = self.prompts.read(adapter, tokens)
        if new := prompt is None:
            prompt = CachedPrompt(adapter, tokens, self.prompts)
            if not self.engine.take_prompt(prompt):
                return False
            self.prompts.add(prompt)
        if not self.engine.take_row(running):
            self.prompts.release(prompt)
            return False
        if new:
            unknown[adapter].append(prompt)
        running.prompt = prompt
        return True

    def step(self) -> list[NewTokens]:
        """Next tokens of all that run."""
        return self.engine.step()

    def retire(self, ended: list[RunningRequest]) -> None:
        """These have ended: others may have their memory."""
        self.engine.retire(ended)
        for running in ended:
            self.prompts.release(running.prompt)


def chunks(prompts: Sequence[CachedPrompt], most: int) -> Iterator[list[CachedPrompt]]:
    """Prompts in their order, as many at a time as have `most` tokens together; one at least."""
    chunk: list[CachedPrompt] = []
    total = 0
    for prompt in prompts:
        if chunk and total + len(prompt.tokens) > most:
            yield chunk
            chunk, total = [], 0
        chunk.append(prompt)
        total += len(prompt.tokens)
    if chunk:
        yield chunk
