"""The text of positions and moves for a language model: short and complete.

A game without an entry here has OpenSpiel's own text. A game has an entry if that text is long, because every
token costs time, or if it shows a seat what the rules hide from it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any

from shuhari.envs.games import symmetry

DRAW = "d"  # as the outcome of a game: one character, so that an outcome is read at one place


@dataclass(frozen=True, slots=True)
class GameText:
    """The text form of one game.

    `board` takes OpenSpiel's state and the seat that sees it, `move` takes the state and an action. `seats`
    are the names of two seats; with more seats, their names are numbers. `{ranks}` in `instructions` stands
    for the cards. `fixed_moves`: the text of a move depends on seat and action only, so it can be cached.
    """

    instructions: str
    board: Callable[[Any, int], str]
    move: Callable[[Any, int], str]
    seats: tuple[str, ...]
    images: symmetry.Images = symmetry.none  # the positions that the rules cannot tell apart
    fixed_moves: bool = True

    def canonical(self, observation: str) -> str:
        """The same string for positions that a symmetry of the rules maps onto each other."""
        return symmetry.canonical(self.images, observation)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """How a game of two seats can end, as text: the winner's name, or `DRAW`."""
        return (*self.seats[:2], DRAW)


def _rows(state: Any) -> list[str]:
    return str(state).strip("\n").split("\n")


def _board(state: Any) -> str:
    """The rows of a board in one line."""
    return str(state).strip("\n").replace("\n", "/")


def _othello(state: Any) -> str:
    """The eight rows, without the labels around them."""
    rows = str(state).replace(" ", "").replace("-", ".").strip("\n").split("\n")[-9:-1]
    return "/".join(row[1:-1] for row in rows)


def _name(state: Any, action: int) -> str:
    return str(state.action_to_string(state.current_player(), action))


def _nim_move(name: str) -> str:
    """`pile:2, take:1;` as `2:1`."""
    return ":".join(re.findall("[0-9]+", name))


def _line_move(name: str) -> str:
    """`P2(h,0,1)` as `h01`, or `P2(h,0,10)` as `h0,10`."""
    way, row, column = re.findall("[hv]|[0-9]+", name[2:])
    return f"{way}{row}{',' if len(row + column) > 2 else ''}{column}"


# OpenSpiel uses other letters for stones that are connected to an edge.
_HEX = str.maketrans({" ": None, "\n": "/", "X": "x", "y": "x", "z": "x", "O": "o", "p": "o", "q": "o"})
_LINES = str.maketrans({"\u2500": "-", "\u2502": "|", " ": ".", "\n": "/"})


@lru_cache(maxsize=64)
def _cells(rows: int, width: int) -> Callable[[str], tuple[str, ...]]:
    """Takes from OpenSpiel's drawing of dots and boxes the lines, the boxes and the ends of rows.

    Lines between dots are four characters apart. In the other rows, every second character is a line or a
    box.
    """
    places = []
    for row in range(rows):
        columns = range(2, width, 4) if row % 2 == 0 else range(0, width, 2)
        places += [row * (width + 1) + column for column in (*columns, width)]
    return itemgetter(*places[:-1])


