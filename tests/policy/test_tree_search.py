"""Tree search on games whose values are known, and its rules with numbers by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shuhari.envs.games.graph import backward_induction, game_graph, optimal_moves
from shuhari.envs.games.referee import Referee
from shuhari.envs.games.simulator import Referees, as_positions
from shuhari.envs.types import Turn
from shuhari.policy.leaf_evaluators import Leaves, RandomRollouts, Remembered, as_logits, outcomes_of
from shuhari.policy.search_rules import PUCT, RULES, Gumbel, SearchRule, halving, improved_logits, softmax
from shuhari.policy.tree_search import Found, Tree, TreeSearch, TreeSearchPlayer, _seen, divergence

GRAPH = game_graph("tic_tac_toe")
OPTIMAL, VALUES = optimal_moves(GRAPH), backward_induction(GRAPH)
CRITICAL = np.flatnonzero((GRAPH.moves_N > 0) & (OPTIMAL.sum(1) < GRAPH.moves_N))


class Knows:
    """All moves alike; the value of a position of tic-tac-toe is exact, or what it is made to be."""

    version = 0

    def __init__(self, values_N: Any = VALUES) -> None:
        self.values_N, self.asked = values_N, list[int]()

    def __call__(self, nodes: Any) -> Leaves:
        self.asked += nodes.tolist()
        values = self.values_N[nodes]
        outcomes = np.stack([(values > 0) * 1.0, (values < 0) * 1.0, (values == 0) * 1.0], axis=1)
        return as_logits([np.full(m, 1 / m) for m in GRAPH.moves_N[nodes]]), outcomes


def found(rule: SearchRule, simulations: int, evaluate: Any = None, nodes: Any = CRITICAL) -> Found:
    search = TreeSearch(GRAPH, evaluate or Knows(), rule, simulations)
    return search(nodes, np.random.default_rng(0), noise=False)


def test_a_search_that_knows_values_plays_perfectly_from_both_seats() -> None:
    """Every move is tried once, so that a sign that is wrong for one seat is seen."""
    for seat in (0, 1):
        for moves in range(2, 10):
            nodes = CRITICAL[(GRAPH.seat_N[CRITICAL] == seat) & (GRAPH.moves_N[CRITICAL] == moves)]
            if not len(nodes):
                continue
            result = found(Gumbel(), moves, nodes=nodes)
            assert OPTIMAL[nodes, result.moves_N].all()
            assert (result.visits_NA == 1).all()
            np.testing.assert_allclose(result.policy_NA.sum(1), 1)


@pytest.mark.parametrize(("rule", "skill"), [(Gumbel, 0.97), (PUCT, 0.95)])
def test_positions_of_different_widths_are_searched_together(
    rule: Callable[[], SearchRule], skill: float
) -> None:
    result = found(rule(), 24)
    assert (result.visits_NA.sum(1) == 24).all()
    illegal = np.arange(result.policy_NA.shape[1]) >= GRAPH.moves_N[CRITICAL, None]
    assert not result.policy_NA[illegal].any()
    assert not result.visits_NA[illegal].any()
    for seat in (0, 1):
        own = GRAPH.seat_N[CRITICAL] == seat
        assert OPTIMAL[CRITICAL[own], result.moves_N[own]].mean() > skill


def test_random_games_alone_become_skill_by_search() -> None:
    skill = []
    for simulations in (1, 8, 64):
        result = found(Gumbel(), simulations, RandomRollouts(GRAPH, np.random.default_rng(1)))
        skill.append(OPTIMAL[CRITICAL, result.moves_N].mean())
    assert skill[0] < skill[1] - 0.2 < skill[2] - 0.25
    assert skill[2] > 0.9


def test_values_are_means_of_outcomes_and_a_game_that_is_over_says_its_own() -> None:
    """x to move and to win at once: of 9 tries the winning move is worth 1, and the rest what is known."""
    (node,) = np.flatnonzero([t.observation == "xx.oo....x>" for t in GRAPH.turns])
    result = found(PUCT(), 9, Knows(np.zeros(len(GRAPH))), np.array([node]))
    assert GRAPH.turns[node].legal_actions[result.moves_N[0]] == "3"
    win = result.visits_NA[0, result.moves_N[0]]
    assert result.outcomes_NO[0].tolist() == pytest.approx([win / 10, 0, 1 - win / 10])
    over = GRAPH.children_NA[node, GRAPH.turns[node].legal_actions.index("3")]
    assert outcomes_of(GRAPH.returns(np.array([over]))).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("simulations", [5, 16])
def test_what_a_search_expects_is_of_its_policy_and_not_of_what_it_tried(simulations: int) -> None:
    """One of five moves wins; with five tries each has one. The evaluator knows nothing, and counts once."""
    (node,) = np.flatnonzero([t.observation == "xx.oo....x>" for t in GRAPH.turns])
    result = found(Gumbel(), simulations, Knows(np.zeros(len(GRAPH))), np.array([node]))
    win = GRAPH.turns[node].legal_actions.index("3")
    assert result.visits_NA[0, win] <= simulations / 2
    assert result.policy_NA[0, win] > 0.99
    assert result.outcomes_NO[0].tolist() == pytest.approx(
        [simulations / (simulations + 1), 0, 1 / (simulations + 1)], abs=0.01
    )


@pytest.mark.parametrize(
    ("moves", "simulations", "tries"),
    [
        (1, 3, [0, 1, 2]),
        (4, 8, [0, 0, 0, 0, 1, 1, 2, 2]),
        (4, 16, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        (3, 5, [0, 0, 0, 1, 1]),
    ],
)
def test_simulations_are_halved_among_the_better_moves(
    moves: int, simulations: int, tries: list[int]
) -> None:
    assert halving(moves, simulations) == tries


def tree(logits: list[float], visits: list[float], values: list[float], raw: float) -> Tree:
    """One root, of the first seat."""
    made = Tree(np.zeros(1, dtype=np.int64), 4)
    made._widen(len(logits))
    made.logits_BNA[0, 0], made.visits_BNA[0, 0] = logits, visits
    made.totals_BNAO[0, 0, :, 0] = np.array(visits) * values
    made.outcomes_BNO[0, 0] = raw, 0, 1 - raw
    made.sign_BN[0, 0] = 1
    return made


def test_the_improved_policy_by_hand() -> None:
    """The move that was not tried has the mixed value: (raw + n · mean by priors) / (1 + n)."""
    one = tree([0.0, 0.0, np.log(2)], [1, 2, 0], [0.5, 0.25, 0.0], raw=0.1)
    mixed = (0.1 + 3 * (0.25 * 0.5 + 0.25 * 0.25) / 0.5) / 4
    weight = (50 + 2) * 0.5
    logits = improved_logits(one, np.array([0]), np.array([0]))
    assert logits[0].tolist() == pytest.approx(
        [weight * 1.5, weight * 1.25, np.log(2) + weight * (1 + mixed)]
    )
    assert Gumbel().inside(one, np.array([0]), np.array([0])).tolist() == [0]
    assert softmax(logits)[0].argmax() == 0


def test_puct_by_hand() -> None:
    """Value, and 1.25 · prior · √(1 + all visits) / (1 + visits); an untried move has the node's value."""
    one = tree([np.log(0.2), np.log(0.8)], [3, 0], [0.5, 0.0], raw=-0.2)
    scores = [0.5 + 1.25 * 0.2 * 2 / 4, -0.2 + 1.25 * 0.8 * 2]
    assert PUCT().inside(one, np.array([0]), np.array([0])).tolist() == [int(np.argmax(scores))]
    one.visits_BNA[0, 0, 1], one.totals_BNAO[0, 0, 1, 1] = 4, 2.0
    assert PUCT().inside(one, np.array([0]), np.array([0])).tolist() == [0]


