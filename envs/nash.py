"""How far from an equilibrium is a policy? NashConv of two-player games that hide something."""

from collections.abc import Callable, Sequence

import numpy.typing as npt
import pyspiel

from shuhari.envs.referee import Referee
from shuhari.envs.types import Turn

Probabilities = Callable[[Sequence[Turn]], Sequence[npt.ArrayLike]]


def information_turns(game: str) -> dict[str, tuple[Turn, tuple[int, ...]]]:
    """Every situation of a seat, by OpenSpiel's name for it: the turn it sees, and its legal actions."""
    found: dict[str, tuple[Turn, tuple[int, ...]]] = {}
    todo = [Referee(game).state]
    while todo:
        state = todo.pop()
        if state.is_terminal():
            continue
        if not state.is_chance_node():
            name = state.information_state_string(state.current_player())
            if name not in found:
                referee = Referee(game, state)
                turn = Turn(referee.observation, referee.legal_actions, referee.seat)
                found[name] = (turn, tuple(state.legal_actions()))
        todo += [state.child(action) for action in state.legal_actions()]
    return found


def nash_conv(game: str, probabilities: Probabilities) -> float:
    """What both seats together could win by answering best: the sum of their gains, 0 in an equilibrium.

    `probabilities` gives, per turn, one probability for each of its legal actions. The whole game tree is
    walked, by OpenSpiel (Lanctot et al. 2017 for the measure).
    """
    turns = information_turns(game)
    tables = probabilities([turn for turn, _ in turns.values()])
    policy = {
        name: [(action, float(p)) for action, p in zip(actions, table, strict=True)]  # type: ignore[arg-type]
        for (name, (_, actions)), table in zip(turns.items(), tables, strict=True)
    }
    return float(pyspiel.nash_conv(pyspiel.load_game(game), policy))
