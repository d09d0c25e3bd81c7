"""`shuhari play`, as a person meets it: through a terminal, through a pipe, and with mistakes."""

import io
import os
import pty
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mistakes import mistake
from person import Person

from shuhari.envs.games.referee import Referee
from shuhari.envs.registry import open_env
from shuhari.loops.cli.play import main
from shuhari.loops.play.board import board
from shuhari.loops.play.terminal import Terminal
from shuhari.policy.policy import Policy

GAME = "shuhari/TicTacToe-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the base `games`, which is not zero."""
    path = tmp_path_factory.mktemp("run") / "adapter"
    policy = Policy("games", rank=2, alpha=4.0)
    with torch.no_grad():
        for p in policy.parameters.values():
            p.add_(torch.randn_like(p) * 0.1)
    policy.save(path)
    return path


@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_terminal_with_nonsense_undo_and_the_end_of_the_input(columns: int) -> None:
    person = Person(columns, "play", GAME, "--against", "random", "--seed", "3")
    assert "1 2 3\r\n4 5 6\r\n7 8 9\r\n" in person.wait("x> ")
    person.type("zz\r")
    told = person.wait("x> ")
    assert "'zz' is not legal. Legal: 1 2 3" in told
    assert all(command in told for command in ("hint", "undo", "quit"))
    person.type("hint\r")
    assert "1 11.1%" in person.wait("x> ")
    person.type("undo\r")
    assert "no move of yours to take back" in person.wait("x> ")
    person.type("5\r")
    played = person.wait("x> ")
    assert re.search(r"o plays \d", played)
    assert " x " in played
    person.type("undo\r")
    assert "4 5 6" in person.wait("x> ")
    person.type("\x04")
    assert person.status() == 0
    assert "The game is left." in person.read
    assert "Traceback" not in person.read
    assert max(map(len, person.read.split("\r\n"))) <= columns


def test_ctrl_c_ends_with_its_status_and_no_traceback() -> None:
    person = Person(80, "play", "shuhari/Addition-v0", "--seed", "0")
    person.wait("you> ")
    person.type("4")
    person.wait("4")
    time.sleep(0.1)
    for _ in range(20):  # a signal that comes just before Python waits is not seen until the next
        person.type("\x03")
        if person.ended(0.5):
            break
    assert person.status() == 130
    assert "Traceback" not in person.read