def test_noise_tries_other_moves_and_is_off_when_it_is_not_wanted() -> None:
    nodes = np.zeros(200, dtype=np.int64)
    for rule in RULES.values():
        search = TreeSearch(GRAPH, Knows(), rule(), 4)
        rng = np.random.default_rng(0)
        assert len(set(search(nodes, rng).moves_N)) > 3
        assert len(set(search(nodes, rng, noise=False).moves_N)) == 1


def test_a_listed_position_is_scored_once_at_each_version() -> None:
    knows = Knows()
    remembered = Remembered(knows)
    for _ in range(2):
        found(Gumbel(), 8, remembered, np.arange(0, 60, 3)[GRAPH.moves_N[:60:3] > 0])
        assert len(knows.asked) == len(set(knows.asked)) > 20
    logits, outcomes = remembered(np.array([5, 5, 0]))
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(outcomes[2], knows(np.array([0]))[1][0])
    knows.version, knows.asked = 1, []
    remembered(np.array([5]))
    assert knows.asked == [5]


def test_both_simulators_are_searched_alike() -> None:
    """Referees say the same of the same positions, number by number."""
    nodes = CRITICAL[::150]
    turns = [GRAPH.turns[node] for node in nodes]
    results = []
    for simulator in (GRAPH, Referees("tic_tac_toe")):
        rng = np.random.default_rng(0)
        search = TreeSearch(simulator, RandomRollouts(simulator, np.random.default_rng(3)), Gumbel(), 12)
        results.append(search(simulator.positions(turns), rng))
    np.testing.assert_array_equal(results[0].visits_NA, results[1].visits_NA)
    np.testing.assert_array_equal(results[0].moves_N, results[1].moves_N)


