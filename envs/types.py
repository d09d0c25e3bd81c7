"""The nouns that cross floors: plain frozen data, no behaviour."""

from dataclasses import dataclass, field
from typing import Any, Literal

# Why an episode stopped. Failures are values: a crash or an overlong answer is an episode too.
StopReason = Literal["done", "truncated", "overlong", "error"]


@dataclass(frozen=True, slots=True)
class Trace:
    """What an expert wrote: one line `{"prompt": ..., "completion": ..., "turns"?: [[...], ...]}` of a file.

    `turns` are the observations and completions before this one, where the policy must remember them.
    """

    prompt: str
    completion: str
    turns: tuple[tuple[str, str], ...] = ()

    @property
    def task(self) -> str:
        """The first observation: what tells one problem from another."""
        return self.turns[0][0] if self.turns else self.prompt


@dataclass(frozen=True, slots=True)
class RankedPair:
    """Of two completions of a prompt, which is better."""

    prompt: str
    chosen: str
    rejected: str

    @property
    def task(self) -> str:
        """What tells one problem from another."""
        return self.prompt


@dataclass(frozen=True, slots=True)
class Turn:
    """What a player sees when it is asked to act."""

    observation: str
    legal_actions: tuple[str, ...] = ()  # empty: any text
    seat: int = 0
    state: str = ""  # the referee's serialized state, for players that search; "" where there is none
    seed: int = 0  # the player's only source of randomness: same turn and seed, same move


@dataclass(frozen=True, slots=True)
class Step:
    """One decision. Tokens are kept as sampled, never re-made from text; only language models have any."""

    seat: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    logprobs: tuple[float, ...]  # [len(completion)], nats, the sampler's own: the behaviour policy
    text: str
    reward: float  # the mover's, for this decision
    adapter: str | None = None  # that sampled it
    legal: tuple[str, ...] = ()  # the texts it was drawn among; empty: any text


@dataclass(frozen=True, slots=True)
class Episode:
    """What happened between one reset and its end."""

    seed: int
    steps: tuple[Step, ...]
    stop: StopReason
    returns: tuple[float, ...] = ()  # by seat: what each has earned in the whole episode
    counts: bool = True  # False: no verdict could be had; the learner must not see it
    info: dict[str, Any] = field(default_factory=dict)

    def reward(self, seat: int = 0) -> float:
        """What a seat has earned; 0 where the episode ended before it could."""
        return self.returns[seat] if seat < len(self.returns) else 0.0
