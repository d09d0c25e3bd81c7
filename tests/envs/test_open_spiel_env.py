"""The environment of OpenSpiel's games: seats, rewards, illegal moves, and what stays hidden."""

import gymnasium
import numpy as np
import pytest

from shuhari.envs.games.env import MAX_ILLEGAL, OpenSpielEnv
from shuhari.envs.games.referee import IllegalMove, Referee
from shuhari.envs.player import RandomPlayer


def test_both_seats_are_played_and_the_mover_is_paid() -> None:
    env = gymnasium.make("shuhari/TicTacToe-v0")
    _, info = env.reset(seed=0)
    for seat, move in enumerate(["1", "4", "2", "5"]):
        assert info["seat"] == seat % 2
        assert move in info["legal_actions"]
        _, reward, terminated, _, info = env.step(move)
        assert (reward, terminated) == (0, False)
    _, reward, terminated, _, info = env.step("3")
    assert (reward, terminated, info["returns"]) == (1, True, (1, -1))
    with pytest.raises(RuntimeError, match="reset"):
        env.step("6")


def test_an_illegal_move_is_an_observation_and_loses_nothing() -> None:
    env = gymnasium.make("shuhari/TicTacToe-v0")
    start, _ = env.reset(seed=0)
    for attempt in range(MAX_ILLEGAL):
        observation, _, terminated, truncated, info = env.step("castle")
        assert "'castle' is not legal here; legal: 1 2 3" in observation
        assert observation.endswith(start)
        assert info["legal_actions"] == tuple("123456789")
        assert not terminated
        assert truncated == (attempt + 1 == MAX_ILLEGAL)


@pytest.mark.parametrize("seat", [0, 1])
def test_an_opponent_makes_it_single_agent(seat: int) -> None:
    env = gymnasium.make("shuhari/TicTacToe-v0", opponent=RandomPlayer(), seat=seat)
    observation, info = env.reset(seed=3)
    over = False
    while not over:
        assert info["seat"] == seat
        assert observation.endswith("xo"[seat] + ">")
        observation, reward, over, _, info = env.step(info["legal_actions"][0])
    assert reward == info["returns"][seat]


def test_illegal_text_leaves_the_referee_as_it_was() -> None:
    referee = Referee("tic_tac_toe")
    with pytest.raises(IllegalMove):
        referee.apply("10")
    assert referee.observation == ".........x>"
    assert Referee.deserialize(referee.serialize()).observation == referee.observation


def test_last_moves_end_their_games() -> None:
    def ends(position: str, move: str) -> bool:
        cells = list(position[:9])
        cells[int(move) - 1] = position[9]
        lines = (
            *(cells[i::3] for i in range(3)),
            *(cells[i : i + 3] for i in (0, 3, 6)),
            cells[::4],
            cells[2:7:2],
        )
        return "." not in cells or any(line == 3 * [position[9]] for line in lines)

    shares = {}
    for last_moves in (0.0, 1.0):
        env, rng = OpenSpielEnv("tic_tac_toe", last_moves=last_moves), np.random.default_rng(0)
        documents = [env.document(rng) for _ in range(300)]
        moves = [(position, move) for position, move in documents if position.endswith(">")]
        assert 100 < len(moves) < 200
        shares[last_moves] = sum(ends(*document) for document in moves) / len(moves)
    assert shares[0.0] < 0.5
    assert shares[1.0] == 1
    with pytest.raises(ValueError, match="last_moves"):
        OpenSpielEnv("tic_tac_toe", last_moves=1.5)


def test_unknown_game_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'tic_tac_toe'"):
        OpenSpielEnv("tic_tac_to")


def test_symmetric_positions_are_one() -> None:
    canonical = Referee("tic_tac_toe").text.canonical
    assert len({canonical(f"{b}o>") for b in ("x........", "..x......", "......x..", "........x")}) == 1
    assert canonical("x........o>") != canonical("....x....o>")


def test_hidden_cards_stay_hidden() -> None:
    env = OpenSpielEnv("kuhn_poker")
    seen = set()
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        assert set(info) == {"seat", "legal_actions"}
        own, _ = str(env.referee.state).split()[:2]
        assert observation.split()[0] == "JQK"[int(own)]  # and nothing of the other's card
        seen.add(observation)
    assert len(seen) == 3  # one for each card the first player may hold


GAMES = [
    "connect_four",
    "connect_four(rows=4,columns=4)",
    "nim",
    "breakthrough(rows=4,columns=4)",
    "hex(board_size=3)",
    "othello",
    "sized_othello(size=6)",
    "dots_and_boxes",
    "kuhn_poker",
    "leduc_poker",
    "pig",
    "2048",
    "liars_dice",
    "blackjack",
    "mancala",
]


@pytest.mark.parametrize("game", GAMES)
def test_games_are_played_to_the_end_by_text(game: str) -> None:
    """Twice alike; moves are told apart; positions that differ look different."""
    looks: dict[str, str] = {}
    endings = []
    for _ in range(2):
        env = OpenSpielEnv(game)
        observation, info = env.reset(seed=4)
        rng, n = np.random.default_rng(0), 0
        while info["legal_actions"] and n < 3000:
            assert len(set(info["legal_actions"])) == len(info["legal_actions"])
            if env.referee.perfect_information and env.referee.game.num_players() == 2:
                # All that a position is: what is on the board and who moves (pig, mancala: scores too).
                state = f"{env.referee.seat} {env.referee.state}"
                assert (
                    looks.setdefault(observation, state).split("Move number")[0]
                    == state.split("Move number")[0]
                )
            observation, _, over, _, info = env.step(str(rng.choice(info["legal_actions"])))
            n += 1
        assert over
        assert len(info["returns"]) == env.referee.game.num_players()
        endings.append((observation, n, info["returns"]))
    assert endings[0] == endings[1]


@pytest.mark.parametrize("game", ["kuhn_poker", "leduc_poker", "liars_dice"])
def test_a_seat_sees_nothing_of_the_other_hand(game: str) -> None:
    """Deals that differ only in the other seat's hand look the same, all through the same actions."""
    rng = np.random.default_rng(0)
    seen: dict[tuple[object, ...], set[str]] = {}
    for _ in range(400):
        state = Referee(game).state
        dealt: list[int] = []
        while state.is_chance_node() and len(dealt) < 2:
            action = int(rng.choice([a for a, _ in state.chance_outcomes()]))
            state.apply_action(action)
            dealt.append(action)
        referee = Referee(game, state)
        history: tuple[str, ...] = ()
        while not referee.over and not referee.state.is_chance_node():
            own = dealt[referee.seat]
            own = own // 2 if game == "leduc_poker" else own  # two cards of a rank are one to see
            seen.setdefault((referee.seat, own, history), set()).add(referee.observation)
            move = str(rng.choice(referee.legal_actions))
            history = (*history, move)
            referee.apply(move)
        if referee.over:
            assert referee.observation == "->"
    assert len(seen) > 10
    assert all(len(views) == 1 for views in seen.values())


def test_nothing_hidden_travels_in_info() -> None:
    env = OpenSpielEnv("kuhn_poker")
    _, info = env.reset(seed=0)
    assert set(info) == {"seat", "legal_actions"}
    assert env.referee.turn().state == ""
