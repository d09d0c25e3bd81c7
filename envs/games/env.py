"""Any sequential OpenSpiel game as a text environment."""

import zlib
from itertools import count
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random

from shuhari.envs.base import TextEnv
from shuhari.envs.games.equilibrium import NoisyEquilibriumPlayer, Unsolved
from shuhari.envs.games.players import GainPlayer, MCTSPlayer
from shuhari.envs.games.referee import IllegalMove, Referee
from shuhari.envs.player import Player
from shuhari.envs.types import Trace, Turn

PATIENCE = 50  # random games tried for an opening of some length before a shorter one is drawn
LONGEST = 80  # plies of a random opening: the longest possible game says little of how long games are
NOISE = 0.5  # share of random moves of the expert of a game that hides something
MAX_ILLEGAL = 3  # consecutive malformed or illegal moves before the episode is truncated


class OpenSpielEnv(TextEnv):
    """`game` is OpenSpiel's name with parameters; the expert is its MCTS with `expert_simulations`, or, where
    something is hidden, an equilibrium with a share `expert_noise` of random moves.

    Without an `opponent` every seat is played: `info["seat"]` says who moves and the reward belongs to the
    mover. With one, it is an ordinary single-agent env and the policy sits in `seat`. `info` also holds
    `legal_actions` after reset and every step, and `returns` at the end. `withhold` is the share of canonical
    positions that are held out: nobody may train on them.
    """

    knob = "game, expert_simulations, expert_noise, withhold"
    teacher = "OpenSpiel's MCTS; poker: noisy equilibrium"

    def __init__(
        self,
        game: str = "tic_tac_toe",
        expert_simulations: int = 4,
        expert_noise: float = NOISE,
        opponent: Player | None = None,
        seat: int = 0,
        withhold: float = 0.0,
    ) -> None:
        super().__init__()
        self._generator: np.random.Generator | None = None
        game = str(game)  # 2048 comes as a number from where numbers are read
        self.game, self.expert_simulations, self.expert_noise = game, expert_simulations, expert_noise
        self.withhold = withhold
        self.opponent, self.agent_seat = opponent, seat
        self.referee = Referee(game)
        self.instructions = self.referee.text.instructions
        if not 0 <= seat < self.referee.game.num_players():
            raise ValueError(f"{game} has no seat {seat}")
        if expert_simulations < 1:
            raise ValueError(f"expert_simulations is 1 or more, not {expert_simulations}")
        if not 0 <= expert_noise <= 1:
            raise ValueError(f"expert_noise is a share from 0 to 1, not {expert_noise}")
        if not 0 <= withhold < 1:
            raise ValueError(f"withhold is a share from 0 to below 1, not {withhold}")

    # Gymnasium's generator, made when somebody asks: it takes as long as two moves, and most games never do.
    @property
    def _np_random(self) -> np.random.Generator | None:
        if self._generator is None:
            seed = self._np_random_seed
            self._generator, self._np_random_seed = np_random(None if seed == -1 else seed)
        return self._generator

    @_np_random.setter
    def _np_random(self, generator: np.random.Generator | None) -> None:
        self._generator = generator

    def withholds(self, observation: str) -> bool:
        """Whether a position is held out: by a hash of its canonical form, so that all its images are."""
        return zlib.crc32(self.referee.text.canonical(observation).encode()) < self.withhold * 2**32

    def turn(self, observation: str, info: dict[str, Any], seed: int) -> Turn:
        return self.referee.turn(seed)

    def root(self) -> Referee:
        """A fresh referee of this game, at its start."""
        return Referee(self.game)

    @property
    def expert(self) -> MCTSPlayer | GainPlayer | NoisyEquilibriumPlayer:
        """The teacher: imperfect by design, the arguments say how much. Games that pay on the way, such as
        2048, are beyond OpenSpiel's tree search: there it takes what it gets at once."""
        if not self.referee.perfect_information:
            return NoisyEquilibriumPlayer(self.game, self.expert_noise)
        if self.referee.game.get_type().reward_model.name != "TERMINAL":
            return GainPlayer()
        return MCTSPlayer(self.expert_simulations)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        if seed is not None:
            self._np_random, self._np_random_seed = None, seed
        self.referee = self.root()
        self._illegal = 0
        self._advance()
        return self.referee.observation, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        referee = self.referee
        if referee.over:
            raise RuntimeError("the game is over: call reset() before step()")
        seat = referee.seat
        try:
            referee.apply(action)
        except IllegalMove as error:
            self._illegal += 1
            truncated = self._illegal >= MAX_ILLEGAL
            reward = float(referee.game.min_utility()) if truncated else 0.0
            observation = f"{error}\n{referee.observation}"
            return observation, reward, False, truncated, self._info() | {"illegal": str(error)}
        self._illegal = 0
        self._advance()
        over = referee.over
        reward = referee.returns[seat] if over else 0.0
        return referee.observation, reward, over, False, self._info()

    def _advance(self) -> None:
        """Chance, and the opponent where one was handed in, move until it is the policy's turn."""
        if self.referee.chance:
            self.referee.resolve_chance(self.np_random)
        while self.opponent is not None and not self.referee.over and self.referee.seat != self.agent_seat:
            seed = int(self.np_random.integers(2**31))
            turn = self.referee.turn(seed)
            self.referee.apply(self.opponent.act([turn])[0])
            self.referee.resolve_chance(self.np_random)

    def _info(self) -> dict[str, Any]:
        referee = self.referee
        info: dict[str, Any] = {"seat": referee.seat, "legal_actions": referee.legal_actions}
        if referee.over:
            info["returns"] = referee.returns
        return info

    def random_position(self, rng: np.random.Generator) -> Referee:
        """A position some random play reaches: a random number of plies into a random legal game."""
        plies = int(rng.integers(min(self.referee.game.max_game_length(), LONGEST)))
        for attempt in count(1):
            referee = self.root()
            referee.resolve_chance(rng)
            played = 0
            while played < plies and not referee.over:
                referee.apply(str(rng.choice(referee.legal_actions)))
                referee.resolve_chance(rng)
                played += 1
            if not referee.over:
                return referee
            if attempt % PATIENCE == 0:  # games that hardly ever last so long would be played for ever
                plies = int(rng.integers(played))
        raise AssertionError("unreachable")

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        """`n` moves of the expert against itself, from random openings so that positions are spread; none
        where something is hidden and the game cannot be solved."""
        traces: list[Trace] = []
        try:
            while len(traces) < n:
                referee = self.random_position(rng)
                while not referee.over:
                    move = self.expert.act([referee.turn(int(rng.integers(2**31)))])[0]
                    traces.append(Trace(referee.observation, move))
                    referee.apply(move)
                    referee.resolve_chance(rng)
        except (MemoryError, Unsolved):
            return []
        return traces[:n]

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A random position and a random legal move; or the position and how that random game ended."""
        referee = self.random_position(rng)
        if rng.random() < 0.5:
            return referee.observation, str(rng.choice(referee.legal_actions))
        if rng.random() < 0.5:  # the position after a move, which may be the end of the game
            referee.apply(str(rng.choice(referee.legal_actions)))
            referee.resolve_chance(rng)
        position = referee.observation.removesuffix(">")
        while not referee.over:
            referee.apply(str(rng.choice(referee.legal_actions)))
            referee.resolve_chance(rng)
        best = max(referee.returns)
        winners = [s for s, r in zip(referee.text.seats, referee.returns, strict=True) if r == best]
        return f"{position}=", winners[0] if len(winners) == 1 else "draw"
