"""`Player`: what decides in a seat. Also how a move is drawn, and two simple players."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shuhari.envs.types import Turn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def draw(probabilities_NA: Floats, uniform_N: Floats) -> Ints:
    """One move [N] from each row's distribution, by inverting uniform random numbers in [0, 1).

    Rows need not sum to 1. A move with probability 0 is never drawn.
    """
    cumulative_NA = probabilities_NA.cumsum(1)
    chosen_N = (cumulative_NA <= (uniform_N * cumulative_NA[:, -1])[:, None]).sum(1)
    # If rounding makes the product reach the total, the last move with a probability is drawn.
    last_N = probabilities_NA.shape[1] - 1 - (probabilities_NA[:, ::-1] > 0).argmax(1)
    return np.asarray(np.minimum(chosen_N, last_N))


class Player:
    """A policy, an expert, a random player, a search: a subclass defines `probabilities`.

    `version` changes when the probabilities may change. Cached probabilities of another version are stale.
    """

    version: int = 0

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        """For each turn, the probabilities [len(legal_actions)] of its legal actions. They sum to 1."""
        raise NotImplementedError

    def act(self, turns: Sequence[Turn]) -> list[str]:
        """One move for each turn, drawn from the probabilities with the turn's seed."""
        moves = []
        for turn, p in zip(turns, self.probabilities(turns), strict=True):
            uniform_1 = np.random.default_rng(turn.seed).random(1)
            moves.append(turn.legal_actions[int(draw(p[None], uniform_1)[0])])
        return moves


class RandomPlayer(Player):
    """Gives every legal move the same probability."""

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        return [np.full(len(turn.legal_actions), 1 / len(turn.legal_actions)) for turn in turns]


class GreedyPlayer(Player):
    """Always plays another player's most probable move, the first of equal ones.

    Greedy decoding of an imitating policy can reach the mode of a noisy expert without any learning by
    self-play, so a policy must be better than the expert's mode.
    """

    def __init__(self, player: Player) -> None:
        self.player = player

    @property
    def version(self) -> int:  # type: ignore[override]
        return self.player.version

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        return [np.eye(len(p))[p.argmax()] for p in self.player.probabilities(turns)]
