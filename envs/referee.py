"""The referee: a game underneath its env. OpenSpiel does the rules; this gives them text."""

from functools import lru_cache
from typing import Any

import numpy as np
import pyspiel

from shuhari.envs.games import GameText, game_text


class IllegalMove(ValueError):
    """The text is not a legal move here."""


@lru_cache(maxsize=64)
def load_game(name: str) -> Any:
    """OpenSpiel's game of that name, parameters included, as in `connect_four(rows=4,columns=4)`."""
    try:
        game = pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        import difflib

        near = difflib.get_close_matches(name.split("(")[0], pyspiel.registered_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no OpenSpiel game {name!r}{hint} ({str(error).splitlines()[0]})") from None
    if game.get_type().dynamics != pyspiel.GameType.Dynamics.SEQUENTIAL:
        raise ValueError(
            f"{name!r} is not sequential: only games in which one seat moves at a time are served"
        )
    return game


class Referee:
    """Whose seat it is, what is legal, what happened. All moves are text."""

    def __init__(self, game: str, state: Any = None) -> None:
        self.name = game
        self.game = load_game(game)
        self.text: GameText = game_text(self.game)
        self.state = state if state is not None else self.game.new_initial_state()
        self._hidden = self.game.get_type().information.name != "PERFECT_INFORMATION"
        self._legal: dict[str, int] | None = None  # of the present state, once asked for

    @property
    def seat(self) -> int:
        """The seat to move, or -1 where the game is over or chance moves."""
        return max(-1, int(self.state.current_player()))

    @property
    def perfect_information(self) -> bool:
        return not self._hidden

    @property
    def over(self) -> bool:
        return bool(self.state.is_terminal())

    @property
    def returns(self) -> tuple[float, ...]:
        """Every seat's return so far."""
        return tuple(self.state.returns())

    @property
    def observation(self) -> str:
        """The position as the seat to move may see it; the whole prompt, because strategies need no more.

        At the end there is nobody to see it, and what was hidden stays hidden.
        """
        seat = self.seat
        if seat < 0 and self._hidden:
            return "->"
        return f"{self.text.board(self.state, seat)}{self.text.seats[seat] if seat >= 0 else '-'}>"

    @property
    def legal_actions(self) -> tuple[str, ...]:
        return tuple(self._actions())

    def _actions(self) -> dict[str, int]:
        if self._legal is None:
            state, move = self.state, self.text.move
            legal = state.legal_actions() if self.seat >= 0 else ()
            self._legal = {move(state, action): action for action in legal}
        return self._legal

    def apply(self, move: str) -> None:
        """Play `move`. Raises `IllegalMove`, naming what is legal, and leaves the game as it was."""
        actions = self._actions()
        action = actions.get(move.strip())
        if action is None:
            raise IllegalMove(
                f"{move[:40]!r} is not legal here; legal: {' '.join(actions) or 'nothing, it is over'}"
            )
        self.state.apply_action(action)
        self._legal = None

    def resolve_chance(self, rng: np.random.Generator) -> None:
        """Let chance move until a seat is to move or the game is over."""
        while self.state.is_chance_node():
            actions, probabilities = zip(*self.state.chance_outcomes(), strict=True)
            self.state.apply_action(int(rng.choice(actions, p=probabilities)))
            self._legal = None

    def clone(self) -> "Referee":
        return Referee(self.name, self.state.clone())

    def serialize(self) -> str:
        """Everything needed to stand here again: see `deserialize`."""
        return f"{self.name}\n{self.state.serialize()}"

    @classmethod
    def deserialize(cls, text: str) -> "Referee":
        name, _, state = text.partition("\n")
        return cls(name, load_game(name).deserialize_state(state))
