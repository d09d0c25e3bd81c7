"""Published values: NashConv of uniform play and of Kuhn's equilibrium; counts and values of solved games."""

from collections.abc import Sequence

import numpy as np
import pytest

from shuhari.envs.graph import GameGraph, backward
from shuhari.envs.nash import information_turns, nash_conv
from shuhari.envs.players import RandomPlayer
from shuhari.envs.referee import Referee
from shuhari.envs.types import Turn


@pytest.mark.parametrize(
    ("game", "situations", "uniform"), [("kuhn_poker", 12, 0.917), ("leduc_poker", 936, 4.747)]
)
def test_uniform_play(game: str, situations: int, uniform: float) -> None:
    assert len(information_turns(game)) == situations
    assert nash_conv(game, RandomPlayer().probabilities) == pytest.approx(uniform, abs=1e-3)


# Chance of a bet (or a call) by card and what was done, in Kuhn's equilibrium with alpha = 1/3.
KUHN = {
    "J ": 1 / 3,
    "Q ": 0.0,
    "K ": 1.0,
    "J pb": 0.0,
    "Q pb": 2 / 3,
    "K pb": 1.0,
    "J p": 1 / 3,
    "Q p": 0.0,
    "K p": 1.0,
    "J b": 0.0,
    "Q b": 1 / 3,
    "K b": 1.0,
}


def equilibrium(turns: Sequence[Turn]) -> list[list[float]]:
    bets = [KUHN[turn.observation[:-3]] for turn in turns]
    return [[1 - bet, bet] for bet in bets]


def test_kuhns_equilibrium_cannot_be_exploited_and_is_worth_minus_one_eighteenth() -> None:
    assert nash_conv("kuhn_poker", equilibrium) == pytest.approx(0, abs=1e-9)

    def value(referee: Referee) -> float:
        if referee.over:
            return referee.returns[0]
        total = 0.0
        if referee.state.is_chance_node():
            branches = referee.state.chance_outcomes()
        else:
            ((passing, betting),) = equilibrium([Turn(referee.observation)])
            branches = [(0, passing), (1, betting)]
        for action, chance in branches:
            total += chance * value(Referee("kuhn_poker", referee.state.child(action)))
        return total

    assert value(Referee("kuhn_poker")) == pytest.approx(-1 / 18)


@pytest.mark.parametrize(
    ("game", "positions", "value"),
    [
        ("hex(board_size=3)", None, 1.0),  # the first player wins (Nash's strategy stealing)
        ("nim(pile_sizes=1;2;3)", None, -1.0),  # misere with nim-sum 0: the second player wins
        pytest.param("connect_four(rows=4,columns=4)", 161_029, 0.0, marks=pytest.mark.long),
    ],
)
def test_solved_games(game: str, positions: int | None, value: float) -> None:
    graph = GameGraph(Referee(game))
    graph.expand_all()
    if positions:
        assert len(graph) == positions
    assert np.isclose(backward(graph)[0], value)