def test_where_chance_follows_a_move_its_value_is_the_mean_of_what_comes() -> None:
    """Pig, the goal is 2: who has 1 and stops wins; who rolls loses the turn with a six-sided die's 1."""
    game = "pig(players=2,winscore=2,horizon=20,diceoutcomes=6)"
    simulator, root = Referees(game), Referee(game)
    rng = np.random.default_rng(0)
    root.resolve_chance(rng)
    root.apply("roll")
    root.resolve_chance(rng)
    while root.observation != "0 0 +2 0>":  # a 2 was rolled
        root = Referee(game)
        root.apply("roll")
        root.resolve_chance(rng)
    search = TreeSearch(simulator, RandomRollouts(simulator, rng), PUCT(), 300)
    result = search(as_positions([root]), rng, noise=False)
    assert root.legal_actions[result.moves_N[0]] == "stop"
    start = search(as_positions([Referee(game)]), rng, noise=False)
    assert 0.5 < start.outcomes_NO[0, 0] < 1


def test_a_player_plays_what_it_finds() -> None:
    player = TreeSearchPlayer(TreeSearch(GRAPH, Knows(), Gumbel(), 9), seed=0)
    turns = [GRAPH.turns[node] for node in CRITICAL[:50]]
    for turn, node, p in zip(turns, CRITICAL, player.probabilities(turns), strict=False):
        assert (p.max(), p.sum(), len(p)) == (1, 1, len(turn.legal_actions))
        assert OPTIMAL[node, p.argmax()]


class Asked:
    """All moves alike, and a draw; notes what it was asked for."""

    version = 0

    def __init__(self, simulator: Referees) -> None:
        self.simulator, self.turns = simulator, list[Turn]()

    def __call__(self, positions: Any) -> Leaves:
        turns = self.simulator.views(positions)
        self.turns += turns
        logits = as_logits([np.ones(len(turn.legal_actions)) for turn in turns])
        return logits, np.tile([0.0, 0.0, 1.0], (len(turns), 1))


@pytest.mark.parametrize("rule", RULES.values())
def test_what_is_added_may_have_more_moves_than_the_root(rule: Callable[[], SearchRule]) -> None:
    simulator, root = Referees("othello"), Referee("othello")
    asked, rng = Asked(simulator), np.random.default_rng(0)
    result = TreeSearch(simulator, asked, rule(), 40)(as_positions([root] * 4), rng)
    assert max(len(turn.legal_actions) for turn in asked.turns) > len(root.legal_actions) == 4
    assert result.policy_NA.shape == result.visits_NA.shape == (4, 4)
    assert (result.visits_NA.sum(1) == 40).all()


def test_each_way_through_chance_is_drawn_anew() -> None:
    """A die with two sides: a roll ends the turn, as stopping does; the next one brings two points."""
    game = "pig(players=2,winscore=9,horizon=40,diceoutcomes=2)"
    simulator, rng, seen = Referees(game), np.random.default_rng(0), set()
    for _ in range(60):
        asked = Asked(simulator)
        TreeSearch(simulator, asked, PUCT(), 3)(as_positions([Referee(game)]), rng, noise=False)
        seen.add(tuple(turn.observation for turn in asked.turns))
    assert ("0 0 +0 0>", "0 0 +0 1>", "0 0 +0 1>", "0 0 +2 0>") in seen


def test_ends_that_look_alike_are_told_apart_by_who_has_won() -> None:
    class Ended:
        def views(self, positions: Any) -> list[Turn]:
            return [Turn("21 ->", (), -1), Turn("21 ->", (), -1), Turn("20 0>", ("1",), 0)]

        def seats(self, positions: Any) -> Any:
            return np.array([-1, -1, 0])

        def returns(self, positions: Any) -> Any:
            return np.array([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])

    first, second, going_on = _seen(Ended(), np.zeros(3))  # type: ignore[arg-type]
    assert first != second
    assert going_on == "20 0>"


def test_surprise_is_the_divergence_of_what_is_found_from_what_was_thought() -> None:
    p_NA, q_NA = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    assert divergence(p_NA, q_NA) == pytest.approx([0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0.0])
    found = TreeSearch(GRAPH, RandomRollouts(GRAPH, np.random.default_rng(0)), Gumbel(), 8)(
        np.zeros(3, dtype=np.int64), np.random.default_rng(0)
    )
    even_NA = np.full((3, 9), 1 / 9)  # what random games think of moves
    assert found.surprise_N == pytest.approx(divergence(found.policy_NA, even_NA))
    assert found.surprise_N.min() > 0
