"""Search by continuations on small games whose values are known by hand."""

import numpy as np

from shuhari.envs.games.graph import GameGraph, backward_induction, optimal_moves
from shuhari.envs.games.referee import Referee
from shuhari.envs.games.simulator import Referees
from shuhari.envs.player import Player, RandomPlayer
from shuhari.policy.continuation_search import PolicyTable, continuation_values


def tic_tac_toe() -> GameGraph:
    return GameGraph(Referee("tic_tac_toe"))


def node_after(graph: GameGraph, *moves: str) -> int:
    node = 0
    for move in moves:
        graph.expand(np.array([node]))
        node = int(graph.children_NA[node, graph.turns[node].legal_actions.index(move)])
    return node


def values_of(graph: GameGraph, node: int, table: PolicyTable, n: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    values = continuation_values(graph, table, np.array([node]), n, rng)[0]
    moves = graph.turns[node].legal_actions
    assert np.isneginf(values[len(moves) :]).all()
    return dict(zip(moves, values.tolist(), strict=False))


def test_a_winning_move_is_worth_one_to_its_mover() -> None:
    graph = tic_tac_toe()
    uniform = PolicyTable(graph, RandomPlayer())
    first = values_of(graph, node_after(graph, "1", "4", "2", "5"), uniform, 50)
    assert first["3"] == 1
    assert max(v for m, v in first.items() if m != "3") < 1
    second = values_of(graph, node_after(graph, "1", "4", "2", "5", "9"), uniform, 50)
    assert second["6"] == 1  # o's own win, from o's point of view


def test_random_continuations_converge_to_their_expectation() -> None:
    graph = tic_tac_toe()
    graph.expand_all()
    uniform = PolicyTable(graph, RandomPlayer())
    node = node_after(graph, "1", "4")
    legal = np.arange(graph.children_NA.shape[1]) < graph.moves_N[:, None]
    table = legal / np.maximum(legal.sum(1, keepdims=True), 1)
    exact = graph.value_N.astype(float)
    for child in np.argsort(-graph.ply_N):  # tic-tac-toe's plies are a topological order
        if graph.moves_N[child]:
            exact[child] = (table[child] * exact[graph.children_NA[child]])[legal[child]].sum()
    got = values_of(graph, node, uniform, 4000)
    for i, move in enumerate(graph.turns[node].legal_actions):
        assert abs(got[move] - exact[graph.children_NA[node, i]]) < 0.06


def test_sharp_continuations_of_a_perfect_player_give_the_games_values() -> None:
    graph = tic_tac_toe()
    graph.expand_all()
    optimal = optimal_moves(graph)
    leaning = np.where(optimal, 0.6, 0.1)  # sharpened, it plays the best moves only
    index = {turn.observation: n for n, turn in enumerate(graph.turns)}

    class Leaning(Player):
        def probabilities(self, turns):  # type: ignore[no-untyped-def]
            return [leaning[index[t.observation]][: len(t.legal_actions)] for t in turns]

    table = PolicyTable(graph, Leaning())
    nodes = np.flatnonzero(graph.moves_N > 0)[::37]
    rng = np.random.default_rng(0)
    values = continuation_values(graph, lambda situations: table(situations) ** 30, nodes, 2, rng)
    exact = (
        backward_induction(graph)[graph.children_NA[nodes]]
        * np.where(graph.seat_N[nodes] == 0, 1, -1)[:, None]
    )
    legal = np.isfinite(values)
    np.testing.assert_array_equal(values[legal], exact[legal])
    assert optimal[nodes, values.argmax(1)].all()


def test_a_table_asks_once_per_position_and_version() -> None:
    graph, asked = tic_tac_toe(), []

    class Asked(RandomPlayer):
        def probabilities(self, turns):  # type: ignore[no-untyped-def]
            asked.extend(turn.observation for turn in turns)
            return super().probabilities(turns)

    table = PolicyTable(graph, player := Asked())
    table(np.array([0, 0, 0]))
    table(np.array([0]))
    assert len(asked) == 1
    player.version = 1
    table(np.array([0]))
    assert len(asked) == 2


def test_both_simulators_have_one_face() -> None:
    """The same games, move by move, from a listed graph and from referees."""
    graph, referees = tic_tac_toe(), Referees("tic_tac_toe")
    graph.expand_all()
    nodes = np.flatnonzero(graph.moves_N > 0)[::400]
    turns = [graph.turns[node] for node in nodes]
    found = [
        continuation_values(
            s, PolicyTable(s, RandomPlayer()), s.positions(turns), 3, np.random.default_rng(0)
        )
        for s in (graph, referees)
    ]
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).any()
