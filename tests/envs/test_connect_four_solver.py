"""The Connect Four solver against published values and against brute force."""

import numpy as np
import pytest

from shuhari.envs.games.connect_four_solver import ConnectFourSolver
from shuhari.envs.games.referee import Referee


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
