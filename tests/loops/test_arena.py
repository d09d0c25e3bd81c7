"""`shuhari arena`: ratings with numbers by hand, the order of players whose strength is known, and tables."""

import json
import os
import pty
import re
from itertools import combinations, pairwise
from math import log10, sqrt

import numpy as np
import pytest
from mistakes import mistake

from shuhari.loops.cli.arena import main
from shuhari.loops.play.standings import table
from shuhari.policy.elo import SCALE, ratings
from shuhari.policy.tournament import Pairing, scores

GAME = "shuhari/TicTacToe-v0"


def test_two_players_by_hand() -> None:
    """75 of 100 is 400 log10(3) points, and the interval that of a logit: 1.96 / sqrt(n p (1 - p))."""
    first, second = ratings(np.array([[0.0, 75.0], [25.0, 0.0]]), anchor=1)
    assert (second.elo, second.low, second.high, second.bound) == (0.0, 0.0, 0.0, "")
    assert first.elo == pytest.approx(400 * log10(3), abs=1e-6)
    half = 1.96 * SCALE / sqrt(100 * 0.75 * 0.25)
    assert (first.low, first.high) == pytest.approx((first.elo - half, first.elo + half))
    assert ratings(np.array([[0.0, 75.0], [25.0, 0.0]]))[1].elo == pytest.approx(-first.elo)


def test_three_players_whose_scores_agree_get_the_strengths_they_were_made_of() -> None:
    strength_P = np.array([0.0, 137.0, -250.0])
    score_PP = 1000 / (1 + 10 ** ((strength_P[None] - strength_P[:, None]) / 400))
    np.fill_diagonal(score_PP, 0.0)
    assert [r.elo for r in ratings(score_PP)] == pytest.approx(strength_P.tolist(), abs=1e-4)


def test_scores_that_disagree_are_fitted_by_maximum_likelihood() -> None:
    """At the maximum everyone's expected score is the score that was made."""
    score_PP = np.array([[0.0, 9.0, 2.0], [1.0, 0.0, 19.5], [8.0, 0.5, 0.0]])
    elo_P = np.array([r.elo for r in ratings(score_PP)])
    p_PP = 1 / (1 + 10 ** ((elo_P[None] - elo_P[:, None]) / 400))
    expected_PP = (score_PP + score_PP.T) * p_PP
    np.testing.assert_allclose(expected_PP.sum(1), score_PP.sum(1), atol=1e-5)


def test_a_perfect_score_gives_a_bound() -> None:
    """Ten of ten counts as 10.5 of 11, and nothing limits the rating above."""
    first, second = ratings(np.array([[0.0, 10.0], [0.0, 0.0]]), anchor=1)
    assert (first.bound, first.high, second.bound) == (">", None, "")
    assert first.elo == pytest.approx(400 * log10(21))
    assert 0 < (first.low or 0) < first.elo
    _, second = ratings(np.array([[0.0, 10.0], [0.0, 0.0]]))
    assert (second.bound, second.low, second.elo) == ("<", None, pytest.approx(-first.elo))
    # A player who has lost to one of two is not apart from them, whatever he did to the other.
    cycle = np.array([[0.0, 10.0, 0.0], [0.0, 0.0, 10.0], [10.0, 0.0, 0.0]])
    assert [r.bound for r in ratings(cycle)] == ["", "", ""]
    assert [r.elo for r in ratings(cycle)] == pytest.approx([0, 0, 0], abs=1e-6)
    everyone = ratings(np.triu(np.full((6, 6), 1e4), 1), anchor=3)
    assert [r.bound for r in everyone] == [">", ">", ">", "", "<", "<"]
    assert all(a.elo > b.elo for a, b in pairwise(everyone))


def test_random_loses_to_the_expert_and_he_to_perfect_play(capsys: pytest.CaptureFixture[str]) -> None:
    given = [GAME, "perfect", "random", "expert", "--games", "60", "--anchor", "expert", "--json"]
    assert main(given) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert told.err == ""
    elo = {row["player"]: row["elo"] for row in found["players"]}
    assert elo["random"] < elo["expert"] - 50 < elo["expert"] + 50 < elo["perfect"]
    assert elo["expert"] == 0
    assert [(p["first"], p["second"]) for p in found["pairs"]] == list(combinations(given[1:4], 2))
    for pair in found["pairs"]:
        assert pair["wins"] + pair["draws"] + pair["losses"] == found["games_of_a_pair"] == 60
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out) == found  # a seed's games are always the same


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("players", [2, 5, 12])
def test_tables_fit_and_say_what_was_scored(columns: int, players: int) -> None:
    names = [f"runs/tic_tac_toe/2026-01-31_12-00-{n:02}/adapter-selfplay" for n in range(players)]
    met = [
        Pairing(i, j, np.repeat([1.0, 0.0, -1.0], [83, 12, 5])) for i, j in combinations(range(players), 2)
    ]
    lines = table(names, met, ratings(scores(met, players), anchor=players - 1), columns)
    assert max(map(len, lines)) <= columns
    assert all("selfplay" in line for line in lines[1 : players + 1])
    assert lines[0].split() == ["#", "player", "Elo", "95%", "score"]
    text = "\n".join(lines)
    assert "83-12-5" in text or "89.0" in text
    if players == 2:
        assert lines[-2:] == ["1       - 83-12-5", "2 5-12-83       -"]


def test_progress_is_one_line_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "30")
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        assert main(["shuhari/Nim-v0", "random", "expert", "--games", "4"]) == 0
        terminal.flush()
        shown = os.read(ours, 4096).decode()
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(r"playing +0% ", plain)
    assert max(map(len, plain.splitlines())) <= 30
    assert "Elo" in capsys.readouterr().out


def test_fewer_openings_than_were_asked_for_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shuhari/OpenSpiel-v0", "game=nim(pile_sizes=1;2)", "random", "perfect"]) == 0
    assert "note: 5 different openings were found, so 10 games a pair" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shuhari/TicTacTo-v0", "random", "expert"], "TicTacToe"),
        (["shuhari/Addition-v0", "random", "expert"], "is no game"),
        (["shuhari/2048-v0", "random", "expert"], "two seats"),
        ([GAME], "at least two players, here 0"),
        ([GAME, "random"], "at least two players, here 1"),
        ([GAME, "random", "random"], "random: is named twice"),
        ([GAME, "random", "exprt"], "did you mean 'expert'?"),
        ([GAME, "random", "base"], "Give --base"),
        ([GAME, "random", "expert", "--anchor", "perfect"], "--anchor perfect: is none of the players"),
        ([GAME, "random", "expert", "--games", "3"], "--games 3: an even number"),
        (["shuhari/KuhnPoker-v0", "random", "perfect"], "kuhn_poker cannot be listed"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in mistake(main, arguments, capsys)
