"""The language model as a player of games: it chooses among the legal moves by their probability."""

from collections.abc import Callable, Sequence

import numpy as np

from shuhari.envs.player import Floats, Player
from shuhari.envs.types import Turn
from shuhari.policy.generator import Generator
from shuhari.policy.lm import LEARNING
from shuhari.policy.render import Renderer


class LMPlayer(Player):
    """A policy with one of its adapters, or (`adapter=None`) the bare base."""

    def __init__(self, generator: Generator, renderer: Renderer, adapter: str | None = LEARNING) -> None:
        self.generator, self.renderer, self.adapter = generator, renderer, adapter

    @property
    def version(self) -> int:  # type: ignore[override]
        return self.generator.policy.versions[self.adapter]

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        """The model's probabilities, renormalised over each turn's legal moves, at temperature 1."""
        return self.probabilities_and_mass(turns)[0]

    def probabilities_and_mass(self, turns: Sequence[Turn]) -> tuple[list[Floats], list[float]]:
        """The same, and how much probability the model gave to legal moves before renormalising."""
        prompts = [self.renderer.first(turn.observation) for turn in turns]
        choices = [self.renderer.choices(turn.legal_actions) for turn in turns]
        raw = [np.exp(logprobs) for logprobs in self.generator.score(prompts, choices, self.adapter)]
        return [p / max(p.sum(), 1e-300) for p in raw], [float(p.sum()) for p in raw]


Models = Callable[[str | None], LMPlayer]  # the player with an adapter, or (None) with the bare base
