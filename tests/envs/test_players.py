"""The expert of perfect-information games: decided by its seed, and imperfect."""

import numpy as np

from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.graph import GameGraph, optimal_moves
from shuhari.envs.games.players import MCTSPlayer
from shuhari.envs.games.referee import Referee
from shuhari.envs.player import GreedyPlayer


def test_a_search_is_decided_by_its_seed() -> None:
    turns = [Referee("tic_tac_toe").turn(seed) for seed in range(30)]
    player = MCTSPlayer(4)
    assert player.act(turns) == player.act(turns)
    assert len(set(player.act(turns))) > 1


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
