"""The language model as a player of games: it chooses among the legal moves by their probability."""

from collections.abc import Sequence

import numpy as np

from shuhari.envs.players import Probabilities
from shuhari.envs.types import Turn
from shuhari.policy.generator import Generator


class LMPlayer:
    """Samples a legal move (`temperature` 1) or takes the most probable one (0)."""

    def __init__(self, generator: Generator, temperature: float = 0.0) -> None:
        self.generator, self.temperature = generator, temperature

    def probabilities(self, turns: Sequence[Turn]) -> Probabilities:
        """The model's probabilities, renormalised over each turn's legal moves, at temperature 1."""
        return self.probabilities_and_mass(turns)[0]

    def probabilities_and_mass(self, turns: Sequence[Turn]) -> tuple[Probabilities, list[float]]:
        """The same, and how much probability the model gave to legal moves before renormalising."""
        scores = self.generator.score(
            [turn.observation for turn in turns], [turn.legal_actions for turn in turns]
        )
        raw = [np.exp(logprobs) for logprobs in scores]
        return [p / max(p.sum(), 1e-300) for p in raw], [float(p.sum()) for p in raw]

    def act(self, turns: Sequence[Turn]) -> list[str]:
        moves = []
        for turn, p in zip(turns, self.probabilities(turns), strict=True):
            if self.temperature == 0:
                moves.append(turn.legal_actions[int(p.argmax())])
            else:
                p = p ** (1 / self.temperature)
                moves.append(str(np.random.default_rng(turn.seed).choice(turn.legal_actions, p=p / p.sum())))
        return moves
