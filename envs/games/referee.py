"""`Referee`: one game in progress, with OpenSpiel's rules and moves as text."""

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

from shuhari.envs.games import othello  # noqa: F401  (OpenSpiel knows it from then on)
from shuhari.envs.games.text import DRAW, GameText, game_text
from shuhari.envs.types import Turn
from shuhari.envs.validation import first_line


class IllegalMove(ValueError):
    """The text is not a legal move in this position."""


TERMINAL, CHANCE = int(pyspiel.PlayerId.TERMINAL), int(pyspiel.PlayerId.CHANCE)


class _MoveNames(dict[int, str]):
    """The text of each action of a seat, cached if it is the same in all positions."""

    def __init__(self, text: GameText) -> None:
        self.text = text

    def legal_moves(self, state: Any, legal: list[int]) -> dict[str, int]:
        """The legal actions by their text. Raises ValueError if two have the same text."""
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
    """What all referees of a game share."""

    game: Any
    text: GameText
    hidden: bool
    names: tuple[_MoveNames, ...]  # by seat


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Hide the standard error stream: OpenSpiel also prints the errors that it raises."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _as_openspiel_writes(name: str) -> str:
    """A game's name as OpenSpiel writes it: without spaces, and with brackets after an inner game."""
    name = re.sub(r"\s*([(),=])\s*", r"\1", name.strip())
    return re.sub(r"(?<=\b)((?:stage_)?game=\w+)(?=[,)])", r"\1()", name)


def _load(name: str) -> Any:
    """OpenSpiel's game. Raises ValueError with a remedy if there is none of this name."""
    written = _as_openspiel_writes(name)
    known = {kind.short_name: kind for kind in pyspiel.registered_games()}
    short = written.partition("(")[0]
    if short not in known:
        near = difflib.get_close_matches(short, known, n=1)
        raise ValueError(f"no OpenSpiel game {name!r}{f'; did you mean {near[0]!r}?' if near else ''}")
    try:
        with _without_stderr():
            return pyspiel.load_game(written)
    except Exception as error:  # OpenSpiel may raise anything for wrong parameters
        parameters = ", ".join(f"{key}=…" for key in known[short].parameter_specification)
        reason = first_line(error)
        raise ValueError(f"game {name!r} cannot be made ({reason}); it is {short}({parameters})") from None


@lru_cache(maxsize=64)
def _rules(name: str) -> _Rules:
    """The rules of the game of that name, perhaps with parameters, as in `connect_four(rows=4,columns=4)`.

    Raises ValueError with a remedy for a game that cannot be played as text.
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
            f"game {name!r} hides its random draws, so no seed gives the same game twice; take another"
        )
    text, hidden = game_text(game), kind.information.name != "PERFECT_INFORMATION"
    names = tuple(_MoveNames(text) for _ in range(game.num_players()))
    try:
        with _without_stderr():
            state, rng = game.new_initial_state(), np.random.default_rng(0)
            while state.is_chance_node():
                state.apply_action(int(rng.choice(state.legal_actions())))
            if (seat := state.current_player()) >= 0:  # some games can end with the first cards
                text.board(state, seat)
                names[seat].legal_moves(state, state.legal_actions())
    except Exception as error:  # not every game implements all of OpenSpiel's interface
        reason = first_line(error)
        raise ValueError(f"game {name!r} cannot be played as text ({reason}); take another") from None
    return _Rules(game, text, hidden, names)


class Referee:
    """One game in progress: the seat to move, its legal actions, the returns. All moves are text.

    `state` is OpenSpiel's state. Only `apply` and `resolve_chance` may change it.
    """

    def __init__(self, game: str, state: Any = None) -> None:
        self.name, self._rules = game, _rules(game)
        self.game, self.text = self._rules.game, self._rules.text
        self.state = state if state is not None else self.game.new_initial_state()
        self._changed()

    def _changed(self) -> None:
        self._mover = int(self.state.current_player())
        self._legal: dict[str, int] | None = None  # computed when needed

    @property
    def seat(self) -> int:
        """The seat to move, or -1 if the game is over or chance moves."""
        return self._mover if self._mover >= 0 else -1

    @property
    def perfect_information(self) -> bool:
        return not self._rules.hidden

    @property
    def chance_moves(self) -> bool:
        """Whether chance moves somewhere in this game."""
        return bool(self.game.get_type().chance_mode.name != "DETERMINISTIC")

    @property
    def duel(self) -> bool:
        """Whether two seats play for one win, and nothing is hidden: what search can train."""
        kind = self.game.get_type()
        facts = self.game.num_players(), kind.utility.name, kind.reward_model.name
        return facts == (2, "ZERO_SUM", "TERMINAL") and self.perfect_information

    @property
    def chance(self) -> bool:
        """Whether chance moves next."""
        return self._mover == CHANCE

    @property
    def over(self) -> bool:
        return self._mover == TERMINAL

    @property
    def returns(self) -> tuple[float, ...]:
        """Every seat's return so far."""
        return tuple(self.state.returns())

    @property
    def outcome(self) -> str:
        """Who has the largest return so far, by name; `DRAW` if several have."""
        best = max(self.returns)
        winners = [s for s, r in zip(self.text.seats, self.returns, strict=True) if r == best]
        return winners[0] if len(winners) == 1 else DRAW

    @property
    def observation(self) -> str:
        """The position as the seat to move may see it, which is a complete prompt.

        After the end of a game, hidden information stays hidden.
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
            self._legal = (
                self._rules.names[seat].legal_moves(state, state.legal_actions()) if seat >= 0 else {}
            )
        return self._legal

    def turn(self, seed: int = 0) -> Turn:
        """What the seat to move sees."""
        # The serialized state shows everything, so no seat may see it in a game with hidden information.
        state = self.serialize() if self.perfect_information and not self.over else ""
        return Turn(self.observation, self.legal_actions, self.seat, state, seed)

    def apply(self, move: str) -> None:
        """Play `move`. Raises IllegalMove, which names the legal moves, and then changes nothing."""
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
        """Let chance move until a seat can move or the game is over."""
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
        """The game and its state as text, for `deserialize`."""
        return f"{self.name}\n{self.state.serialize()}"

    @classmethod
    def deserialize(cls, text: str) -> "Referee":
        """The referee that `serialize` wrote."""
        name, _, state = text.partition("\n")
        return cls(name, _rules(name).game.deserialize_state(state))