def through_a_pipe(monkeypatch: pytest.MonkeyPatch, typed: bytes, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
    return main(arguments)


def test_through_a_pipe_lines_are_plain_and_any_bytes_are_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = b"\xff\xfe\n\n" + b"\x00" * 5000 + b"\nH00\nquit\n"  # and letters of the other case
    assert through_a_pipe(monkeypatch, typed, "shuhari/DotsAndBoxes-v0", "--against", "random") == 0
    out = capsys.readouterr().out
    assert out.count("is not legal. Legal: h00 h01") == 3
    assert "h0 +-" in out
    assert "\x1b" not in out
    assert "\r" not in out
    assert max(map(len, out.splitlines())) < 400  # what was typed is not repeated whole


def test_both_seats_are_mine_or_watched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    game = ["shuhari/OpenSpiel-v0", "game=nim(pile_sizes=1;2)"]
    assert through_a_pipe(monkeypatch, b"1:1\n2:1\nundo\n2:1\n2:1\n", *game, "--seat", "both") == 0
    out = capsys.readouterr().out
    assert out.count("Legal: 2:1 2:2") == 2  # the second time after undo
    assert out.endswith("1 wins.\n")  # who takes the last one loses
    assert through_a_pipe(monkeypatch, b"", *game, "--seat", "none", "--against", "perfect") == 0
    out = capsys.readouterr().out
    assert "Seats are 0: perfect, 1: perfect." in out
    assert "0 plays 2:2\n" in out
    assert out.endswith("0 wins.\n")


def test_a_hint_is_what_the_opponent_would_do_and_search_asks_its_policy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    for player in (str(folder), f"search:4:{folder}"):
        assert through_a_pipe(monkeypatch, b"hint\n5\n", GAME, "--against", player) == 0
        out = capsys.readouterr().out
        (hint,) = re.findall("Hint: (.*)", out)
        shares = [float(share) for share in re.findall(r"([\d.]+)%", hint)]
        assert len(shares) == 9
        assert sum(shares) == pytest.approx(100, abs=0.5)
        assert shares == sorted(shares, reverse=True)
        assert len(set(shares)) > 2  # and not the one move that it would play
        assert "o plays" in out
    through_a_pipe(monkeypatch, b"hint\n", GAME, "--against", "base", "--base", "games")
    first = re.findall("Hint: (.*)", capsys.readouterr().out)
    through_a_pipe(monkeypatch, b"hint\n", GAME, "--against", str(folder))
    assert re.findall("Hint: (.*)", capsys.readouterr().out) != first


def test_a_person_answers_a_problem_then_the_policy_and_the_expert(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = open_env("shuhari/Addition-v0", {})
    seed = int(np.random.default_rng(6).integers(2**31))
    env.reset(seed=seed, options={"split": "heldout"})
    right = env.unwrapped.solution(env.unwrapped.task)  # type: ignore[attr-defined]
    typed, math = f"{right}\n\nno idea\n".encode(), ["--against", "base", "--base", "math"]
    assert through_a_pipe(monkeypatch, typed, "shuhari/Addition-v0", "--seed", "6", *math) == 0
    parts = re.split("Problem: |you>|base:\n|expert:\n|Enter for", capsys.readouterr().out)
    problem, mine, policy, expert = parts[1:5]
    assert problem.strip() == env.unwrapped.task.prompt  # type: ignore[attr-defined]
    assert mine.startswith("\n-> correct (")
    assert re.search(r"\n-> (correct|wrong) \(", policy)
    assert expert.startswith(f"{right}\n-> correct (")  # of the same problem
    assert parts[7].startswith("\n-> wrong")  # no idea


def test_tools_reply_to_a_person_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert through_a_pipe(monkeypatch, b"calc: 12*34\n#### 1\nquit\n", "shuhari/Calculator-v0") == 0
    assert "you>\n= 408\nyou>\n-> wrong (" in capsys.readouterr().out


def test_an_answer_grows_on_a_terminal_and_is_whole_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["shuhari/Addition-v0", "--question", "12+34=", "--base", "math", "--against", "base"]
    assert through_a_pipe(monkeypatch, b"", *asked) == 0
    plain = capsys.readouterr().out
    name, answer, judged = plain.splitlines()
    assert name == "base:"
    assert re.fullmatch(r"[\dcn ]+=\d+", answer)
    assert judged.startswith("-> not judged")
    ours, theirs = pty.openpty()
    writes = list[str]()
    with os.fdopen(theirs, "r") as keys, os.fdopen(os.dup(theirs), "w") as screen:
        monkeypatch.setattr("sys.stdin", keys)
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.setattr(Terminal, "show", lambda self, text, end="\n": writes.append(text + end))
        monkeypatch.setattr(Terminal, "say", lambda self, text="": writes.append(f"{text}\n"))
        assert main(asked) == 0
    os.close(ours)
    assert "".join(writes) == plain
    assert len(writes) > len(answer) // 2  # in many pieces


BOARDS = {
    ("tic_tac_toe", "5 1"): ["o 2 3", "4 x 6", "7 8 9"],
    ("connect_four(rows=4,columns=4)", "2 2"): [". . . .", ". . . .", ". o . .", ". x . .", "1 2 3 4"],
    ("hex(board_size=3)", "b1 c3"): ["  a b c", "1 . x .", " 2 . . .", "  3 . . o"],
    ("breakthrough(rows=4,columns=4)", "a4a3"): [
        "  a b c d",
        "4 . b b b",
        "3 b . . .",
        "2 . . . .",
        "1 w w w w",
    ],
    ("dots_and_boxes", "h00 v01"): ["h0 +-+ +", "v0   |", "h1 + + +", "v1", "h2 + + +"],
    ("nim", "4:7"): ["1,3,5,0"],
}


@pytest.mark.parametrize(("game", "moves"), BOARDS)
def test_boards_are_drawn_for_people(game: str, moves: str) -> None:
    referee = Referee(game)
    for move in moves.split():
        referee.apply(move)
    assert board(referee) == BOARDS[game, moves]


def test_a_board_hides_what_its_seat_may_not_see() -> None:
    referee = Referee("kuhn_poker")
    referee.resolve_chance(np.random.default_rng(0))
    assert re.fullmatch("[JQK]", "\n".join(board(referee)))
    referee.apply("b")
    referee.apply("p")
    assert board(referee) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shuhari/TicTacTo-v0"], "TicTacToe"),
        (["shuhari/FrozenLake-v0"], "this is neither"),
        ([GAME, "game"], "'game': arguments are key=value"),
        ([GAME, "--seat", "2"], "--seat 2: 0 to 1, both or none"),
        ([GAME, "--seat", "-1"], "--seat -1"),
        ([GAME, "--against", "rndom"], "did you mean 'random'?"),
        ([GAME, "--against", "/nowhere"], "there is no such folder"),
        ([GAME, "--against", "."], "no adapter_config.json there"),
        ([GAME, "--against", "base"], "Give --base"),
        ([GAME, "--against", "base", "--base", "nobody"], "--base nobody: neither shipped"),
        ([GAME, "--against", "search:0"], "how many simulations?"),
        ([GAME, "--against", "random", "--against", "expert"], "free seats: 1"),
        ([GAME, "--question", "1"], "--question is for problems"),
        ([GAME, "--against", "{folder}", "--base", "math"], "was trained on another base"),
        ([GAME, "--against", "{orphan}"], "names no base; give --base"),
        ([GAME, "--against", "{moved}"], "--base gives another place): there is no such folder"),
        (["shuhari/KuhnPoker-v0", "--against", "perfect"], "cannot be listed"),
        (["shuhari/KuhnPoker-v0", "--against", "search:2"], "hide nothing"),
        (["shuhari/Addition-v0", "--against", "perfect"], "perfect: plays games"),
        (["shuhari/Addition-v0", "--seat", "1"], "of problems 0"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, base in (("orphan", "null"), ("moved", '"/gone/games"')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(f'{{"base_model_name_or_path": {base}}}')
    places = {"folder": folder, "orphan": tmp_path / "orphan", "moved": tmp_path / "moved"}
    assert message in mistake(main, [argument.format(**places) for argument in arguments], capsys)
