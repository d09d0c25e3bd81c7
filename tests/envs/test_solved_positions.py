"""The shipped solved positions of Connect Four: their stages, and their values against our own solver."""

from shuhari.envs.games.connect_four_solver import ConnectFourSolver
from shuhari.envs.games.referee import Referee
from shuhari.envs.games.solved_positions import solved_positions


def test_each_stage_has_400_different_positions_where_moves_differ() -> None:
    stages = solved_positions("connect_four")
    assert {stage: len(positions) for stage, positions in stages.items()} == {
        "12-16": 400,
        "17-24": 400,
        "25-36": 400,
    }
    positions = [position for found in stages.values() for position in found]
    assert len({position.turn.observation for position in positions}) == 1200
    for position in positions:
        assert position.best < set(position.turn.legal_actions)
    for stage, found in stages.items():
        least, most = map(int, stage.split("-"))
        stones = [42 - position.turn.observation.count(".") for position in found]
        assert least <= min(stones) <= max(stones) <= most


def test_their_values_are_those_of_our_own_solver() -> None:
    solver = ConnectFourSolver()
    for position in solved_positions("connect_four")["25-36"][::20]:
        values = solver.move_values(Referee.deserialize(position.turn.state))
        assert position.best == {move for move, value in values.items() if value == max(values.values())}


def test_another_board_has_none() -> None:
    assert solved_positions("connect_four(rows=6,columns=7)") == solved_positions("connect_four") != {}
    assert solved_positions("connect_four(rows=4,columns=4)") == {} == solved_positions("hex(board_size=5)")
