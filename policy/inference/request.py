"""What a generator is asked for, what it answers, and a request while it runs."""

from dataclasses import dataclass, field
from functools import lru_cache

from shuhari.policy.inference.prompt_cache import CachedPrompt
from shuhari.policy.policy import LEARNING, Tokens

Choices = tuple[Tokens, ...]  # the completions that are allowed; none begins another; empty: any


@lru_cache(2**16)
def next_allowed(allowed: Choices, so_far: Tokens) -> frozenset[int]:
    """The tokens that may come next, so that the completion can still become one of the allowed ones."""
    n = len(so_far)
    return frozenset(choice[n] for choice in allowed if choice[:n] == so_far)


@lru_cache(2**16)
def forced_rest(allowed: Choices, so_far: Tokens) -> Tokens | None:
    """The tokens that must follow where only one of the allowed completions begins like this, else None."""
    left = {choice for choice in allowed if choice[: len(so_far)] == so_far}
    return left.pop()[len(so_far) :] if len(left) == 1 else None


@dataclass(frozen=True, slots=True)
class Request:
    """One completion that is wanted.

    temperature: 0 takes the most probable token at each step
    stop: texts that end the completion, and are not part of its text
    choices: the completion is to be one of these, as a renderer gives them; empty: any
    explore: k > 0 replaces one token, at a random place, by one of the k most probable there, drawn evenly; a
        policy that is sure of a mistake would hardly ever leave it by sampling
    """

    prompt: Tokens
    max_new_tokens: int
    temperature: float = 1.0
    seed: int = 0
    adapter: str | None = LEARNING
    stop: tuple[str, ...] = ()
    choices: Choices = ()
    explore: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to a request. `tokens` end with the end-of-text token where that is what finished it."""

    tokens: Tokens
    logprobs: tuple[float, ...]  # nats, at the temperature sampled, among the allowed where choices are given
    text: str
    finished: bool  # False: it reached the token limit, or `error` says why there is no completion
    error: str = ""


@dataclass(eq=False, slots=True)
class RunningRequest:
    """A request that waits or runs.

    allowed: what its completion must be one of; empty: any
    explore_at: the number of the token at which it explores; -1: none
    explore_rank: which of the most probable tokens it takes there, the first being 0
    prompt: where its prompt is in memory, once it runs
    tokens, logprobs: of its completion so far
    """

    ticket: int
    request: Request
    explore_at: int = -1
    explore_rank: int = 0
    prompt: CachedPrompt = field(init=False)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    allowed: Choices = field(init=False)
    limit: int = field(init=False)  # tokens that it may have
    watched: bool = field(init=False)  # whether more than end-of-text and the limit can end it

    def __post_init__(self) -> None:
        self.allowed, self.limit = self.request.choices, self.request.max_new_tokens
        self.watched = bool(self.allowed or self.request.stop)


@dataclass(frozen=True, slots=True)
class NewTokens:
    """The next tokens of some requests, one step or several. A request may have ended before the last step.

    tokens, logprobs: a list for each step, with an entry for each of `requests`
    """

    requests: list[RunningRequest]
    tokens: list[list[int]]
    logprobs: list[list[float]]
