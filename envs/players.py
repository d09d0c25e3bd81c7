"""Players that need no network: random, OpenSpiel's tree search, its mode, and perfect play."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyspiel

from shuhari.envs.graph import GameGraph, optimal_moves
from shuhari.envs.referee import Referee
from shuhari.envs.types import Turn

Probabilities = list[npt.NDArray[np.float64]]  # per turn: [len(legal_actions)], sums to 1
UCT_C = 2.0  # OpenSpiel's own default exploration constant


# What searches of (simulations, runs) found, by state: the same in every run of a process.
_FREQUENCIES: dict[tuple[int, int], dict[str, npt.NDArray[np.float64]]] = {}


class RandomPlayer:
    """Every legal move with the same probability."""

    def act(self, turns: Sequence[Turn]) -> list[str]:
        return [str(np.random.default_rng(turn.seed).choice(turn.legal_actions)) for turn in turns]

    def probabilities(self, turns: Sequence[Turn]) -> Probabilities:
        return [np.full(len(turn.legal_actions), 1 / len(turn.legal_actions)) for turn in turns]


class MCTSPlayer:
    """OpenSpiel's UCT (Kocsis & Szepesvári 2006) with one random rollout a simulation."""

    def __init__(self, simulations: int) -> None:
        self.simulations = simulations

    def act(self, turns: Sequence[Turn]) -> list[str]:
        moves = []
        for turn in turns:
            referee = Referee.deserialize(turn.state)
            action = self._bot(referee, turn.seed).step(referee.state)
            moves.append(referee.text.move(referee.state, action))
        return moves

    def probabilities(self, turns: Sequence[Turn], runs: int = 64) -> Probabilities:
        """Move frequencies over `runs` seeded searches: an estimate, not the exact distribution."""
        return [self._search_often(turn.state, runs) for turn in turns]

    def _search_often(self, state: str, runs: int) -> npt.NDArray[np.float64]:
        known = _FREQUENCIES.setdefault((self.simulations, runs), {})
        if state not in known:
            referee = Referee.deserialize(state)
            legal = referee.state.legal_actions()
            counts = Counter(self._bot(referee, seed).step(referee.state) for seed in range(runs))
            known[state] = np.array([counts[action] / runs for action in legal])
        return known[state]

    def _bot(self, referee: Referee, seed: int) -> pyspiel.MCTSBot:
        evaluator = pyspiel.RandomRolloutEvaluator(1, seed)
        megabytes, solve, verbose = 100, False, False
        return pyspiel.MCTSBot(
            referee.game, evaluator, UCT_C, self.simulations, megabytes, solve, seed, verbose
        )


class GreedyPlayer:
    """The move that earns most at once, for games that pay on the way; ties are drawn."""

    def act(self, turns: Sequence[Turn]) -> list[str]:
        moves = []
        for turn in turns:
            referee = Referee.deserialize(turn.state)
            earned = []
            for action in referee.state.legal_actions():
                after = referee.state.clone()
                after.apply_action(action)
                earned.append(after.returns()[turn.seat])
            best = [m for m, e in zip(turn.legal_actions, earned, strict=True) if e == max(earned)]
            moves.append(str(np.random.default_rng(turn.seed).choice(best)))
        return moves


class ModePlayer:
    """The most frequent move of a stochastic player over its seeded runs; ties go to the first move.

    Greedy decoding of an imitator can reach this level for free, by denoising, so it and not the noisy
    expert is the level to beat.
    """

    def __init__(self, player: MCTSPlayer) -> None:
        self.player = player  # it remembers its runs

    def probabilities(self, turns: Sequence[Turn]) -> Probabilities:
        return [np.eye(len(p))[p.argmax()] for p in self.player.probabilities(turns)]

    def act(self, turns: Sequence[Turn]) -> list[str]:
        tables = self.probabilities(turns)
        return [turn.legal_actions[int(table.argmax())] for turn, table in zip(turns, tables, strict=True)]


class PerfectPlayer:
    """Any of the moves that keep the game's value, each as likely: exact, by backward induction."""

    def __init__(self, graph: GameGraph) -> None:
        """`graph` is fully expanded."""
        self._optimal = {
            turn.observation: optimal[: len(turn.legal_actions)] / optimal.sum()
            for turn, optimal in zip(graph.turns, optimal_moves(graph), strict=True)
            if turn.legal_actions
        }

    def probabilities(self, turns: Sequence[Turn]) -> Probabilities:
        return [self._optimal[turn.observation] for turn in turns]

    def act(self, turns: Sequence[Turn]) -> list[str]:
        return [
            str(np.random.default_rng(turn.seed).choice(turn.legal_actions, p=p))
            for turn, p in zip(turns, self.probabilities(turns), strict=True)
        ]
