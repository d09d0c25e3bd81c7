"""What the two phases have in common."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass
class Counts:
    """What a phase has consumed so far."""

    updates: int = 0
    episodes: int = 0
    tokens: int = 0  # that entered a loss


class Phase(Protocol):
    """A loop of steps that can stop after any of them and go on from its state, bit for bit."""

    total: int  # steps, at most
    counts: Counts

    @property
    def done(self) -> bool: ...

    @property
    def steps(self) -> int:
        """Steps made so far."""
        ...

    def step(self) -> dict[str, float]:
        """Make one step; figures for TensorBoard."""
        ...

    def sample(self) -> str:
        """A recent episode, as text for a person."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
