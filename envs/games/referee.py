"""The referee: a game underneath its env. OpenSpiel does the rules; this gives them text."""

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyspiel

from shuhari.envs.games.text import GameText, game_text
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
        if self.text.fixed_moves:
            for action in legal:
                if action not in self:
                    self[action] = self.text.move(state, action)
            found = {self[action]: action for action in legal}
        else:
            found = {self.text.move(state, action): action for action in legal}
        if len(found) < len(legal):
            raise ValueError(f"{len(legal)} legal moves have {len(found)} names: {' '.join(found)}")
        return found


@dataclass(frozen=True)
class _Rules:
    """What every referee of a game shares."""

    game: Any
    text: GameText
    hidden: bool
    names: tuple[_Names, ...]  # by seat


@contextmanager
def _unheard() -> Iterator[None]:
    """OpenSpiel prints what it raises, too: a person is told once."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _as_openspiel_writes(name: str) -> str:
    """A game as people type it, without spaces around its signs and with brackets after a game in a game."""
    name = re.sub(r"\s*([(),=])\s*", r"\1", name.strip())
    return re.sub(r"(?<=\b)((?:stage_)?game=\w+)(?=[,)])", r"\1()", name)


def _load(name: str) -> Any:
    """OpenSpiel's game. Raises ValueError with what to do where there is none."""
    written, known = (
        _as_openspiel_writes(name),
        {kind.short_name: kind for kind in pyspiel.registered_games()},
    )
    short = written.partition("(")[0]
    if short not in known:
        near = difflib.get_close_matches(short, known, n=1)
        raise ValueError(f"no OpenSpiel game {name!r}{f'; did you mean {near[0]!r}?' if near else ''}")
    try:
        with _unheard():
            return pyspiel.load_game(written)
    except Exception as error:  # a game's parameters are checked, or not, in any way
        parameters = ", ".join(f"{key}=…" for key in known[short].parameter_specification)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"game {name!r} cannot be made ({reason}); it is {short}({parameters})") from None


@lru_cache(maxsize=64)
def _rules(name: str) -> _Rules:
    """OpenSpiel's game of that name, parameters included, as in `connect_four(rows=4,columns=4)`.

    Raises ValueError, with what to do, for one that cannot be served.
    """
    game = _load(name)
    kind = game.get_type()
    if kind.dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        inner = name if "(" in name else f"{name}()"
        raise ValueError(
            f"game {name!r} has seats that move at once; take turn_based_simultaneous_game(game={inner})"
        )
    if kind.dynamics == pyspiel.GameType.Dynamics.MEAN_FIELD:
        raise ValueError(f"game {name!r} is a mean-field game, which has no seats; take another")
    if kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC:
        raise ValueError(
            f"game {name!r} draws its chance out of sight, so that no seed gives it twice; take another"
        )
    text, hidden = game_text(game), kind.information.name != "PERFECT_INFORMATION"
    names = tuple(_Names(text) for _ in range(game.num_players()))
    try:
        with _unheard():
            state, rng = game.new_initial_state(), np.random.default_rng(0)
            while state.is_chance_node():
                state.apply_action(int(rng.choice(state.legal_actions())))
            if (seat := state.current_player()) >= 0:  # in some games the first cards can end it
                text.board(state, seat)
                names[seat].of(state, state.legal_actions())
    except Exception as error:  # OpenSpiel's games are many, and not all can do what its interface promises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"game {name!r} cannot be played as text ({reason}); take another") from None
    return _Rules(game, text, hidden, names)


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
