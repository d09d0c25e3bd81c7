"""Self-play where something is hidden: values of moves, and whether it finds Kuhn poker's equilibrium."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from shuhari.envs.nash import nash_conv
from shuhari.envs.players import RandomPlayer
from shuhari.envs.types import Turn
from shuhari.loops.config import SearchConfig
from shuhari.loops.hidden_selfplay import HiddenSelfplay, action_values
from shuhari.policy.generator import Generator
from shuhari.policy.lm import Policy

KUHN = "kuhn_poker"


def test_values_of_moves_against_random_play() -> None:
    values = action_values(
        KUHN, RandomPlayer().probabilities, games=12_000, continuations=1, rng=np.random.default_rng(0)
    )
    assert len(values) == 12
    found = {turn.observation: value for turn, value in values.values()}
    # A king that is bet into: folding loses the ante, calling wins 2. A jack: calling loses 2.
    np.testing.assert_allclose(found["K b 1>"], [-1, 2])
    np.testing.assert_allclose(found["J b 1>"], [-1, -2])
    # A queen meets a jack or a king, each as often: calling is worth 0. About 1,000 times it is met, and once
    # is worth 2 or -2: five standard deviations of the mean are 0.31.
    np.testing.assert_allclose(found["Q b 1>"], [-1, 0], atol=0.31)
    # First to move with a king: a bet wins 1 or 2, as often; a pass wins 1 where the other passes too, else
    # it is bet into and random play folds (-1) or calls (+2).
    np.testing.assert_allclose(found["K  0>"], [0.5 * 1 + 0.25 * -1 + 0.25 * 2, 1.5], atol=0.12)


def test_what_is_hidden_is_distributed_as_the_other_seat_plays() -> None:
    def bets_kings_only(turns: Sequence[Turn]) -> list[Any]:
        return [np.array([0.0, 1.0]) if t.observation[0] == "K" else np.array([1.0, 0.0]) for t in turns]

    values = action_values(KUHN, bets_kings_only, games=2000, continuations=1, rng=np.random.default_rng(0))
    found = {turn.observation: value for turn, value in values.values()}
    np.testing.assert_allclose(found["Q b 1>"], [-1, -2])  # who bets has the king


@pytest.mark.parametrize("resumed", [False, True])
def test_it_comes_near_the_equilibrium_and_goes_on_where_it_stopped(resumed: bool) -> None:
    torch.set_num_threads(1)

    def phase() -> HiddenSelfplay:
        policy = Policy("games", rank=8, alpha=16.0, seed=0)
        cfg = SearchConfig(
            rounds=24, starts=128, continuations=4, updates=8, batch=32, temperature=[0.5, 0.15]
        )
        return HiddenSelfplay(Generator(policy), KUHN, cfg, np.random.default_rng(0))

    own = phase()
    while not own.done:
        own.step()
        if resumed and own.steps == 12:
            state, adapter = own.state_dict(), own.generator.policy.state()
            own = phase()
            own.load_state_dict(state)
            own.generator.policy.load_state(adapter)
    found = nash_conv(KUHN, own.player.probabilities)
    assert found < 0.45  # random play has 0.917
    RESULTS.append(found)
    assert len(set(RESULTS)) == 1
    assert "first seat's return" in own.sample()


RESULTS: list[float] = []
