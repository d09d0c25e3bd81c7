"""Prompts to completions: requests come in, completions come out as they end, and nothing is computed twice.

All requests that run make a step together: the samples of a prompt read its keys and values once, and a
request's tokens depend on its own seed alone. The scheduler says which requests run. Where keys and values
lie and how a step is made is the engine's business: `cpu_engine.py` runs on any processor with any model,
`gpu_engine.py` with our kernels, captured in CUDA graphs.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from shuhari.policy.inference.cpu_engine import CPUEngine
from shuhari.policy.inference.gpu_engine import GPUEngine
from shuhari.policy.inference.request import (
    Completion,
    NewTokens,
    Request,
    RunningRequest,
    forced_rest,
)
from shuhari.policy.inference.sampler import spread, uniform
from shuhari.policy.inference.scheduler import Engine, Scheduler
from shuhari.policy.policy import LEARNING, REMEMBERED, Policy, Tokens

MEMORY = 2**30  # bytes on a CPU, unless told otherwise


def _memory(device: torch.device) -> int:
    if device.type != "cuda":
        return MEMORY
    return int(torch.cuda.get_device_properties(device).total_memory) // 4


class Generator:
    """Generates with one policy, with any of its adapters or (`adapter=None`) the base, all in one batch.

    memory: bytes of keys and values, remembered prompts, logits and captured steps (by default 1 GiB, or a
        quarter of a GPU's); requests wait where it would not do
    engine: "gpu" on a GPU where the model has the fused forward pass, else "cpu", which runs anywhere
    """

    def __init__(
        self, policy: Policy, memory: int | None = None, engine: Literal["cpu", "gpu"] | None = None
    ) -> None:
        self.policy = policy
        name = engine or ("gpu" if policy.device.type == "cuda" and policy.fused else "cpu")
        self.engine: Engine = (GPUEngine if name == "gpu" else CPUEngine)(
            policy, _memory(policy.device) if memory is None else memory
        )
        self.scheduler = Scheduler(policy, self.engine)
        self._ended: list[tuple[int, Completion]] = []
        self._tickets = 0
        self._text_of = lru_cache(REMEMBERED)(policy.decode)

    def fits(self, prompt: Tokens, max_new_tokens: int) -> bool:
        """Whether the context holds this prompt and so many new tokens."""
        return 0 < len(prompt) <= self.policy.max_length - max_new_tokens

    def generate(
        self,
        prompts: Sequence[Tokens],
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        explore: int = 0,
        adapter: str | None = LEARNING,
    ) -> list[Completion]:
        """One completion of every prompt. On one engine, one seed gives one result."""
        pairs = zip(prompts, spread(seed, len(prompts)), strict=True)
        return self.run(
            [Request(p, max_new_tokens, temperature, s, adapter, explore=explore) for p, s in pairs]
        )

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """Every request's completion, in their order."""
        tickets = [self.submit(request) for request in requests]
        found: dict[int, Completion] = {}
        while len(found) < len(tickets):
            found.update(self.step())
        return [found[ticket] for ticket in tickets]

    def submit(self, request: Request) -> int:
        """Queue a request; `step` will say under this ticket what came of it, an error included."""
        ticket, self._tickets = self._tickets, self._tickets + 1
        running = RunningRequest(ticket, request)
        if request.explore:
            chance = uniform(np.full(2, request.seed, dtype=np.uint64), np.array([-1, -2]))
            running.explore_at = int(chance[0] * request.max_new_tokens)
            running.explore_rank = int(chance[1] * request.explore)
        if reason := self._refused(running):
            self._end(running, error=reason)
        else:
            self.scheduler.waiting.append(running)
        return ticket

    def _refused(self, running: RunningRequest) -> str:
        request = running.request
        n, new = len(request.prompt), request.max_new_tokens
        if not self.fits(request.prompt, new) or new < 1:
            longest = self.policy.max_length
            return f"a prompt of {n} tokens and {new} new ones: the policy takes 1 to {longest} in all"
        if reason := self.engine.refuses(request):
            return reason
        if request.temperature < 0:
            return f"temperature {request.temperature}: must not be negative"
        if max(map(len, running.allowed), default=0) > new:
            return f"a choice is longer than max_new_tokens={new}"
        return ""

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or is still to be handed out."""
        return not (self._ended or len(self.scheduler))

    def step(self) -> list[tuple[int, Completion]]:
        """More tokens for everything that runs; tickets and completions of what has ended."""
        with self.policy.inference():
            for new in self.scheduler.admit():
                self._take(new)
            for new in self.scheduler.step():
                self._take(new)
        ended_now, self._ended = self._ended, []
        return ended_now

    def _take(self, new: NewTokens) -> None:
        """Give requests their new tokens, and let go of those that have ended with them."""
        ends = self.policy.ends
        ended: dict[RunningRequest, None] = {}
        for tokens, logprobs in zip(new.tokens, new.logprobs, strict=True):
            for running, token, logprob in zip(new.requests, tokens, logprobs, strict=True):
                if ended and running in ended:
                    continue
                taken = running.tokens
                taken.append(token)
                running.logprobs.append(logprob)
                may_end = token in ends or len(taken) == running.limit or logprob != logprob  # not a number
                if (may_end or running.watched) and self._is_over(running):
                    ended[running] = None
        if ended:
            self.scheduler.retire(list(ended))

    def _is_over(self, running: RunningRequest) -> bool:
        """Whether a request has ended with its last token; if so, its completion is noted."""
        request, tokens = running.request, running.tokens
        if math.isnan(running.logprobs[-1]):
            self._end(running, error="the policy's logits are not finite")
            return True
        if running.allowed:
            if (rest := forced_rest(running.allowed, tuple(tokens))) is None:
                return False
            running.tokens += rest  # it has probability 1: no step is needed to find it
            running.logprobs += [0.0] * len(rest)
            self._end(running, finished=True, text=self._text_of(tuple(running.tokens)))
            return True
        finished, text = tokens[-1] in self.policy.ends, None
        if request.stop and not finished:
            text = self.policy.decode(tuple(tokens))
            cuts = [text.index(stop) for stop in request.stop if stop in text]
            finished = bool(cuts)
            text = text[: min(cuts, default=None)]
        if not finished and len(tokens) < request.max_new_tokens:
            return False
        self._end(running, finished=finished, text=text)
        return True

    def _end(
        self, running: RunningRequest, finished: bool = False, text: str | None = None, error: str = ""
    ) -> None:
        tokens = tuple(running.tokens)
        text = self.policy.decode(tokens) if text is None else text
        completion = Completion(tokens, tuple(running.logprobs), text, finished, error)
        self._ended.append((running.ticket, completion))
