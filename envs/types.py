"""The data types that environments, policies and loops share: frozen dataclasses."""

from dataclasses import dataclass, field
from typing import Any, Literal

# Why an episode ended. A crash, or an answer that is too long, ends an episode too.
StopReason = Literal["done", "truncated", "overlong", "error"]


@dataclass(frozen=True, slots=True)
class Trace:
    """One completion of an expert.

    `turns` are the observations and completions before it, if the policy must remember the episode.
    `instructions` are the system's, where the trace has its own; None: the environment's. `where` is the
    trace's place in a file, "FILE:LINE", or "".
    """

    prompt: str
    completion: str
    turns: tuple[tuple[str, str], ...] = ()
    instructions: str | None = None
    where: str = field(default="", compare=False)

    @property
    def task(self) -> str:
        """The first observation, which identifies the problem."""
        return self.turns[0][0] if self.turns else self.prompt


@dataclass(frozen=True, slots=True)
class RankedPair:
    """Two completions of a prompt, of which `chosen` is the better one. The rest is as in a Trace."""

    prompt: str
    chosen: str
    rejected: str
    turns: tuple[tuple[str, str], ...] = ()
    instructions: str | None = None
    where: str = field(default="", compare=False)

    @property
    def task(self) -> str:
        """The first observation, which identifies the problem."""
        return self.turns[0][0] if self.turns else self.prompt


@dataclass(frozen=True, slots=True)
class Turn:
    """What a player sees when it must act."""

    observation: str
    legal_actions: tuple[str, ...] = ()  # empty: any text is allowed
    seat: int = 0
    state: str = ""  # the serialized state of the game, for players that search; "" if it must not be seen
    seed: int = 0  # the player's only source of randomness: the same turn and seed give the same move


@dataclass(frozen=True, slots=True)
class Step:
    """One decision in an episode. Only a language model's has tokens, which are kept as sampled."""

    seat: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    logprobs: tuple[float, ...]  # [len(completion)], nats, of the sampler, which is the behaviour policy
    text: str
    reward: float  # of the seat that moved, for this decision
    adapter: str | None = None  # the adapter that sampled it
    legal: tuple[str, ...] = ()  # the texts that were allowed; empty: any text


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode, from reset to its end."""

    seed: int
    steps: tuple[Step, ...]
    stop: StopReason
    returns: tuple[float, ...] = ()  # by seat: the sum of its rewards
    counts: bool = True  # False: there is no verdict, so the learner must not see the episode
    info: dict[str, Any] = field(default_factory=dict)

    def reward(self, seat: int = 0) -> float:
        """The return of a seat; 0 if the episode ended before the seat moved."""
        return self.returns[seat] if seat < len(self.returns) else 0.0
