"""Players that know the rules: OpenSpiel's tree search, greedy gain, and perfect play."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyspiel

from shuhari.envs.games.graph import GameGraph, optimal_moves
from shuhari.envs.games.referee import Referee
from shuhari.envs.player import Floats, Player
from shuhari.envs.progress import counted
from shuhari.envs.types import Turn

UCT_C = 2.0  # OpenSpiel's own default exploration constant
RUNS = 64  # seeded searches, from which move frequencies are counted

# Move frequencies by number of simulations and state. They are the same in every run of a process.
_FREQUENCIES: dict[int, dict[str, Floats]] = {}


class MCTSPlayer(Player):
    """OpenSpiel's UCT (Kocsis & Szepesvári 2006) with one random rollout in each simulation."""

    def __init__(self, simulations: int) -> None:
        self.simulations = simulations

    def act(self, turns: Sequence[Turn]) -> list[str]:
        """One move for each turn, from a single search: a draw from what `probabilities` estimates."""
        moves = []
        for turn in turns:
            referee = Referee.deserialize(turn.state)
            action = self._search(referee, turn.seed)
            moves.append(referee.text.move(referee.state, action))
        return moves

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        """Move frequencies in `RUNS` seeded searches, which estimate the distribution of `act`."""
        return [self._search_often(turn.state) for turn in counted("positions", turns)]

    def _search_often(self, state: str) -> Floats:
        known = _FREQUENCIES.setdefault(self.simulations, {})
        if state not in known:
            referee = Referee.deserialize(state)
            legal = referee.state.legal_actions()
            counts = Counter(self._search(referee, seed) for seed in range(RUNS))
            known[state] = np.array([counts[action] / RUNS for action in legal])
        return known[state]

    def _search(self, referee: Referee, seed: int) -> int:
        """The action that one search ends with.

        `MCTSBot.step` is the same search, but lets go of Python's lock, and a game in Python then ends the
        process (OpenSpiel 2.0.2). With one simulation it has tried no move, and draws one.
        """
        if self.simulations == 1:
            return int(np.random.default_rng(seed).choice(referee.state.legal_actions()))
        evaluator = pyspiel.RandomRolloutEvaluator(1, seed)
        megabytes, solve, verbose = 100, False, False
        bot = pyspiel.MCTSBot(
            referee.game, evaluator, UCT_C, self.simulations, megabytes, solve, seed, verbose
        )
        return int(bot.mcts_search(referee.state).best_child().action)


class GainPlayer(Player):
    """Plays any of the moves with the largest immediate gain, for games that reward moves before the end."""

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


class EstimatePlayer(Player):
    """Looks one reply ahead by the `estimate` of a game's states; a share `noise` of its moves is random."""

    WON = 1e6  # the end of a game counts more than any estimate

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        found = []
        for turn in counted("positions", turns):
            state, sign = Referee.deserialize(turn.state).state, 1 - 2 * turn.seat
            values = np.array([self._value(state.child(a), turn.seat, sign) for a in state.legal_actions()])
            best = values == values.max()
            found.append((1 - self.noise) * best / best.sum() + self.noise / len(best))
        return found

    def _value(self, state: Any, seat: int, sign: int) -> float:
        """For `seat`, after the other seat's best reply."""
        if state.is_terminal() or state.current_player() == seat:
            return self._now(state, sign)
        return min(self._now(state.child(action), sign) for action in state.legal_actions())

    def _now(self, state: Any, sign: int) -> float:
        return sign * float(state.returns()[0] * self.WON if state.is_terminal() else state.estimate())


class PerfectPlayer(Player):
    """Plays any of the optimal moves, which are exact, by backward induction."""

    def __init__(self, graph: GameGraph) -> None:
        """`graph` must be fully expanded."""
        self._optimal = {
            turn.observation: optimal[: len(turn.legal_actions)] / optimal.sum()
            for turn, optimal in zip(graph.turns, optimal_moves(graph), strict=True)
            if turn.legal_actions
        }

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        return [self._optimal[turn.observation] for turn in turns]
