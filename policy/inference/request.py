"""What a generator is asked for and answers, and what it asks of an engine."""

from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from shuhari.policy.policy import LEARNING, Tokens

Choices = tuple[Tokens, ...]  # of which a completion is to be one; none begins another; empty: any text


@lru_cache(2**16)
def following(allowed: Choices, said: Tokens) -> frozenset[int]:
    """The tokens that may come next on the way to one of the allowed."""
    n = len(said)
    return frozenset(choice[n] for choice in allowed if choice[:n] == said)


@lru_cache(2**16)
def only_way(allowed: Choices, said: Tokens) -> Tokens | None:
    """What is left to say where just one of the allowed begins so, else None."""
    left = {choice for choice in allowed if choice[: len(said)] == said}
    return left.pop()[len(said) :] if len(left) == 1 else None


@dataclass(frozen=True, slots=True)
class Request:
    """One completion that is wanted.

    `temperature` 0 is greedy. `stop`: texts that end it, and are not part of its text. `choices`: it is to be
    one of these texts. With `explore`, one token at a random place is any of so many most probable: a policy
    that is sure of a mistake would hardly ever leave it by its own chances.
    """

    prompt: Tokens
    max_new_tokens: int
    temperature: float = 1.0
    seed: int = 0
    adapter: str | None = LEARNING
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    explore: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What a request came to; `tokens` end with the end-of-text token where that is what finished it."""

    tokens: Tokens
    logprobs: tuple[float, ...]  # nats, at the temperature sampled, among the allowed where choices are given
    text: str
    finished: bool  # False: it hit the token limit, or `error` says why there is none
    error: str = ""


@dataclass(eq=False, slots=True)
class Live:
    """A request under way."""

    ticket: int
    request: Request
    allowed: Choices  # what it must come to, where that is given
    place: int = -1  # of the token at which it explores
    rank: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    limit: int = field(init=False)
    watched: bool = field(init=False)  # whether more than end-of-text and the limit can end it

    def __post_init__(self) -> None:
        self.limit = self.request.max_new_tokens
        self.watched = bool(self.allowed or self.request.stop)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One or more tokens more for each of some requests, which may have ended before the last of them.

    tokens, logprobs: a list for each step, with an entry for each of `lives`
    """

    lives: list[Live]
    tokens: list[list[int]]
    logprobs: list[list[float]]


class Engine(Protocol):
    """Where running requests have their keys and values, and how they get their next tokens."""

    def refuses(self, request: Request) -> str:
        """Why memory can never hold a request, or ""."""
        ...

    def admit(self, waiting: deque[Live]) -> list[Drawn]:
        """Start requests from the left of the queue, as far as memory and the batch allow: first tokens."""
        ...

    def step(self) -> list[Drawn]:
        """Next tokens of all that run. What has been drawn must have been taken before, and retired."""
        ...

    def retire(self, lives: list[Live]) -> None:
        """These have ended: give back what they held."""
        ...

    def __len__(self) -> int:
        """Requests that run."""
        ...
