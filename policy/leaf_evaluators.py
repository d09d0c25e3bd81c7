"""What scores the leaves of a tree search: a policy that says moves and outcomes, or random games."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator, outcome_turn
from shuhari.envs.player import Floats, Ints, Player

UNLIKELY = 1e-9  # the least prior probability of a legal move
OUTCOMES = 3  # the first seat wins, the second seat wins, a draw
Leaves = tuple[Floats, Floats]  # logits of moves [N, A], -inf where there is none; outcomes [N, 3]


class Evaluator(Protocol):
    """Scores positions that are not over. `version` changes when its answers may change."""

    @property
    def version(self) -> int: ...

    def __call__(self, positions: Positions) -> Leaves: ...


def outcomes_of(returns_NS: Floats) -> Floats:
    """Returns of two seats as outcomes [N, 3]: 1 for the one that came about."""
    first_N, second_N = returns_NS[:, 0], returns_NS[:, 1]
    return np.stack([first_N > second_N, first_N < second_N, first_N == second_N], axis=1).astype(np.float64)


def as_logits(priors: Sequence[Floats]) -> Floats:
    """Move probabilities of each position as logits [N, A]."""
    logits_NA = np.full((len(priors), max(map(len, priors))), -np.inf)
    for logits_A, prior in zip(logits_NA, priors, strict=True):
        logits_A[: len(prior)] = np.log(np.maximum(prior, UNLIKELY))
    return logits_NA


def widened(array: Floats, axis: int, size: int, fill: float) -> Floats:
    """The array with `size` entries along an axis, the new ones filled."""
    pad = [(0, size - array.shape[axis] if a == axis % array.ndim else 0) for a in range(array.ndim)]
    return np.pad(array, pad, constant_values=fill)


class PolicyAndValue:
    """The probabilities of a player's moves, and of what it says of who wins.

    A position is asked for its outcome as for a move, with `=` in place of `>`, and the answer is the name of
    the seat that wins, or `d`, a draw. So a value costs one more token, and the model stays as it is.
    """

    def __init__(self, simulator: Simulator, player: Player) -> None:
        self.simulator, self.player = simulator, player

    @property
    def version(self) -> int:
        return self.player.version

    def __call__(self, positions: Positions) -> Leaves:
        turns, outcomes = self.simulator.views(positions), self.simulator.outcomes
        # Both questions about a position stand side by side, so that a language model reads it once.
        answers = self.player.probabilities([q for t in turns for q in (t, outcome_turn(t, outcomes))])
        return as_logits(answers[::2]), np.array(answers[1::2])


class Remembered:
    """An evaluator of positions that are numbers, as a listed game's: each is scored once at each version."""

    def __init__(self, evaluate: Evaluator) -> None:
        self.evaluate, self._known_at = evaluate, evaluate.version
        self._known_P = np.zeros(0, dtype=bool)
        self._logits_PA, self._outcomes_PO = np.zeros((0, 1)), np.zeros((0, OUTCOMES))

    @property
    def version(self) -> int:
        return self.evaluate.version

    def __call__(self, positions: Positions) -> Leaves:
        if self.version != self._known_at:
            self._known_at = self.version
            self._known_P[:] = False
        if (most := int(positions.max()) + 1) > len(self._known_P):
            self._known_P = np.pad(self._known_P, (0, most - len(self._known_P)))
            self._logits_PA = widened(self._logits_PA, 0, most, -np.inf)
            self._outcomes_PO = widened(self._outcomes_PO, 0, most, 0.0)
        new: Ints = np.unique(positions[~self._known_P[positions]])
        if len(new):
            logits, self._outcomes_PO[new] = self.evaluate(new)
            width = max(logits.shape[1], self._logits_PA.shape[1])
            self._logits_PA = widened(self._logits_PA, 1, width, -np.inf)
            self._logits_PA[new] = widened(logits, 1, width, -np.inf)
            self._known_P[new] = True
        logits = self._logits_PA[positions]
        # As wide as these positions need: a search draws noise by the width, and must draw it alike after a
        # resume, whatever was seen before.
        width = int(np.isfinite(logits).sum(1).max())
        return logits[:, :width], self._outcomes_PO[positions]


class RandomRollouts:
    """An evaluator that has learned nothing: all moves alike, and the end of one random game."""

    version = 0

    def __init__(self, simulator: Simulator, rng: np.random.Generator) -> None:
        self.simulator, self.rng = simulator, rng

    def __call__(self, positions: Positions) -> Leaves:
        simulator, rng, current = self.simulator, self.rng, positions.copy()
        priors = [np.ones(len(turn.legal_actions)) for turn in simulator.views(positions)]
        while len(live := np.flatnonzero(simulator.seats(current) >= 0)):
            moves = [len(turn.legal_actions) for turn in simulator.views(current[live])]
            drawn = (rng.random(len(live)) * moves).astype(np.int64)
            current[live] = simulator.play(current[live], drawn, rng)
        return as_logits(priors), outcomes_of(simulator.returns(current))
