"""How a game is shown to a language model: compact, complete text for positions and moves.

A game without an entry here is shown as OpenSpiel shows it. Entries exist where that wastes tokens: a
prompt's length is the cost of every rollout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GameText:
    """The text form of one game. `board` and `move` take OpenSpiel's state (and its action)."""

    instructions: str
    board: Callable[[Any], str]
    move: Callable[[Any, int], str]
    seats: tuple[str, ...]
    # The same string for positions that a symmetry of the rules maps onto each other.
    canonical: Callable[[str], str]


def _square_symmetries(cells: str) -> list[str]:
    """The eight images of a square board written row by row."""
    side = int(len(cells) ** 0.5)
    rows = [cells[i * side : (i + 1) * side] for i in range(side)]
    images = []
    for _ in range(4):
        rows = ["".join(column) for column in zip(*rows[::-1], strict=True)]  # a quarter turn
        images += ["".join(rows), "".join(row[::-1] for row in rows)]
    return images


def _tic_tac_toe_canonical(observation: str) -> str:
    board, mover = observation[:-2], observation[-2:]
    return min(_square_symmetries(board)) + mover


GAMES: dict[str, GameText] = {
    "tic_tac_toe": GameText(
        instructions=(
            "Tic-tac-toe: x moves first; three of your marks in a row, column or diagonal win. The position "
            "is the nine cells row by row (. is empty), then who moves, then >. Answer with a cell from 1 "
            "(top left) to 9 (bottom right)."
        ),
        board=lambda state: str(state).replace("\n", ""),
        move=lambda state, action: str(action + 1),
        seats=("x", "o"),
        canonical=_tic_tac_toe_canonical,
    ),
}


def game_text(game: Any) -> GameText:
    """The entry for an OpenSpiel game, or OpenSpiel's own strings where there is none."""
    name = game.get_type().short_name
    if name in GAMES:
        return GAMES[name]

    def board(state: Any) -> str:
        if game.get_type().information.name == "PERFECT_INFORMATION":
            return str(state)
        seat = state.current_player()  # str(state) would show every hand: only what this seat may see
        if game.get_type().provides_information_state_string:
            return str(state.information_state_string(seat))
        return str(state.observation_string(seat))

    return GameText(
        instructions=f"{game.get_type().long_name}. Answer with one of the legal moves.",
        board=lambda state: f"{board(state)}\n",
        move=lambda state, action: str(state.action_to_string(state.current_player(), action)),
        seats=tuple(str(seat) for seat in range(game.num_players())),
        canonical=lambda observation: observation,
    )
