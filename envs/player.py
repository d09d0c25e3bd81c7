"""Whoever sits in a seat: the promise every player keeps, the one place that draws a move, and wrappers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shuhari.envs.types import Turn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def draw(probabilities_NA: Floats, uniform_N: Floats) -> Ints:
    """One move [N] of each row's distribution, by inversion of uniform numbers in [0, 1).

    Rows need not sum to 1; what has no probability is never drawn.
    """
    cumulative_NA = probabilities_NA.cumsum(1)
    chosen_N = (cumulative_NA <= (uniform_N * cumulative_NA[:, -1])[:, None]).sum(1)
    # A product may round up to the total: the last move that has a probability is meant.
    last_N = probabilities_NA.shape[1] - 1 - (probabilities_NA[:, ::-1] > 0).argmax(1)
    return np.asarray(np.minimum(chosen_N, last_N))


class Player:
    """A policy, an expert, a random mover, a searcher, a human: subclass with `probabilities`.

    `version` changes whenever the player would answer otherwise: what was asked at another version is stale.
    """

    version: int = 0

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        """For each turn the probabilities of its legal actions, [len(legal_actions)], which sum to 1."""
        raise NotImplementedError

    def act(self, turns: Sequence[Turn]) -> list[str]:
        """One move a turn, drawn from the probabilities with the turn's own seed."""
        moves = []
        for turn, p in zip(turns, self.probabilities(turns), strict=True):
            uniform_1 = np.random.default_rng(turn.seed).random(1)
            moves.append(turn.legal_actions[int(draw(p[None], uniform_1)[0])])
        return moves


class RandomPlayer(Player):
    """Every legal move with the same probability."""

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        return [np.full(len(turn.legal_actions), 1 / len(turn.legal_actions)) for turn in turns]


class GreedyPlayer(Player):
    """The most probable move of another player, the first of equals: its mode.

    Greedy decoding of an imitator can reach the mode of a noisy expert for free, by denoising, so it and not
    the expert is the level to beat.
    """

    def __init__(self, player: Player) -> None:
        self.player = player

    @property
    def version(self) -> int:  # type: ignore[override]
        return self.player.version

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        return [np.eye(len(p))[p.argmax()] for p in self.player.probabilities(turns)]
