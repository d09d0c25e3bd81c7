"""The nouns that cross floors: plain frozen data, no behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

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
class Turn:
    """What a player sees when it is asked to act."""

    observation: str
    legal_actions: tuple[str, ...] = ()  # empty: any text
    seat: int = 0
    state: str = ""  # the referee's serialized state, for players that search; "" where there is none
    seed: int = 0  # the player's only source of randomness: same turn and seed, same move


class Player(Protocol):
    """Whoever sits in a seat: a policy, an expert, a random mover, a searcher, a human."""

    def act(self, turns: Sequence[Turn]) -> list[str]:
        """One move per turn, batched."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One decision. Tokens are kept as sampled, never re-made from text."""

    seat: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    logprobs: tuple[float, ...]  # [len(completion)], nats, the sampler's own: the behaviour policy
    text: str
    reward: float


@dataclass(frozen=True, slots=True)
class Episode:
    """What happened between one reset and its end."""

    seed: int
    steps: tuple[Step, ...]
    stop: StopReason
    counts: bool = True  # False: no verdict could be had; the learner must not see it
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """The sum of the rewards."""
        return sum(step.reward for step in self.steps)
