"""Games between two players, all in lockstep."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Floats, Ints, Player
from shuhari.envs.progress import counting
from shuhari.rewards.statistics import wilson


def moves_of(player: Player, simulator: Simulator, positions: Positions, rng: np.random.Generator) -> Ints:
    """The player's move [N] at each position, by its number."""
    seeds = rng.integers(2**31, size=len(positions)).tolist()
    asked = zip(simulator.views(positions, whole=True), seeds, strict=True)
    turns = [replace(turn, seed=seed) for turn, seed in asked]
    said = zip(turns, player.act(turns), strict=True)
    return np.array([turn.legal_actions.index(move) for turn, move in said], dtype=np.int64)


def play_match(
    simulator: Simulator, players: tuple[Player, Player], positions: Positions, rng: np.random.Generator
) -> Floats:
    """The return of seat 0, where the first player sits, in one game from each position, [N]."""
    current = positions.copy()
    moves_N = np.zeros(len(current), dtype=np.int64)
    with counting("games", len(current)) as tell:
        while len(live := np.flatnonzero((seats_N := simulator.seats(current)) >= 0)):
            tell(len(current) - len(live))
            for seat, player in enumerate(players):
                movers = live[seats_N[live] == seat]
                if not len(movers):
                    continue
                moves_N[movers] = moves_of(player, simulator, current[movers], rng)
            current[live] = simulator.play(current[live], moves_N[live], rng)
    return np.asarray(simulator.returns(current)[:, 0])


def play_pairs(
    simulator: Simulator,
    player: Player,
    opponent: Player,
    openings: Positions,
    rng: Callable[[int], np.random.Generator],
) -> Floats:
    """The player's returns [2N]: from every opening in the first seat, then in the second.

    rng: gives the luck of the games in which the player has that seat
    """
    first = play_match(simulator, (player, opponent), openings, rng(0))
    second = play_match(simulator, (opponent, player), openings, rng(1))
    return np.concatenate([first, -second])


def points(returns: Floats) -> Floats:
    """A win is 1, a draw 1/2, whatever a game pays."""
    return np.asarray((1 + np.sign(returns)) / 2)


def tally(returns: Floats) -> dict[str, Any]:
    """Wins, draws and losses, and the score with its 95% interval, as in report.json."""
    wins, losses = int((returns > 0).sum()), int((returns < 0).sum())
    draws = len(returns) - wins - losses
    score = float(points(returns).mean())
    interval = wilson(score, len(returns))
    return {"wins": wins, "draws": draws, "losses": losses, "score": round(score, 4), "ci95": interval}