def _dots_and_boxes(state: Any) -> str:
    """Lines and boxes row by row: `-` or `|` where drawn, a box's owner, `.` elsewhere."""
    text = str(state)
    width = text.index("\n")
    return "".join(_cells((len(text) + 1) // (width + 1), width)(text)).translate(_LINES)


def _ranks(n: int) -> str:
    """The `n` cards of a poker game, the lowest first: J, Q, K, or with more ranks up to the ace."""
    return "JQK" if n == 3 else "23456789TJQKA"[-n:]


def _kuhn(state: Any, seat: int) -> str:
    """The seat's own card, and the actions so far: p passes, b bets."""
    card, done = re.fullmatch("([0-9]+)(.*)", str(state.information_state_string(seat))).groups()  # type: ignore[union-attr]
    return f"{_ranks(state.num_players() + 1)[int(card)]} {done} "


def _leduc(state: Any, seat: int) -> str:
    """The seat's own card, the public card if there is one, and the actions of both rounds."""
    seen = str(state.information_state_string(seat))

    def found(name: str) -> str:
        match = re.search(rf"\[{name}:? ?([^\]]*)\]", seen)
        return match.group(1).strip() if match else ""

    ranks = _ranks(state.num_players() + 1)
    # Cards are numbered by rank and suit, or with suit_isomorphism by rank only.
    suits = 1 if state.get_game().get_parameters().get("suit_isomorphism", False) else 2
    own, public = (ranks[int(card) // suits] if card else "-" for card in map(found, ("Private", "Public")))
    rounds = ["".join("fcr"[int(action)] for action in found(name).split()) for name in ("Round1", "Round2")]
    return f"{own}{public} {rounds[0]}/{rounds[1]} "


def _pig(state: Any) -> str:
    *scores, turn = re.findall("[0-9]+", _rows(state)[0])
    return f"{' '.join(scores)} +{turn} "


_MARKS = ("x", "o")
_COLUMN = "Answer with a column, 1 is the leftmost."
_SLASHES = "Rows from the top are separated by / (. is empty); then who moves, then >."


def asks_outcome(observation: str) -> str:
    """A position's observation, as what asks for its outcome in place of a move."""
    return f"{observation.removesuffix('>')}="


_OTHELLO = GameText(
    instructions=(
        "Othello: a disc is placed so that it encloses a line of the other's discs, which turn over; "
        f"most discs at the end win. {_SLASHES} Answer with column and row, as in d3, or pass."
    ),
    board=lambda state, seat: _othello(state),
    move=_name,
    seats=_MARKS,
    images=symmetry.images_by(symmetry.square, symmetry.from_top),
)


GAMES: dict[str, GameText] = {
    "tic_tac_toe": GameText(
        instructions=(
            "Tic-tac-toe: x moves first; three of your marks in a row, column or diagonal win. The "
            "position is the nine cells row by row (. is empty), then who moves, then >. Answer with a "
            "cell from 1 (top left) to 9 (bottom right)."
        ),
        board=lambda state, seat: str(state).replace("\n", ""),
        move=lambda state, action: str(action + 1),
        seats=_MARKS,
        images=symmetry.images_by(symmetry.square, symmetry.by_number),
    ),
    "connect_four": GameText(
        instructions=(
            "Connect Four: x moves first; a mark falls to the lowest free cell of its column, and four of"
            f" yours in a row, column or diagonal win. {_SLASHES} {_COLUMN}"
        ),
        board=lambda state, seat: _board(state),
        move=lambda state, action: str(action + 1),
        seats=_MARKS,
        images=symmetry.images_by(symmetry.mirrored, symmetry.by_column),
    ),
    "nim": GameText(
        instructions=(
            "Nim: take any number of objects from one pile; who takes the last one loses (wins, in games "
            "with is_misere=false). The position is the size of each pile. Answer pile:number, piles from"
            " 1."
        ),
        board=lambda state, seat: str(state).partition(": ")[2].replace(" ", ",") + " ",
        move=lambda state, action: _nim_move(_name(state, action)),
        seats=("0", "1"),
    ),
    "breakthrough": GameText(
        instructions=(
            "Breakthrough: b moves down and w up, one step straight or diagonally forward; only a "
            f"diagonal step may take. Who reaches the far row, or takes every piece, wins. {_SLASHES} "
            "Answer with from and to, as in a2b3, and * where it takes; the lowest row is 1."
        ),
        board=lambda state, seat: "/".join(row.lstrip("0123456789") for row in _rows(state)[:-1]),
        move=_name,
        seats=("b", "w"),
        images=symmetry.images_by(symmetry.mirrored, symmetry.from_bottom),
    ),
    "hex": GameText(
        instructions=(
            "Hex: x connects the top and the bottom, o the left and the right, on cells with six "
            f"neighbours, each row shifted half a cell to the right. {_SLASHES} Answer with column and "
            "row, as in a1 (top left)."
        ),
        board=lambda state, seat: str(state).strip("\n").translate(_HEX),
        move=_name,
        seats=_MARKS,
        images=symmetry.images_by(symmetry.half_turned, symmetry.from_top),
    ),
    "othello": _OTHELLO,
    "sized_othello": replace(_OTHELLO, board=lambda state, seat: _board(state)),
    "dots_and_boxes": GameText(
        instructions=(
            "Dots and Boxes: draw a line; who draws the fourth side of a box owns it and moves again; "
            "most boxes win. Rows of horizontal lines and of vertical lines with boxes between them "
            "alternate, separated by / (. is free). Answer with h or v, row and column from 0, as in h01."
        ),
        board=lambda state, seat: _dots_and_boxes(state) + " ",
        move=lambda state, action: _line_move(_name(state, action)),
        seats=("1", "2"),
    ),
    "kuhn_poker": GameText(
        instructions=(
            "Kuhn poker: each seat holds one of {ranks} and has put in 1. p passes (checks or folds), b "
            "bets 1 (or calls). The higher card wins the pot. You see your card and what was done. Answer"
            " p or b."
        ),
        board=_kuhn,
        move=lambda state, action: "pb"[action],
        seats=("0", "1"),
    ),
    "leduc_poker": GameText(
        instructions=(
            "Leduc poker: two cards each of {ranks}; one a seat, and one public card before the second"
            " round. A pair with it wins, else the higher card. f folds, c checks or calls, r raises (2, "
            "in the second round 4; two raises a round). You see your card, the public one (- before), "
            "and the actions of both rounds. Answer f, c or r."
        ),
        board=_leduc,
        move=lambda state, action: "fcr"[action],
        seats=("0", "1"),
    ),
    "pig": GameText(
        instructions=(
            "Pig: roll as often as you like; a 1 ends your turn and loses its points, stop banks them. "
            "Who reaches the winning score first wins. You see all scores and the points of this turn. "
            "Answer roll or stop."
        ),
        board=lambda state, seat: _pig(state),
        move=_name,
        seats=("0", "1"),
    ),
    "2048": GameText(
        instructions=(
            "2048: all tiles slide up, right, down or left; equal neighbours merge and score their sum. "
            "Then a 2 or a 4 appears. Rows are separated by /, 0 is empty. Answer u, r, d or l."
        ),
        board=lambda state, seat: "/".join(" ".join(row.split()) for row in _rows(state)) + " ",
        move=lambda state, action: "urdl"[action],
        seats=("0",),
    ),
}


def game_text(game: Any) -> GameText:
    """The entry for an OpenSpiel game, or OpenSpiel's own strings where there is none.

    With perfect information, that is the string of the state. Otherwise it is the seat's information state,
    which has everything that the seat has seen, or if OpenSpiel has none, its observation, which has what it
    sees now. Raises ValueError for a game with hidden information and without such strings.
    """
    kind, seats = game.get_type(), tuple(str(seat) for seat in range(game.num_players()))
    if kind.short_name in GAMES:
        text = GAMES[kind.short_name]
        instructions = text.instructions.replace("{ranks}", ", ".join(_ranks(len(seats) + 1)))
        return replace(text, instructions=instructions, seats=text.seats if len(seats) == 2 else seats)
    hidden = kind.information.name != "PERFECT_INFORMATION"
    remembers = not hidden or kind.provides_information_state_string
    if not remembers and not kind.provides_observation_string:
        raise ValueError(
            f"{kind.short_name}: OpenSpiel has no text of what one seat may see; take another game"
        )

    def board(state: Any, seat: int) -> str:
        if not hidden:
            return str(state)
        # str(state) would show the hands of all seats.
        return str(state.information_state_string(seat) if remembers else state.observation_string(seat))

    now = "" if remembers else " You see what is now, and not what was before."
    return GameText(
        instructions=f"{kind.long_name}. Answer with one of the legal moves.{now}",
        board=lambda state, seat: f"{board(state, seat)}\n",
        move=_name,
        seats=seats,
        fixed_moves=False,  # in some games, such as chess, a move's name depends on the position
    )
