"""Every game that OpenSpiel registers is played by text, or refused in one line that says what to do."""

from dataclasses import replace

import numpy as np
import pyspiel
import pytest

from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.equilibrium import Unsolved, information_turns
from shuhari.envs.games.referee import Referee
from shuhari.envs.games.text import GAMES
from shuhari.loops.cli.envs import main

KINDS = {kind.short_name: kind for kind in pyspiel.registered_games()}
MOVES = 200  # at most, of a random game
# What OpenSpiel says it serves, and does not in a process of Python's.
ODD = {"crossword": "action structs only", "efg_game": "cannot be made", "nfg_game": "cannot be made"}


def expected(name: str) -> str:
    """What the refusal says, or "" where the game is played; read off what OpenSpiel says of it."""
    kind = KINDS[name]
    if name in ODD:
        return ODD[name]
    if not kind.default_loadable and name != "coop_to_1p":
        return f"it is {name}("
    if kind.dynamics.name == "SIMULTANEOUS":
        return f"take turn_based_simultaneous_game(game={name}())"
    if kind.dynamics.name == "MEAN_FIELD":
        return "mean-field"
    return "hides its random draws" if kind.chance_mode.name == "SAMPLED_STOCHASTIC" else ""


def play(game: str) -> OpenSpielEnv:
    """A random game; every legal move has a text of its own, and every seat's is taken."""
    env = OpenSpielEnv(game)
    observation, info = env.reset(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(MOVES):
        if not info["legal_actions"]:
            assert len(info["returns"]) == env.referee.game.num_players()
            break
        assert observation.strip()
        assert len(info["legal_actions"]) == len(set(env.referee.state.legal_actions()))
        observation, _, _, truncated, info = env.step(str(rng.choice(info["legal_actions"])))
        assert not truncated
        assert "illegal" not in info
    return env


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_game_is_played_or_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    if not (message := expected(name)):
        play(name)
        return
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refusal:
        OpenSpielEnv(name)
    assert message in str(refusal.value)
    assert repr(name) in str(refusal.value)
    assert capfd.readouterr().err == ""  # OpenSpiel prints what it raises


AT_ONCE = [n for n, kind in KINDS.items() if kind.dynamics.name == "SIMULTANEOUS" and kind.default_loadable]


@pytest.mark.parametrize("name", sorted(AT_ONCE))
def test_what_a_game_of_moves_at_once_is_told_to_take_is_played(name: str) -> None:
    play(f"turn_based_simultaneous_game(game={name}())")


@pytest.mark.parametrize(
    "name", sorted(n for n, kind in KINDS.items() if kind.max_num_players > 2 and not expected(n))
)
def test_more_than_two_seats(name: str) -> None:
    kind = KINDS[name]
    if (
        "players" not in kind.parameter_specification
    ):  # a game of one number, or of more parameters of its own
        assert kind.min_num_players > 2 or name in ("tiny_hanabi", "universal_poker")
        return
    for seats in (max(3, kind.min_num_players), min(kind.max_num_players, 6)):
        env = play(f"{name}(players={seats})")
        if name in GAMES:
            assert env.referee.text.seats == tuple(map(str, range(seats)))


def test_poker_of_more_seats_has_more_cards() -> None:
    env = OpenSpielEnv("kuhn_poker(players=3)")
    assert "one of J, Q, K, A" in env.instructions
    assert "one of J, Q, K and" in OpenSpielEnv("kuhn_poker").instructions
    seen = {env.reset(seed=seed)[0] for seed in range(60)}
    assert seen == {f"{card}  0>" for card in "JQKA"}
    cards = set()
    for seed in range(300):
        cards.add(OpenSpielEnv("kuhn_poker(players=10)").reset(seed=seed)[0][0])
    assert cards == set("456789TJQKA")


@pytest.mark.parametrize("game", ["kuhn_poker(players=3)", "leduc_poker(players=3)", "leduc_poker"])
def test_a_seat_sees_what_openspiel_says_it_sees(game: str) -> None:
    """Situations that OpenSpiel tells apart look different, but for the suits, which decide nothing."""
    looks: dict[tuple[int, str], str] = {}
    env = OpenSpielEnv(game)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        env.reset(seed=seed)
        while not (referee := env.referee).over:
            named = referee.state.information_state_string(referee.seat)
            for suit in range(1, 16, 2):
                named = named.replace(f": {suit}]", f": {suit - 1}]")
            assert looks.setdefault((referee.seat, referee.observation), named) == named
            env.step(str(rng.choice(referee.legal_actions)))
    assert len(looks) > 20


def test_leduc_with_suits_alike_shows_ranks() -> None:
    seen = {OpenSpielEnv("leduc_poker(suit_isomorphism=True)").reset(seed=s)[0][0] for s in range(40)}
    assert seen == set("JQK")


def test_pig_shows_every_score() -> None:
    assert Referee("pig(players=3)").observation == "0 0 0 +0 0>"
    assert Referee("pig").observation == "0 0 +0 0>"


@pytest.mark.parametrize(
    ("typed", "played"),
    [
        (" go( board_size = 2 , komi=6.5 ) ", "go(board_size=2,komi=6.5)"),
        ("misere(game=tic_tac_toe)", "misere(game=tic_tac_toe())"),
        (
            "add_noise(epsilon=0.1, game=kuhn_poker, seed=1)",
            "add_noise(epsilon=0.1,game=kuhn_poker(),seed=1)",
        ),
        (
            "turn_based_simultaneous_game(game=goofspiel(num_cards=3))",
            "turn_based_simultaneous_game(game=goofspiel(num_cards=3))",
        ),
        (2048, "2048"),  # a number, where numbers are read
    ],
)
def test_names_as_people_type_them(typed: str, played: str) -> None:
    assert str(OpenSpielEnv(typed).referee.game) == str(pyspiel.load_game(played))


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("go(bord=2)", "Unknown parameter 'bord'"),
        ("go(board_size=2", "Missing closing bracket"),
        ("kuhn_poker(players=99)", "it is kuhn_poker(players=…)"),
        ("", "no OpenSpiel game ''"),
    ],
)
def test_parameters_that_do_not_fit(game: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refusal:
        OpenSpielEnv(game)
    assert message in str(refusal.value)
    assert capfd.readouterr().err == ""


def test_moves_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a move could not be made; lines of dots and boxes beyond the tenth row once were such."""
    names = OpenSpielEnv("dots_and_boxes(num_rows=11,num_cols=11)").referee.legal_actions
    assert {"h01", "h1,10", "h10,1", "h0,10", "h11,0"} <= set(names)
    monkeypatch.setitem(GAMES, "hex", replace(GAMES["hex"], move=lambda state, action: "a1"))
    with pytest.raises(ValueError, match="9 legal moves have 1 names: a1"):
        Referee("hex(num_rows=3,num_cols=3)")


def test_games_of_observations_alone_say_so_and_have_no_expert() -> None:
    env = OpenSpielEnv("coin_game")
    assert "not what was before" in env.instructions
    assert env.expert_traces(2, np.random.default_rng(0)) == []
    with pytest.raises(Unsolved, match="coin_game: OpenSpiel gives it no information-state string"):
        information_turns("coin_game")
    assert "before" not in OpenSpielEnv("liars_dice").instructions


def test_the_check_takes_games_with_and_without_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    for game in ("kuhn_poker(players=3)", "'kuhn_poker(players=3)'", '"kuhn_poker(players=3)"'):
        assert main(["--check", "shuhari/OpenSpiel-v0", f"game={game}"]) == 0
    assert main(["--check", "shuhari/OpenSpiel-v0", "game=coin_game"]) == 0
    assert "the expert's traces: none" in capsys.readouterr().out


def test_an_opening_as_long_as_every_game_is_drawn_anew() -> None:
    """OpenSpiel's longest game may be longer than any that is played."""
    env = OpenSpielEnv("turn_based_simultaneous_game(game=goofspiel(num_cards=2))")
    assert env.referee.game.max_game_length() > 2
    for seed in range(20):
        assert not env.random_position(np.random.default_rng(seed)).over
