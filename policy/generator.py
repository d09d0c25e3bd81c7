"""Prompts to completions: requests come in, completions come out as they end, and nothing is computed twice.

Requests wait until memory holds them. All that run make a step together: the samples of a prompt read its
keys and values once (`kernels/shared.py`), and a request's samples depend on its own seed alone.
"""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shuhari.policy.choices import choice_rows, told_apart
from shuhari.policy.decode import Rows
from shuhari.policy.lm import LEARNING, Policy
from shuhari.policy.memory import Block, Memory, Tokens
from shuhari.policy.memory import room as room_for
from shuhari.policy.sampling import draw, spread, uniform

FEW = 4  # most probable tokens among which exploration chooses
MAX_ROWS = 1024  # rows of one forward pass; bounds memory, and the CPU's caches like it
MEMORY = 2**30  # bytes of keys and values, unless told otherwise


@dataclass(frozen=True, slots=True)
class Request:
    """One completion that is wanted.

    `temperature` 0 is greedy. `stop`: texts that end it, and are not part of its text. `choices`: it is to be
    one of these texts. With `explore`, one token at a random place is any of the most probable few: a policy
    that is sure of a mistake would hardly ever leave it by its own chances.
    """

    prompt: Tokens
    max_new_tokens: int
    temperature: float = 1.0
    seed: int = 0
    adapter: str | None = LEARNING
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    explore: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """What a request came to; `tokens` end with the end-of-text token where that is what finished it."""

    tokens: Tokens
    logprobs: tuple[float, ...]  # nats, at the temperature sampled, among the allowed where choices are given
    text: str
    finished: bool  # False: it hit the token limit, or `error` says why there is none
    error: str = ""


@dataclass(eq=False)
class _Live:
    """A request under way."""

    ticket: int
    request: Request
    allowed: list[Tokens]  # what it must come to, where that is given
    place: int = -1  # of the token at which it explores
    rank: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def watched(self) -> bool:
        """Whether more than end-of-text and the limit can end it."""
        return bool(self.allowed or self.request.stop)


