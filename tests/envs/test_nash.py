"""Published values: NashConv of uniform play and of Kuhn's equilibrium; counts and values of solved games."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shuhari.envs.games.connect_four_solver import ConnectFourSolver
from shuhari.envs.games.equilibrium import NoisyEquilibriumPlayer, information_turns, mean_return, nash_conv
from shuhari.envs.games.graph import GameGraph, backward
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
    assert np.isclose(backward(graph)[0], value)


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
    assert (backward(read) == backward(found)).all()
    path.write_bytes(path.read_bytes()[:-100])
    assert GameGraph.complete(Referee("tic_tac_toe")).turns == found.turns


@pytest.mark.parametrize(("columns", "rows", "value"), [(4, 4, 0), (5, 4, 0)])
def test_connect_fours_published_values(columns: int, rows: int, value: int) -> None:
    start = Referee(f"connect_four(rows={rows},columns={columns})")
    assert ConnectFourSolver(columns, rows).value(start) == value


@pytest.mark.parametrize(("columns", "rows", "left"), [(4, 4, 7), (7, 6, 8), (5, 4, 7)])
def test_the_solver_agrees_with_brute_force(columns: int, rows: int, left: int) -> None:
    def value(referee: Referee) -> float:
        """For the seat that has just moved."""
        if referee.over:
            return referee.returns[1 - start.seat]
        best = -1.0
        for move in referee.legal_actions:
            after = referee.clone()
            after.apply(move)
            best = max(best, value(after) if referee.seat != start.seat else -value(after))
        return best if referee.seat != start.seat else -best

    solver, rng, seen = ConnectFourSolver(columns, rows), np.random.default_rng(0), set()
    for _ in range(200):
        start = Referee(f"connect_four(rows={rows},columns={columns})")
        while not start.over and start.observation.count(".") > left:
            start.apply(str(rng.choice(start.legal_actions)))
        if start.over:
            continue
        for move, got in solver.move_values(start).items():
            after = start.clone()
            after.apply(move)
            assert got == -value(after), (start.observation, move)
            seen.add(got)
    assert seen == {-1, 0, 1}


def test_the_solver_refuses_another_board_and_a_search_without_end() -> None:
    with pytest.raises(ValueError, match="7 columns and 6 rows"):
        ConnectFourSolver().value(Referee("connect_four(rows=4,columns=4)"))
    with pytest.raises(MemoryError, match="too many to solve"):
        ConnectFourSolver(budget=1000).value(Referee("connect_four"))


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
