"""Search by continuations: every legal move is valued by games that a policy plays on from it.

This is rollout policy improvement (Tesauro & Galperin 1996; Bertsekas 2013): acting on the values of a
policy's own continuations is at least as good as the policy, where the values are exact. All games run in
lockstep over a `Simulator`, so that the policy is asked once for each distinct situation and weight version.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Floats, Ints, Player, RandomPlayer, draw
from shuhari.envs.types import Turn

Table = Callable[[Ints], Floats]  # situations [N] to probabilities of their moves [N, A]


class PolicyTable:
    """A player's move probabilities in the situations of a simulator, [N, A], asked for on demand.

    They are forgotten when the player's version changes.
    """

    def __init__(self, simulator: Simulator, player: Player) -> None:
        self.simulator, self.player = simulator, player
        self._version = player.version
        self._table_SA = np.zeros((0, 0))
        self._known_S = np.zeros(0, dtype=bool)

    def __call__(self, situations: Ints) -> Floats:
        """Probabilities [len(situations), A]; rows of situations without a move are zero."""
        if self.player.version != self._version:
            self._version = self.player.version
            self._known_S[:] = False
        turns = self.simulator.turns
        S, A = self._table_SA.shape
        if len(turns) > S or self.simulator.width > A:
            self._table_SA = np.pad(self._table_SA, ((0, len(turns) - S), (0, self.simulator.width - A)))
            self._known_S = np.pad(self._known_S, (0, len(turns) - S))
        wanted = np.unique(situations)
        new = [s for s in wanted[~self._known_S[wanted]] if turns[s].legal_actions]
        if new:
            for situation, p in zip(new, self.player.probabilities([turns[s] for s in new]), strict=True):
                self._table_SA[situation, : len(p)] = p
            self._known_S[new] = True
        return self._table_SA[situations]


def play_out(simulator: Simulator, table: Table, positions: Positions, rng: np.random.Generator) -> Floats:
    """Every seat's return [N, seats] of one game from each position, moves drawn from `table`."""
    current = positions.copy()
    while len(live := np.flatnonzero(simulator.seats(current) >= 0)):
        situations, where = np.unique(simulator.situations(current[live]), return_inverse=True)
        moves = draw(table(situations)[where], rng.random(len(live)))
        current[live] = simulator.play(current[live], moves, rng)
    return simulator.returns(current)


def continuation_values(
    simulator: Simulator,
    table: Table,
    positions: Positions,
    continuations: int,
    rng: np.random.Generator,
) -> Floats:
    """The mover's mean return after each legal move of `positions`, [N, A]; -inf where there is no move.

    All seats go on by the table's probabilities. A position with m moves costs m · `continuations` games.
    """
    turns = [simulator.turns[s] for s in simulator.situations(positions)]
    moves_N = np.array([len(turn.legal_actions) for turn in turns])
    row, move = np.nonzero(np.arange(simulator.width) < moves_N[:, None])
    rows, moves = np.repeat(row, continuations), np.repeat(move, continuations)
    after = simulator.play(positions[rows], moves, rng)
    returns = play_out(simulator, table, after, rng)
    own = np.take_along_axis(returns, simulator.seats(positions)[rows][:, None], axis=1)
    values_NA = np.full((len(positions), simulator.width), -np.inf)
    values_NA[row, move] = own.reshape(-1, continuations).mean(1)
    return values_NA


class Situation(NamedTuple):
    """What games have shown of one situation.

    reach: the probability that its seat plays so that it can come up, by its own policy alone
    policy, values: probability and mean return of each legal move
    """

    reach: float
    policy: Floats
    values: Floats


def situation_values(
    simulator: Simulator, table: Table, games: int, continuations: int, rng: np.random.Generator
) -> dict[int, Situation]:
    """Every situation met in `games` games of two seats, with the mover's mean return after each legal move.

    In each game one seat moves at random, and its situations are valued. So rare situations are met too, and
    what is hidden in them is distributed as the other seat's play leaves it. From there all seats play on by
    the table, `continuations` times for each move.
    """
    current, uniform = simulator.start(games, rng), PolicyTable(simulator, RandomPlayer())
    explorer_N, reach_N = np.arange(games) % 2, np.ones(games)
    met: list[Positions] = []
    reached: dict[int, float] = {}
    while len(live := np.flatnonzero((seats_N := simulator.seats(current)) >= 0)):
        situations = simulator.situations(current[live])
        probabilities = table(situations)
        exploring = seats_N[live] == explorer_N[live]
        explorers, own = live[exploring], probabilities[exploring]
        # Who remembers what they did comes to a situation in one way only; else the last one met counts.
        reached |= zip(situations[exploring].tolist(), reach_N[explorers].tolist(), strict=True)
        probabilities[exploring] = uniform(situations[exploring])
        met.append(current[explorers])
        moves = draw(probabilities, rng.random(len(live)))
        reach_N[explorers] *= np.take_along_axis(own, moves[exploring][:, None], axis=1)[:, 0]
        current[live] = simulator.play(current[live], moves, rng)
    positions = np.concatenate(met)
    values = continuation_values(simulator, table, positions, continuations, rng)
    situations = simulator.situations(positions)
    distinct = np.unique(situations)
    found = {}
    for s, policy in zip(distinct.tolist(), table(distinct), strict=True):
        n = len(simulator.turns[s].legal_actions)
        found[s] = Situation(reached[s], policy[:n], values[situations == s].mean(0)[:n])
    return found


class TabularPlayer(Player):
    """Takes the move of highest value by a table of (seat, observation); the first move where it has none."""

    def __init__(self, values: dict[tuple[int, str], Floats]) -> None:
        self.values = values

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        found = [self.values.get((t.seat, t.observation), np.zeros(len(t.legal_actions))) for t in turns]
        return [np.eye(len(values))[values.argmax()] for values in found]
