"""The expert of perfect-information games: decided by its seed, and imperfect."""

import random

import numpy as np
import pyspiel
import pytest

from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.graph import GameGraph, optimal_moves
from shuhari.envs.games.othello import bits, lines
from shuhari.envs.games.players import EstimatePlayer, MCTSPlayer
from shuhari.envs.games.referee import Referee
from shuhari.envs.player import GreedyPlayer


def test_a_search_is_decided_by_its_seed() -> None:
    turns = [Referee("tic_tac_toe").turn(seed) for seed in range(30)]
    player = MCTSPlayer(4)
    assert player.act(turns) == player.act(turns)
    assert len(set(player.act(turns))) > 1


def test_one_simulation_is_a_random_move() -> None:
    (p,) = MCTSPlayer(1).probabilities([Referee("tic_tac_toe").turn()])
    assert p.sum() == pytest.approx(1)
    assert p.max() < 0.35


def test_othello_in_python_has_an_expert_by_estimate_and_a_game_without_one_is_searched() -> None:
    assert isinstance(OpenSpielEnv("sized_othello(size=6)").expert, EstimatePlayer)
    assert isinstance(OpenSpielEnv("othello").expert, MCTSPlayer)


def test_the_expert_is_clearly_imperfect_and_so_is_its_mode() -> None:
    graph = GameGraph.complete(Referee("tic_tac_toe"))
    optimal = optimal_moves(graph)
    critical = np.flatnonzero((graph.moves_N > 0) & (optimal.sum(1) < graph.moves_N))[::8]
    turns = [graph.turns[node] for node in critical]
    expert = OpenSpielEnv().expert
    shares = {}
    for name, player in (("expert", expert), ("mode", GreedyPlayer(expert))):
        tables = player.probabilities(turns)
        shares[name] = np.mean(
            [(p * optimal[n][: len(p)]).sum() for p, n in zip(tables, critical, strict=True)]
        )
    assert 0.6 < shares["expert"] < 0.85
    assert shares["expert"] < shares["mode"] < 0.97


def test_an_expert_by_estimate_likes_corners_and_plays_a_share_of_random_moves() -> None:
    game, rng, taken = pyspiel.load_game("sized_othello(size=6)"), random.Random(0), []
    player = EstimatePlayer(noise=0.2)
    for _ in range(12):
        state = game.new_initial_state()
        while not state.is_terminal():
            moves = state.legal_actions()
            (p,) = player.probabilities([Referee("sized_othello(size=6)", state.clone()).turn()])
            assert p.sum() == pytest.approx(1)
            assert p.min() >= 0.2 / len(moves) - 1e-9
            if len(corners := {0, 5, 30, 35} & {*moves}) < len(moves) and corners:
                taken.append(moves[int(p.argmax())] in corners)
            state.apply_action(rng.choice(moves))
    assert len(taken) > 20
    assert np.mean(taken) > 0.6  # a third of their moves there take one, if drawn at random


def test_an_expert_by_estimate_looks_at_the_reply_and_at_the_end() -> None:
    """On 4x4: where a move ends the game and wins, it wins, at once or whatever the reply is."""
    game, rng, met = pyspiel.load_game("sized_othello(size=4)"), random.Random(0), 0
    for _ in range(300):
        state = game.new_initial_state()
        while not state.is_terminal():
            sign, moves = 1 - 2 * state.current_player(), state.legal_actions()
            won = [sign * state.child(action).returns()[0] > 0 for action in moves]
            if any(won) and not all(won):
                turn = Referee("sized_othello(size=4)", state.clone()).turn()
                chosen = int(EstimatePlayer(0.0).probabilities([turn])[0].argmax())
                after = state.child(moves[chosen])
                replies = [after.child(reply).returns()[0] for reply in after.legal_actions()]
                assert won[chosen] or (replies and min(sign * value for value in replies) > 0)
                met += 1
            state.apply_action(rng.choice(moves))
    assert met


def test_what_othello_thinks_a_cell_is_worth() -> None:
    """On 6x6: corners 20, the three cells beside each -6, other edges 3, the middle 1."""
    worth = {cell: w for cells, w in lines(6).weights for cell in bits(cells)}
    assert [worth[n] for n in range(12)] == [20, -6, 3, 3, -6, 20, -6, -6, 1, 1, -6, -6]
    assert sum(worth.values()) == 4 * 20 + 12 * -6 + 8 * 3 + 12 * 1
    state = pyspiel.load_game("sized_othello(size=6)").new_initial_state()
    assert state.estimate() == 0
    state.apply_action(state.legal_actions()[0])  # a disc more and one turned over, all in the middle
    assert state.estimate() == 4 - 1
