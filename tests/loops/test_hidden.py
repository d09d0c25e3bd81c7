"""Self-play where something is hidden: values of moves, and whether it finds Kuhn poker's equilibrium."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shuhari.envs.games.equilibrium import nash_conv
from shuhari.envs.games.simulator import Referees
from shuhari.envs.player import Player, RandomPlayer
from shuhari.envs.types import Turn
from shuhari.loops.collect.fictitious_play import FictitiousPlay, _normalised
from shuhari.loops.config import FictitiousPlayConfig
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.phase import Phase
from shuhari.policy.continuation_search import PolicyTable, situation_values
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer

KUHN = "kuhn_poker"


def values_of(player: Player, games: int) -> dict[str, Any]:
    """By observation."""
    simulator = Referees(KUHN)
    table = PolicyTable(simulator, player)
    values = situation_values(simulator, table, games, 1, np.random.default_rng(0))
    return {simulator.turns[situation].observation: found.values for situation, found in values.items()}


def test_values_of_moves_against_random_play() -> None:
    found = values_of(RandomPlayer(), 12_000)
    assert len(found) == 12
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
    class BetsKingsOnly(Player):
        def probabilities(self, turns: Sequence[Turn]) -> list[Any]:
            return [np.array([0.0, 1.0] if t.observation[0] == "K" else [1.0, 0.0]) for t in turns]

    found = values_of(BetsKingsOnly(), 2000)
    np.testing.assert_allclose(found["Q b 1>"], [-1, -2])  # who bets has the king


def test_a_situations_reach_is_of_its_seats_own_moves() -> None:
    class BetsATenth(Player):
        def probabilities(self, turns: Sequence[Turn]) -> list[Any]:
            return [np.array([0.9, 0.1])] * len(turns)

    simulator = Referees(KUHN)
    table = PolicyTable(simulator, BetsATenth())
    found = situation_values(simulator, table, 2000, 1, np.random.default_rng(0))
    reach = {simulator.turns[s].observation: situation.reach for s, situation in found.items()}
    assert reach.pop("K pb 0>") == reach.pop("Q pb 0>") == reach.pop("J pb 0>") == pytest.approx(0.9)
    assert set(reach.values()) == {1.0}  # they come after nothing of the seat's own
    for situation in found.values():
        np.testing.assert_allclose(situation.policy, [0.9, 0.1])


def test_the_last_rounds_give_the_average_of_what_was_played() -> None:
    """Two rounds of policies that are set by hand; the second one counts twice."""
    cfg = FictitiousPlayConfig(rounds=4, starts=400, continuations=1, updates=1, batch=99, average=0.5)
    source = phase_of(KUHN, cfg).source

    class Bets(Player):
        def __init__(self, probability: float) -> None:
            self.probability, self.renderer = probability, renderer

        def probabilities(self, turns: Sequence[Turn]) -> list[Any]:
            return [np.array([1 - self.probability, self.probability])] * len(turns)

    renderer = source.player.renderer  # type: ignore[attr-defined]
    for number, probability in enumerate((0.1, 0.7, 0.7)):
        source.player = Bets(probability)  # type: ignore[attr-defined]
        list(source.batches(number))
    assert source.episodes == 800  # and none in the third round
    targets = dict(zip(source.known, source._targets(2), strict=True))  # type: ignore[attr-defined]
    by_seen = {seen: target for (_, seen, _), target in targets.items()}
    np.testing.assert_allclose(by_seen["K b 1>"], [0.5, 0.5])  # (.1 + 2 · .7) / 3
    # It came there by passing: once with .9, twice as much with .3.
    bets = (0.9 * 0.1 + 2 * 0.3 * 0.7) / (0.9 + 2 * 0.3)
    np.testing.assert_allclose(by_seen["K pb 0>"], [1 - bets, bets])


def test_temperatures_are_in_units_of_what_the_game_pays() -> None:
    cfg = FictitiousPlayConfig(rounds=9, starts=200, continuations=1, updates=1, batch=4)
    targets = []
    for pays in (1.0, 10.0):
        source = phase_of(KUHN, cfg).source
        real = source._situations  # type: ignore[attr-defined]
        source._situations = lambda *given, real=real, pays=pays: {  # type: ignore[attr-defined]
            key: found._replace(values=pays * found.values) for key, found in real(*given).items()
        }
        list(source.batches(0))
        targets.append(np.concatenate(source._targets(0)))  # type: ignore[attr-defined]
    np.testing.assert_allclose(*targets)


def test_where_no_policy_of_its_seat_ever_leads_the_average_is_uniform() -> None:
    np.testing.assert_allclose(_normalised(np.array([3.0, 1.0])), [0.75, 0.25])
    np.testing.assert_allclose(_normalised(np.zeros(3)), [1 / 3] * 3)


def phase_of(game: str, cfg: FictitiousPlayConfig) -> Phase:
    policy = Policy("games", rank=8, alpha=16.0, seed=0)
    player = LMPlayer(policy, Renderer(policy), LEARNING)
    source = FictitiousPlay(partial(Referees, game), player, cfg, np.random.default_rng(0), 0)
    optimizer = Optimizer(policy.parameters.values(), learning_rate=0.01, steps=source.updates)
    learner = Learner(policy, cfg.objective, optimizer, micro_batch=8192, reference=None)
    return Phase("selfplay", source, learner)


@pytest.mark.long
def test_it_comes_near_the_equilibrium() -> None:
    torch.set_num_threads(1)
    cfg = FictitiousPlayConfig(
        rounds=24, starts=128, continuations=4, updates=8, batch=32, temperature=[0.5, 0.15]
    )
    phase = phase_of(KUHN, cfg)
    while not phase.done:
        phase.step()
    assert nash_conv(KUHN, phase.source.player) < 0.45  # type: ignore[attr-defined]  # random play has 0.917
    assert "first seat's return" in phase.source.sample()


def test_it_goes_on_where_it_stopped_whoever_looked_on(tmp_path: Path) -> None:
    """Leduc poker has many situations: in which order they are met must not matter."""
    torch.set_num_threads(1)
    cfg = FictitiousPlayConfig(rounds=5, starts=12, continuations=1, updates=2, batch=16, average=0.4)
    whole = phase_of("leduc_poker", cfg)
    while not whole.done:
        whole.step()
        whole.source.sample()
        whole.source.players(before=True)
    first = phase_of("leduc_poker", cfg)
    for _ in range(2):
        first.step()
    rest = phase_of("leduc_poker", cfg)
    rest.learner.policy.load_state(first.learner.policy.state())
    torch.save(first.state_dict(), tmp_path / "state.pt")
    rest.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    while not rest.done:
        rest.step()
    assert list(whole.source.known) == list(rest.source.known)  # type: ignore[attr-defined]
    for key, value in whole.learner.policy.state().items():
        assert torch.equal(value, rest.learner.policy.state()[key])
