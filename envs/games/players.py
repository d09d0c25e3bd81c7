"""Players that know the game: OpenSpiel's tree search, immediate gain, and perfect play."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyspiel

from shuhari.envs.games.graph import GameGraph, optimal_moves
from shuhari.envs.games.referee import Referee
from shuhari.envs.player import Floats, Player
from shuhari.envs.types import Turn

UCT_C = 2.0  # OpenSpiel's own default exploration constant
RUNS = 64  # seeded searches behind a frequency

# What searches of so many simulations found, by state: the same in every run of a process.
_FREQUENCIES: dict[int, dict[str, Floats]] = {}


class MCTSPlayer(Player):
    """OpenSpiel's UCT (Kocsis & Szepesvári 2006) with one random rollout a simulation."""

    def __init__(self, simulations: int) -> None:
        self.simulations = simulations

    def act(self, turns: Sequence[Turn]) -> list[str]:
        """One search is one draw from the very distribution that `probabilities` estimates by many."""
        moves = []
        for turn in turns:
            referee = Referee.deserialize(turn.state)
            action = self._bot(referee, turn.seed).step(referee.state)
            moves.append(referee.text.move(referee.state, action))
        return moves

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        """Move frequencies over `RUNS` seeded searches: an estimate, not the exact distribution."""
        return [self._search_often(turn.state) for turn in turns]

    def _search_often(self, state: str) -> Floats:
        known = _FREQUENCIES.setdefault(self.simulations, {})
        if state not in known:
            referee = Referee.deserialize(state)
            legal = referee.state.legal_actions()
            counts = Counter(self._bot(referee, seed).step(referee.state) for seed in range(RUNS))
            known[state] = np.array([counts[action] / RUNS for action in legal])
        return known[state]

    def _bot(self, referee: Referee, seed: int) -> pyspiel.MCTSBot:
        evaluator = pyspiel.RandomRolloutEvaluator(1, seed)
        megabytes, solve, verbose = 100, False, False
        return pyspiel.MCTSBot(
            referee.game, evaluator, UCT_C, self.simulations, megabytes, solve, seed, verbose
        )


class GainPlayer(Player):
    """The moves that earn most at once, each as likely, for games that pay on the way."""

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        found = []
        for turn in turns:
            state = Referee.deserialize(turn.state).state
            earned = []
            for action in state.legal_actions():
                after = state.clone()
                after.apply_action(action)
                earned.append(after.returns()[turn.seat])
            best = np.array(earned) == max(earned)
            found.append(best / best.sum())
        return found


class PerfectPlayer(Player):
    """Any of the moves that keep the game's value, each as likely: exact, by backward induction."""

    def __init__(self, graph: GameGraph) -> None:
        """`graph` is fully expanded."""
        self._optimal = {
            turn.observation: optimal[: len(turn.legal_actions)] / optimal.sum()
            for turn, optimal in zip(graph.turns, optimal_moves(graph), strict=True)
            if turn.legal_actions
        }

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        return [self._optimal[turn.observation] for turn in turns]
