"""`GameGraph`: known counts and values of small games, and the cache on disk."""

from pathlib import Path

import numpy as np
import pytest

from shuhari.envs.games.graph import GameGraph, backward_induction, optimal_moves
from shuhari.envs.games.referee import Referee


@pytest.fixture(scope="module")
def graph() -> GameGraph:
    graph = GameGraph(Referee("tic_tac_toe"))
    graph.expand_all()
    return graph


def test_known_counts(graph: GameGraph) -> None:
    optimal = optimal_moves(graph)
    critical = (graph.moves_N > 0) & (optimal.sum(1) < graph.moves_N)
    assert (len(graph), int((graph.moves_N > 0).sum()), int(critical.sum())) == (5478, 4520, 3191)
    assert backward_induction(graph)[0] == 0  # perfect play draws


def test_a_policy_that_plays_optimally_never_loses_and_a_random_one_does(graph: GameGraph) -> None:
    optimal = optimal_moves(graph)
    perfect = optimal / np.maximum(optimal.sum(1, keepdims=True), 1)
    legal = np.arange(perfect.shape[1]) < graph.moves_N[:, None]
    uniform = legal / np.maximum(legal.sum(1, keepdims=True), 1)
    assert backward_induction(graph, perfect, 0)[0] == 0
    assert backward_induction(graph, perfect, 1)[0] == 0
    assert backward_induction(graph, uniform, 0)[0] < -0.5
    assert backward_induction(graph, uniform, 1)[0] > 0.5  # seat 0's value: the random second player loses


def test_backward_agrees_with_plain_minimax() -> None:
    """On nim, against a recursion over OpenSpiel's own states."""
    graph = GameGraph(Referee("nim(pile_sizes=2;3)"))
    graph.expand_all()

    def minimax(referee: Referee) -> float:
        if referee.over:
            return referee.returns[0]
        values = []
        for move in referee.legal_actions:
            child = referee.clone()
            child.apply(move)
            values.append(minimax(child))
        return max(values) if referee.seat == 0 else min(values)

    values = backward_induction(graph)
    for node in np.flatnonzero(graph.moves_N > 0):
        assert values[node] == minimax(Referee.deserialize(graph.turns[node].state))


@pytest.mark.parametrize(
    ("game", "positions", "value"),
    [
        ("hex(board_size=3)", None, 1.0),  # the first player wins (Nash's strategy stealing)
        ("nim(pile_sizes=1;2;3)", None, -1.0),  # misere with nim-sum 0: the second player wins
        pytest.param("connect_four(rows=4,columns=4)", 161_029, 0.0, marks=pytest.mark.long),
    ],
)
def test_solved_games(
    game: str, positions: int | None, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = GameGraph.complete(Referee(game))
    if positions:
        assert len(graph) == positions
    assert np.isclose(backward_induction(graph)[0], value)


def test_positions_are_kept_on_disk_and_a_damaged_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("shuhari.envs.games.graph.WORTH_KEEPING", 10)
    found = GameGraph.complete(Referee("tic_tac_toe"))
    assert len(found) == 5_478
    (path,) = tmp_path.glob("shuhari/*.npz")
    with monkeypatch.context() as patched:
        patched.setattr(GameGraph, "expand_all", None)  # it must be read, not found again
        read = GameGraph.complete(Referee("tic_tac_toe"))
    assert read.turns == found.turns
    assert (read.children_NA == found.children_NA).all()
    assert (backward_induction(read) == backward_induction(found)).all()
    path.write_bytes(path.read_bytes()[:-100])
    assert GameGraph.complete(Referee("tic_tac_toe")).turns == found.turns
