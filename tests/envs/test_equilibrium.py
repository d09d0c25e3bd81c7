"""Equilibria and NashConv against published values of Kuhn and Leduc poker."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from shuhari.envs.games.equilibrium import NoisyEquilibriumPlayer, information_turns, mean_return, nash_conv
from shuhari.envs.games.referee import Referee
from shuhari.envs.player import Player, RandomPlayer
from shuhari.envs.types import Turn


@pytest.mark.parametrize(
    ("game", "situations", "uniform"), [("kuhn_poker", 12, 0.917), ("leduc_poker", 936, 4.747)]
)
def test_uniform_play(game: str, situations: int, uniform: float) -> None:
    assert len(information_turns(game)) == situations
    assert nash_conv(game, RandomPlayer()) == pytest.approx(uniform, abs=1e-3)


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


class Equilibrium(Player):
    def probabilities(self, turns: Sequence[Turn]) -> list[Any]:
        bets = [KUHN[turn.observation[:-3]] for turn in turns]
        return [np.array([1 - bet, bet]) for bet in bets]


def test_kuhns_equilibrium_cannot_be_exploited_and_is_worth_minus_one_eighteenth() -> None:
    assert nash_conv("kuhn_poker", Equilibrium()) == pytest.approx(0, abs=1e-9)

    def value(referee: Referee) -> float:
        if referee.over:
            return referee.returns[0]
        total = 0.0
        if referee.state.is_chance_node():
            branches = referee.state.chance_outcomes()
        else:
            ((passing, betting),) = Equilibrium().probabilities([Turn(referee.observation)])
            branches = [(0, passing), (1, betting)]
        for action, chance in branches:
            total += chance * value(Referee("kuhn_poker", referee.state.child(action)))
        return total

    assert value(Referee("kuhn_poker")) == pytest.approx(-1 / 18)


def test_the_noisy_equilibrium_and_what_it_wins() -> None:
    perfect = NoisyEquilibriumPlayer("kuhn_poker", 0.0)
    noisy = NoisyEquilibriumPlayer("kuhn_poker", 0.5)
    assert nash_conv("kuhn_poker", perfect) < 0.005
    assert 0.2 < nash_conv("kuhn_poker", noisy) < 0.6
    assert nash_conv("kuhn_poker", NoisyEquilibriumPlayer("kuhn_poker", 1.0)) == pytest.approx(
        0.917, abs=1e-3
    )
    assert mean_return("kuhn_poker", perfect, perfect) == pytest.approx(0)
    won = mean_return("kuhn_poker", perfect, noisy)
    assert won > 0.05
    assert mean_return("kuhn_poker", noisy, perfect) == pytest.approx(-won)


def test_a_game_too_large_to_walk_is_refused() -> None:
    with pytest.raises(MemoryError, match="too many to walk"):
        information_turns("liars_dice")
