"""Games with hidden information: equilibria, and how far a policy is from one (NashConv, two seats)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyspiel

from shuhari.envs.games.referee import Referee
from shuhari.envs.player import Floats, Player
from shuhari.envs.types import Turn

MOST_STATES = 100_000  # of a game tree that can be enumerated; Leduc poker has 9,457
ITERATIONS = 200  # of CFR+


class Unsolved(ValueError):
    """No equilibrium can be found, because OpenSpiel has no information states for the game."""


@lru_cache(maxsize=4)
def information_turns(game: str) -> dict[str, tuple[Turn, tuple[int, ...]]]:
    """Every information state by OpenSpiel's string for it: the turn that its seat sees, and its legal
    actions.

    Raises MemoryError for a game with more than `MOST_STATES` states, Unsolved if there are no such strings.
    """
    if not Referee(game).game.get_type().provides_information_state_string:
        raise Unsolved(
            f"{game}: OpenSpiel gives it no information-state string, only observations, so no equilibrium "
            "is known: it can be played and checked, not trained or measured; take kuhn_poker or leduc_poker"
        )
    found: dict[str, tuple[Turn, tuple[int, ...]]] = {}
    todo, states = [Referee(game).state], 0
    while todo:
        state = todo.pop()
        states += 1
        if states + len(todo) > MOST_STATES:
            raise MemoryError(
                f"{game}: more than {MOST_STATES:,} states, too many to walk: it can be played and checked, "
                "not trained or measured; take fewer cards, dice or rounds"
            )
        if state.is_terminal():
            continue
        if not state.is_chance_node():
            name = state.information_state_string(state.current_player())
            if name not in found:
                referee = Referee(game, state)
                found[name] = (referee.turn(), tuple(state.legal_actions()))
        todo += [state.child(action) for action in state.legal_actions()]
    return found


@lru_cache(maxsize=4)
def equilibrium(game: str) -> dict[tuple[int, str], npt.NDArray[np.float64]]:
    """An equilibrium's move probabilities by seat and observation, from `ITERATIONS` of CFR+ (Tammelin 2014).

    The result is certain to be an equilibrium only in zero-sum games of two seats.
    """
    turns = information_turns(game)
    solver = pyspiel.CFRPlusSolver(Referee(game).game)
    for _ in range(ITERATIONS):
        solver.evaluate_and_update_policy()
    average = solver.average_policy()
    return {
        (turn.seat, turn.observation): np.array([average.action_probabilities(name)[a] for a in actions])
        for name, (turn, actions) in turns.items()
    }


class NoisyEquilibriumPlayer(Player):
    """Plays an equilibrium, except for a share `noise` of random legal moves."""

    def __init__(self, game: str, noise: float) -> None:
        self.game, self.noise = game, noise

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        known = equilibrium(self.game)
        tables = [known[turn.seat, turn.observation] for turn in turns]
        return [(1 - self.noise) * p + self.noise / len(p) for p in tables]


def _tabular(game: str, player: Player) -> dict[str, list[tuple[int, float]]]:
    """The player's probabilities in the form that OpenSpiel takes."""
    turns = information_turns(game)
    tables = player.probabilities([turn for turn, _ in turns.values()])
    return {
        name: [(action, float(p)) for action, p in zip(actions, table, strict=True)]
        for (name, (_, actions)), table in zip(turns.items(), tables, strict=True)
    }


def nash_conv(game: str, player: Player) -> float:
    """NashConv: the sum of each seat's gain by a best response; 0 in an equilibrium (Lanctot et al. 2017).

    OpenSpiel computes it over the whole game tree.
    """
    return float(pyspiel.nash_conv(Referee(game).game, _tabular(game, player)))


def mean_return(game: str, own: Player, other: Player) -> float:
    """The exact mean return of `own` against `other`, over both seats."""
    start = Referee(game).state
    tables = [pyspiel.PartialTabularPolicy(_tabular(game, p)) for p in (own, other)]
    first = pyspiel.expected_returns(start, tables, -1, True)[0]
    second = pyspiel.expected_returns(start, tables[::-1], -1, True)[1]
    return float(first + second) / 2
