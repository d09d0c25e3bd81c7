"""Images of positions are positions: a game and its image are played side by side."""

import random

import pytest

from shuhari.envs.games.board_rows import board_rows
from shuhari.envs.games.referee import Referee

GAMES = {
    "tic_tac_toe": 8,
    "connect_four": 2,
    "connect_four(rows=4,columns=5)": 2,
    "breakthrough(rows=5,columns=4)": 2,
    "hex(board_size=5)": 2,
}


@pytest.mark.parametrize("game", GAMES)
def test_a_game_and_its_image_go_the_same_way(game: str) -> None:
    rng, text = random.Random(0), Referee(game).text
    for k in [*range(GAMES[game])] * 3:
        one, other = Referee(game), Referee(game)
        while not one.over:
            images = text.images(one.observation, one.legal_actions)
            assert len(images) == GAMES[game]
            assert images[0] == (one.observation, one.legal_actions)
            seen, moves = images[k]
            assert seen == other.observation
            assert sorted(moves) == sorted(other.legal_actions)
            n = rng.randrange(len(moves))
            one.apply(one.legal_actions[n])
            other.apply(moves[n])
        assert one.returns == other.returns
        assert other.over


def test_othello_has_four_images_that_keep_its_start_and_passes_stay_passes() -> None:
    start = Referee("othello")
    images = start.text.images(start.observation, start.legal_actions)
    assert len(images) == 8
    same = [moves for seen, moves in images if seen == start.observation]
    assert len(same) == 4
    assert all(sorted(moves) == sorted(start.legal_actions) for moves in same)
    assert all(moves == ("pass",) for _, moves in start.text.images(start.observation, ("pass",)))


def test_questions_of_outcomes_have_images_too() -> None:
    text = Referee("tic_tac_toe").text
    images = text.images("xx.......o=", ())
    assert {seen for seen, _ in images} >= {".xx......o=", "x..x.....o=", ".......xxo="}
    assert all(seen.endswith("o=") for seen, _ in images)


def test_a_game_without_known_symmetries_has_one_image() -> None:
    nim = Referee("nim")
    assert nim.text.images(nim.observation, nim.legal_actions) == [(nim.observation, nim.legal_actions)]
    assert nim.text.canonical(nim.observation) == nim.observation


@pytest.mark.parametrize(
    ("text", "rows"),
    [("xo.x", ["xo", ".x"]), ("x.x/o..", ["x.x", "o.."]), ("", []), ("K- cr/", ["K- cr", ""])],
)
def test_rows_of_a_text(text: str, rows: list[str]) -> None:
    assert board_rows(text) == rows
