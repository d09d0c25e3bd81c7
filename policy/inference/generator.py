"""Prompts to completions: requests come in, completions come out as they end, and nothing is computed twice.

Requests wait until memory holds them. All that run make a step together: the samples of a prompt read its
keys and values once, and a request's samples depend on its own seed alone. Where keys and values lie and how
a step is made is an engine's business: `slabs.py` in rectangles (any processor, any model), `pool.py` in one
pool, by our kernels and captured in CUDA graphs.
"""

import math
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from shuhari.policy.inference.cpu_engine import SlabEngine
from shuhari.policy.inference.gpu_engine import PoolEngine
from shuhari.policy.inference.request import Choices, Completion, Drawn, Engine, Live, Request, only_way
from shuhari.policy.inference.sampler import spread, uniform
from shuhari.policy.policy import LEARNING, REMEMBERED, Policy, Tokens
from shuhari.policy.render import told_apart

MEMORY = 2**30  # bytes of keys and values on a CPU, unless told otherwise


def _memory(device: torch.device) -> int:
    if device.type != "cuda":
        return MEMORY
    return int(torch.cuda.get_device_properties(device).total_memory) // 4


class Generator:
    """Generates with one policy, with any of its adapters or (`adapter=None`) the base, all in one batch.

    `memory` bounds the bytes of keys and values (by default 1 GiB, or a quarter of a GPU's); requests wait
    where it would not do. `engine`: "pool" on a GPU where the model has the lean path, else "slabs".
    """

    def __init__(
        self, policy: Policy, memory: int | None = None, engine: Literal["slabs", "pool"] | None = None
    ) -> None:
        self.policy = policy
        name = engine or ("pool" if policy.device.type == "cuda" and policy.path == "lean" else "slabs")
        positions = (memory or _memory(policy.device)) // policy.bytes_per_position
        self.engine: Engine = (PoolEngine if name == "pool" else SlabEngine)(policy, positions)
        self._waiting: deque[Live] = deque()
        self._ended: list[tuple[int, Completion]] = []
        self._tickets = 0
        self._choices = lru_cache(REMEMBERED)(self._told_apart)
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
        """One completion of every prompt. One seed, one result."""
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
        live = Live(ticket, request, self._choices(request.choices))
        if request.explore:
            chance = uniform(np.full(2, request.seed, dtype=np.uint64), np.array([-1, -2]))
            live.place, live.rank = int(chance[0] * request.max_new_tokens), int(chance[1] * request.explore)
        if reason := self._refused(live):
            self._end(live, error=reason)
        else:
            self._waiting.append(live)
        return ticket

    def _told_apart(self, texts: tuple[str, ...]) -> Choices:
        return told_apart([self.policy.encode(text) for text in texts], self.policy.eos)

    def _refused(self, live: Live) -> str:
        request = live.request
        n, new = len(request.prompt), request.max_new_tokens
        if not self.fits(request.prompt, new) or new < 1:
            longest = self.policy.max_length
            return f"a prompt of {n} tokens and {new} new ones: the policy takes 1 to {longest} in all"
        if reason := self.engine.refuses(request):
            return reason
        if request.temperature < 0:
            return f"temperature {request.temperature}: must not be negative"
        if max(map(len, live.allowed), default=0) > new:
            return f"a choice is longer than max_new_tokens={new}"
        return ""

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or is still to be handed out."""
        return not (self._waiting or self._ended or len(self.engine))

    def step(self) -> list[tuple[int, Completion]]:
        """More tokens for everything that runs; tickets and completions of what has ended."""
        with self.policy.inference():
            for drawn in self.engine.admit(self._waiting):
                self._take(drawn)
            for drawn in self.engine.step():
                self._take(drawn)
        ended_now, self._ended = self._ended, []
        return ended_now

    def _take(self, drawn: Drawn) -> None:
        """Give requests what was drawn for them, and let go of those that it ended."""
        eos = self.policy.eos
        ended: dict[Live, None] = {}
        for tokens, logprobs in zip(drawn.tokens, drawn.logprobs, strict=True):
            for live, token, logprob in zip(drawn.lives, tokens, logprobs, strict=True):
                if ended and live in ended:
                    continue
                taken = live.tokens
                taken.append(token)
                live.logprobs.append(logprob)
                notable = token == eos or len(taken) == live.limit or live.watched or logprob != logprob
                if notable and self._is_over(live):
                    ended[live] = None
        if ended:
            self.engine.retire(list(ended))

    def _is_over(self, live: Live) -> bool:
        """Whether a request has ended with its last token; what it came to is then noted."""
        request, tokens = live.request, live.tokens
        if math.isnan(live.logprobs[-1]):
            self._end(live, error="the policy's logits are not finite")
            return True
        if live.allowed:
            if (rest := only_way(live.allowed, tuple(tokens))) is None:
                return False
            live.tokens += rest  # it has probability 1: no step is needed to find it
            live.logprobs += [0.0] * len(rest)
            self._end(live, finished=True, text=self._text_of(tuple(live.tokens)))
            return True
        finished, text = tokens[-1] == self.policy.eos, None
        if request.stop and not finished:
            text = self.policy.decode(tuple(tokens))
            cuts = [text.index(stop) for stop in request.stop if stop in text]
            finished = bool(cuts)
            text = text[: min(cuts, default=None)]
        if not finished and len(tokens) < request.max_new_tokens:
            return False
        self._end(live, finished=finished, text=text)
        return True

    def _end(self, live: Live, finished: bool = False, text: str | None = None, error: str = "") -> None:
        tokens = tuple(live.tokens)
        text = self.policy.decode(tokens) if text is None else text
        completion = Completion(tokens, tuple(live.logprobs), text, finished, error)
        self._ended.append((live.ticket, completion))
