"""A game at a table: people and players in its seats, with hints, and moves that can be taken back."""

import re
from collections.abc import Sequence

import numpy as np

from shuhari.envs.games.referee import Referee
from shuhari.envs.player import Player
from shuhari.envs.types import Turn
from shuhari.loops.play.board import board
from shuhari.loops.play.terminal import Terminal

COMMANDS = "hint, undo, quit"
MOST_HINTS = 12  # moves of a hint


class GameTable:
    """One game from `referee`'s position on.

    seats: who sits in each seat; None: a person
    names: of the players, for each seat
    hints: whose probabilities a person is shown
    """

    def __init__(
        self,
        referee: Referee,
        seats: Sequence[Player | None],
        names: Sequence[str],
        hints: Player,
        terminal: Terminal,
        rng: np.random.Generator,
    ) -> None:
        self.referee, self.seats, self.names = referee, seats, names
        self.hints, self.terminal, self.rng = hints, terminal, rng
        self._earlier: list[Referee] = []  # positions at which a person moved

    def play(self) -> None:
        """Play to the end, or until a person leaves."""
        self._introduce()
        self.referee.resolve_chance(self.rng)
        while not self.referee.over:
            player = self.seats[self.referee.seat]
            if player is None:
                if not self._ask():
                    self.terminal.say("The game is left.")
                    return
                continue
            if None not in self.seats:
                self._show_board()
            move = player.act([self._turn()])[0]
            self.terminal.say(f"{self._mover} plays {move}")
            self._apply(move)
        self._show_board()
        self.terminal.say(self._result())

    def _introduce(self) -> None:
        text = self.referee.text
        who = [
            f"{seat}: {'you' if player is None else name}"
            for seat, player, name in zip(text.seats, self.seats, self.names, strict=True)
        ]
        self.terminal.say(_rules(text.instructions))
        self.terminal.say(f"Seats are {', '.join(who)}.")
        if None in self.seats:
            self.terminal.say(f"Answer with a move, or {COMMANDS}.")

    @property
    def _mover(self) -> str:
        return self.referee.text.seats[self.referee.seat]

    def _turn(self) -> Turn:
        return self.referee.turn(int(self.rng.integers(2**31)))

    def _apply(self, move: str) -> None:
        self.referee.apply(move)
        self.referee.resolve_chance(self.rng)

    def _show_board(self) -> None:
        if lines := board(self.referee):
            self.terminal.show("\n".join(["", *lines]))

    def _ask(self) -> bool:
        """Show the position and take a person's move, which may go back; whether the person goes on."""
        self._show_board()
        self.terminal.say(f"Legal: {self._legal}")
        while (said := self.terminal.ask(self._mover)) is not None:
            if move := self._meant(said):
                self._earlier.append(self.referee.clone())
                self._apply(move)
                return True
            if said == "quit":
                return False
            if said == "hint":
                self._hint()
            elif said != "undo":
                self.terminal.say(f"{said[:40]!r} is not legal. Legal: {self._legal}; or {COMMANDS}")
            elif self._earlier:
                self.referee = self._earlier.pop()
                return True
            else:
                self.terminal.say("There is no move of yours to take back.")
        return False

    @property
    def _legal(self) -> str:
        """The legal moves; some games' have spaces in them."""
        moves = self.referee.legal_actions
        return (", " if any(" " in move for move in moves) else " ").join(moves)

    def _meant(self, said: str) -> str:
        """The legal move that is meant, perhaps in letters of the other case, or ""."""
        moves = self.referee.legal_actions
        alike = [move for move in moves if move.casefold() == said.casefold()]
        return said if said in moves else alike[0] if len(alike) == 1 else ""

    def _hint(self) -> None:
        (probabilities,) = self.hints.probabilities([self._turn()])
        best = np.argsort(-probabilities, kind="stable")[:MOST_HINTS]
        moves = self.referee.legal_actions
        shown = ", ".join(f"{moves[i]} {100 * probabilities[i]:.1f}%" for i in best)
        self.terminal.say(f"Hint: {shown}{', …' if len(best) < len(moves) else ''}")

    def _result(self) -> str:
        referee, seats = self.referee, self.referee.text.seats
        if len(seats) != 2 or referee.game.get_type().utility.name != "ZERO_SUM":
            earned = ", ".join(f"{s} {r:g}" for s, r in zip(seats, referee.returns, strict=True))
            return f"The game is over. Returns: {earned}."
        first, second = referee.returns
        if first == second:
            return "A draw."
        won = int(second > first)
        you = " (you)" if self.seats[won] is None and self.seats.count(None) == 1 else ""
        return f"{seats[won]}{you} wins."


def _rules(instructions: str) -> str:
    """What a policy is told of a game, without how it is shown positions: a person sees a board."""
    sentences = re.split(r"(?<=[\w>)])\. ", instructions)
    return ". ".join(sentence for sentence in sentences if "then who moves" not in sentence)
