"""The referee: a game underneath its env. OpenSpiel does the rules; this gives them text."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyspiel

from shuhari.envs.games import GameText, game_text
from shuhari.envs.types import Turn


class IllegalMove(ValueError):
    """The text is not a legal move here."""


TERMINAL, CHANCE = int(pyspiel.PlayerId.TERMINAL), int(pyspiel.PlayerId.CHANCE)


class _Names(dict[int, str]):
    """The text of each action of a seat, made once where the game allows it."""

    def __init__(self, text: GameText) -> None:
        self.text = text

    def of(self, state: Any, legal: list[int]) -> dict[str, int]:
        """What is legal, by its text."""
        if not self.text.fixed_moves:
            return {self.text.move(state, action): action for action in legal}
        for action in legal:
            if action not in self:
                self[action] = self.text.move(state, action)
        return {self[action]: action for action in legal}


@dataclass(frozen=True)
class _Rules:
    """What every referee of a game shares."""

    game: Any
    text: GameText
    hidden: bool
    names: tuple[_Names, ...]  # by seat


@lru_cache(maxsize=64)
def _rules(name: str) -> _Rules:
    """OpenSpiel's game of that name, parameters included, as in `connect_four(rows=4,columns=4)`."""
    try:
        game = pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        import difflib

        near = difflib.get_close_matches(name.split("(")[0], pyspiel.registered_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no OpenSpiel game {name!r}{hint} ({str(error).splitlines()[0]})") from None
    kind = game.get_type()
    if kind.dynamics != pyspiel.GameType.Dynamics.SEQUENTIAL:
        raise ValueError(
            f"{name!r} is not sequential: only games in which one seat moves at a time are served"
        )
    text, hidden = game_text(game), kind.information.name != "PERFECT_INFORMATION"
    return _Rules(game, text, hidden, tuple(_Names(text) for _ in range(game.num_players())))


class Referee:
    """Whose seat it is, what is legal, what happened. All moves are text.

    `state` is OpenSpiel's, to read; only `apply` and `resolve_chance` may change it.
    """

    def __init__(self, game: str, state: Any = None) -> None:
        self.name, self._rules = game, _rules(game)
        self.game, self.text = self._rules.game, self._rules.text
        self.state = state if state is not None else self.game.new_initial_state()
        self._changed()

    def _changed(self) -> None:
        self._mover = int(self.state.current_player())
        self._legal: dict[str, int] | None = None  # once asked for

    @property
    def seat(self) -> int:
        """The seat to move, or -1 where the game is over or chance moves."""
        return self._mover if self._mover >= 0 else -1

    @property
    def perfect_information(self) -> bool:
        return not self._rules.hidden

    @property
    def chance(self) -> bool:
        """Whether chance is to move."""
        return self._mover == CHANCE

    @property
    def over(self) -> bool:
        return self._mover == TERMINAL

    @property
    def returns(self) -> tuple[float, ...]:
        """Every seat's return so far."""
        return tuple(self.state.returns())

    @property
    def observation(self) -> str:
        """The position as the seat to move may see it; the whole prompt, because strategies need no more.

        At the end there is nobody to see it, and what was hidden stays hidden.
        """
        seat, text = self._mover, self.text
        if seat < 0:
            return "->" if self._rules.hidden else f"{text.board(self.state, -1)}->"
        return f"{text.board(self.state, seat)}{text.seats[seat]}>"

    @property
    def legal_actions(self) -> tuple[str, ...]:
        return tuple(self._actions())

    def _actions(self) -> dict[str, int]:
        if self._legal is None:
            seat, state = self.seat, self.state
            self._legal = self._rules.names[seat].of(state, state.legal_actions()) if seat >= 0 else {}
        return self._legal

    def turn(self, seed: int = 0) -> Turn:
        """What the seat to move sees."""
        # The state is the whole state: no seat may see it where something is hidden.
        state = self.serialize() if self.perfect_information and not self.over else ""
        return Turn(self.observation, self.legal_actions, self.seat, state, seed)

    def apply(self, move: str) -> None:
        """Play `move`. Raises `IllegalMove`, naming what is legal, and leaves the game as it was."""
        actions = self._actions()
        action = actions.get(move)
        if action is None:
            action = actions.get(move.strip())
        if action is None:
            raise IllegalMove(
                f"{move[:40]!r} is not legal here; legal: {' '.join(actions) or 'nothing, it is over'}"
            )
        self.state.apply_action(action)
        self._changed()

    def resolve_chance(self, rng: np.random.Generator) -> None:
        """Let chance move until a seat is to move or the game is over."""
        while self.chance:
            outcomes = self.state.chance_outcomes()
            draw, chosen = rng.random(), outcomes[-1][0]
            for action, probability in outcomes:
                draw -= probability
                if draw < 0:
                    chosen = action
                    break
            self.state.apply_action(chosen)
            self._changed()

    def clone(self) -> "Referee":
        return Referee(self.name, self.state.clone())

    def serialize(self) -> str:
        """Everything needed to stand here again: see `deserialize`."""
        return f"{self.name}\n{self.state.serialize()}"

    @classmethod
    def deserialize(cls, text: str) -> "Referee":
        name, _, state = text.partition("\n")
        return cls(name, _rules(name).game.deserialize_state(state))
