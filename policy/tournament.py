"""Everyone against everyone: every opening from both seats, in every pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Floats, Player
from shuhari.envs.progress import counting
from shuhari.policy.match import play_pairs, points

CHUNK = 25  # openings that are played at once, so that there is progress to tell


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two players by their numbers, and the first's returns [games] against the second."""

    first: int
    second: int
    returns: Floats


def play_all(
    simulator: Simulator,
    players: Sequence[Player],
    openings: Positions,
    seed: int,
) -> list[Pairing]:
    """The games of every pair. seed: of all luck; each pair has its own."""
    met, pairs = [], list(combinations(range(len(players)), 2))
    with counting("games", 2 * len(openings) * len(pairs)) as tell:
        for number, (i, j) in enumerate(pairs):
            parts: list[Floats] = []
            for start in range(0, len(openings), CHUNK):
                tell(2 * (number * len(openings) + start))
                luck = partial(_luck, seed, number, start)
                some = openings[start : start + CHUNK]
                parts.append(play_pairs(simulator, players[i], players[j], some, luck))
            met.append(Pairing(i, j, np.concatenate(parts)))
    return met


def _luck(seed: int, pair: int, start: int, seat: int) -> np.random.Generator:
    return np.random.default_rng([seed, pair, start, seat])


def scores(met: Sequence[Pairing], players: int) -> Floats:
    """What each player has scored against each other one, [P, P]; a draw is half a win."""
    score_PP = np.zeros((players, players))
    for pair in met:
        won, n = float(points(pair.returns).sum()), len(pair.returns)
        score_PP[pair.first, pair.second], score_PP[pair.second, pair.first] = won, n - won
    return score_PP