class Generator:
    """Generates with one policy: with an adapter of its, or (`adapter=None`) with the bare base.

    `memory` bounds the bytes of keys and values; requests wait where it would not do.
    """

    def __init__(self, policy: Policy, adapter: str | None = LEARNING, memory: int = MEMORY) -> None:
        self.policy, self.adapter = policy, adapter
        self.memory = Memory(policy, memory // policy.bytes_per_position)
        self._encoded: dict[str, Tokens] = {}
        self._waiting: deque[_Live] = deque()
        self._rows: dict[str | None, Rows[_Live]] = {}
        self._ended: list[tuple[int, Completion]] = []
        self._tickets = 0

    def encode(self, text: str) -> Tokens:
        """Tokens of a prompt, remembered: rollouts ask for the same ones again and again."""
        if text not in self._encoded:
            self._encoded[text] = self.policy.encode(text)
        return self._encoded[text]

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
        explore: bool = False,
    ) -> list[Completion]:
        """One completion of every prompt. One seed, one result."""
        settings = {"temperature": temperature, "adapter": self.adapter, "explore": explore}
        seeds = spread(seed, len(prompts))
        return self.run(
            [
                Request(prompt, max_new_tokens, seed=s, **settings)  # type: ignore[arg-type]
                for prompt, s in zip(prompts, seeds, strict=True)
            ]
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
        live = _Live(ticket, request, [])
        if request.choices:
            live.allowed = told_apart([self.encode(text) for text in request.choices], self.policy.eos)
        if request.explore:
            chance = uniform(np.full(2, request.seed, dtype=np.uint64), np.array([-1, -2]))
            live.place, live.rank = int(chance[0] * request.max_new_tokens), int(chance[1] * FEW)
        if reason := self._refused(live):
            self._end(live, error=reason)
        else:
            self._waiting.append(live)
        return ticket

    def _refused(self, live: _Live) -> str:
        request = live.request
        n, new = len(request.prompt), request.max_new_tokens
        if not self.fits(request.prompt, new) or new < 1:
            longest = self.policy.max_length
            return f"a prompt of {n} tokens and {new} new ones: the policy takes 1 to {longest} in all"
        if room_for(n) + new > self.memory.budget:
            return f"{n} and {new} new tokens can never fit in a memory of {self.memory.budget} positions"
        if request.temperature < 0:
            return f"temperature {request.temperature}: must not be negative"
        if max(map(len, live.allowed), default=0) > new:
            return f"a choice is longer than max_new_tokens={new}"
        return ""

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or is still to be handed out."""
        return not (self._waiting or self._ended or any(map(len, self._rows.values())))

    @torch.no_grad()
    def step(self) -> list[tuple[int, Completion]]:
        """One token more for everything that runs; tickets and completions of what has ended."""
        self._admit()
        for rows in [rows for rows in self._rows.values() if len(rows)]:
            logits_BV = rows.step(torch.tensor([live.tokens[-1] for live in rows.owners]))
            self._retire(rows, self._sample(rows.owners, logits_BV))
        ended_now, self._ended = self._ended, []
        return ended_now

    def _admit(self) -> None:
        """Start waiting requests, in their order, as far as memory and the batch allow."""
        admitted: dict[str | None, list[_Live]] = defaultdict(list)
        blocks: dict[int, Block] = {}
        unknown: dict[str | None, dict[Tokens, list[_Live]]] = defaultdict(dict)
        longest: dict[str | None, int] = defaultdict(int)  # new tokens of one admitted
        room = MAX_ROWS - sum(map(len, self._rows.values()))
        while self._waiting and room:
            live = self._waiting[0]
            request, adapter = live.request, live.request.adapter
            rows = self._rows.setdefault(adapter, Rows(self.policy, adapter))
            asked = unknown[adapter]
            block = self.memory.find((adapter, request.prompt))
            if block is not None:
                block.users += 1  # from here on it cannot be forgotten
            before, new = len(admitted[adapter]), max(longest[adapter], request.max_new_tokens)
            planned = rows.would_hold(before, longest[adapter]) if before else rows.held
            more = rows.would_hold(before + 1, new) - planned
            prompt = 0 if block is not None or request.prompt in asked else room_for(len(request.prompt))
            if not self.memory.take(more + prompt):
                if block is not None:
                    self.memory.release(block)
                break
            self._waiting.popleft()
            room -= 1
            admitted[adapter].append(live)
            longest[adapter] = new
            if block is not None:
                blocks[live.ticket] = block
            else:
                asked.setdefault(request.prompt, []).append(live)
        for adapter, asked in unknown.items():
            for block in self.memory.compute(adapter, list(asked)):
                for live in asked[block.key[1]]:
                    block.users += 1
                    blocks[live.ticket] = block
        for adapter, lives in admitted.items():
            if lives:
                self._start(self._rows[adapter], lives, [blocks[live.ticket] for live in lives])

    def _start(self, rows: Rows[_Live], lives: list[_Live], blocks: list[Block]) -> None:
        """First tokens, from what the prompts' ends say; what goes on joins the rows."""
        rows.add(lives, blocks, max(live.request.max_new_tokens for live in lives))
        first = len(rows) - len(lives)
        logits_BV = torch.stack([block.slab.logits_NV[block.index] for block in blocks])
        self._retire(rows, [first + i for i in self._sample(lives, logits_BV)])

    def _retire(self, rows: Rows[_Live], ended: list[int]) -> None:
        """Rows that have ended give back what they held."""
        if ended:
            for row in ended:
                self.memory.release(rows.blocks[row])
            held = rows.held
            rows.remove(ended)
            self.memory.give(held - rows.held)

    def _sample(self, lives: Sequence[_Live], logits_BV: Tensor) -> list[int]:
        """Give every row its next token; the rows that it ended."""
        temperatures = [live.request.temperature for live in lives]
        temperature_B = torch.tensor(temperatures)
        scaled_BV = logits_BV.float()
        if set(temperatures) != {1.0}:
            scaled_BV = scaled_BV / torch.where(temperature_B > 0, temperature_B, 1.0)[:, None]
        for i in [i for i, live in enumerate(lives) if live.allowed]:
            tokens, allowed = lives[i].tokens, lives[i].allowed
            following = {a[len(tokens)] for a in allowed if list(a[: len(tokens)]) == tokens}
            hidden_V = torch.ones_like(scaled_BV[i], dtype=torch.bool)
            hidden_V[list(following)] = False
            scaled_BV = scaled_BV.index_copy(
                0, torch.tensor([i]), scaled_BV[i].masked_fill(hidden_V, -torch.inf)[None]
            )
        logprobs_BV = scaled_BV.log_softmax(-1)
        if any(temperatures):
            seeds = np.array([live.request.seed for live in lives], dtype=np.uint64)
            counters = np.array([len(live.tokens) for live in lives])
            chosen_B = draw(logprobs_BV, torch.from_numpy(uniform(seeds, counters)))
            if not all(temperatures):
                chosen_B = torch.where(temperature_B > 0, chosen_B, logprobs_BV.argmax(-1))
        else:
            chosen_B = logprobs_BV.argmax(-1)
        for i in [i for i, live in enumerate(lives) if live.place == len(live.tokens)]:
            chosen_B[i] = logprobs_BV[i].topk(FEW).indices[lives[i].rank]
        logprobs_B = logprobs_BV.gather(1, chosen_B[:, None])[:, 0]
        ended = []
        for i, (live, token, logprob) in enumerate(
            zip(lives, chosen_B.tolist(), logprobs_B.tolist(), strict=True)
        ):
            live.tokens.append(token)
            live.logprobs.append(logprob)
            plain = token != self.policy.eos and not live.watched and logprob == logprob
            if (not plain or len(live.tokens) == live.request.max_new_tokens) and self._is_over(live):
                ended.append(i)
        return ended

    def _is_over(self, live: _Live) -> bool:
        """Whether a request has ended with its last token; what it came to is then noted."""
        request, tokens = live.request, live.tokens
        if math.isnan(live.logprobs[-1]):
            self._end(live, error="the policy's logits are not finite")
            return True
        if live.allowed:
            if over := tuple(tokens) in live.allowed:
                self._end(live, finished=True)
            return over
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

    def _end(self, live: _Live, finished: bool = False, text: str | None = None, error: str = "") -> None:
        tokens = tuple(live.tokens)
        text = self.policy.decode(tokens) if text is None else text
        completion = Completion(tokens, tuple(live.logprobs), text, finished, error)
        self._ended.append((live.ticket, completion))

    @torch.no_grad()
    def score(
        self, prompts: Sequence[str], choices: Sequence[Sequence[str]]
    ) -> list[npt.NDArray[np.float64]]:
        """Log-probability, in nats, of every given text after its prompt (see `choice_rows`)."""
        result = [np.zeros(len(texts)) for texts in choices]
        rows = choice_rows(
            [self.encode(p) for p in prompts], [self.choice_tokens(texts) for texts in choices]
        )
        for group in rows:
            for start in range(0, len(group.tokens), MAX_ROWS):
                part = group.part(start, start + MAX_ROWS)
                logprobs = part.logprobs(self.policy, self.adapter).tolist()
                for prompt, choice, value in zip(part.prompt, part.choice, logprobs, strict=True):
                    result[prompt][choice] += value
        return result

    def choice_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of texts to choose among. Where one begins another, all end with end-of-text."""
        return told_apart([self.encode(text) for text in texts], self.policy.eos)
