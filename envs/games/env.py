"""Any sequential OpenSpiel game as a text environment."""

import zlib
from itertools import count
from typing import Any

import numpy as np

from shuhari.envs.games.equilibrium import NoisyEquilibriumPlayer, Unsolved
from shuhari.envs.games.players import EstimatePlayer, GainPlayer, MCTSPlayer
from shuhari.envs.games.referee import IllegalMove, Referee
from shuhari.envs.games.text import DRAW, asks_outcome
from shuhari.envs.player import Player
from shuhari.envs.progress import counting
from shuhari.envs.text_env import TextEnv
from shuhari.envs.types import Trace, Turn

MAX_ATTEMPTS = 50  # random games that are tried for an opening of some length, before it is made shorter
FEW_ATTEMPTS = 8  # the same, where none of them came near
FAR = 4  # plies that are not near
LONGEST_OPENING = 80  # plies: the longest possible game may be much longer than usual games
NOISE = 0.5  # share of random moves of an expert by equilibrium or by estimate
MAX_ILLEGAL = 3  # consecutive malformed or illegal moves before the episode is truncated


class OpenSpielEnv(TextEnv):
    """The game with OpenSpiel's name `game`, perhaps with parameters.

    The expert is OpenSpiel's MCTS with `expert_simulations`. In a game with hidden information, it plays an
    equilibrium with a share `expert_noise` of random moves; in a game in Python whose states have an
    `estimate`, the best moves by that, with the same share of others. Without an `opponent`, the caller plays
    every seat: `info["seat"]` says who moves, and the reward is that seat's. With one, it is a single-agent
    environment, and the policy has `seat`. `info` also has `legal_actions` after reset and every step, and
    `returns` at the end. `withhold` is the share of canonical positions that are held out from training,
    `last_moves` the share of the moves in `document` that are the last of their games.
    Raises ValueError for a game or argument that it does not take.
    """

    arguments_description = "game, expert_simulations, expert_noise, withhold, last_moves"
    expert_description = "OpenSpiel's MCTS; poker: noisy equilibrium; Othello 6x6: noisy look-ahead"

    def __init__(
        self,
        game: str = "tic_tac_toe",
        expert_simulations: int = 4,
        expert_noise: float = NOISE,
        opponent: Player | None = None,
        seat: int = 0,
        withhold: float = 0.0,
        last_moves: float = 0.0,
    ) -> None:
        super().__init__()
        game = str(game)  # the game 2048 may be given as a number
        self.game, self.expert_simulations, self.expert_noise = game, expert_simulations, expert_noise
        self.withhold, self.last_moves = withhold, last_moves
        self.opponent, self.agent_seat = opponent, seat
        self.referee = Referee(game)
        self.instructions = self.referee.text.instructions
        if not 0 <= seat < self.seats:
            raise ValueError(f"{game} has no seat {seat}")
        if expert_simulations < 1:
            raise ValueError(f"expert_simulations is 1 or more, not {expert_simulations}")
        if not 0 <= expert_noise <= 1:
            raise ValueError(f"expert_noise is a share from 0 to 1, not {expert_noise}")
        if not 0 <= withhold < 1:
            raise ValueError(f"withhold is a share from 0 to below 1, not {withhold}")
        if not 0 <= last_moves <= 1:
            raise ValueError(f"last_moves is a share from 0 to 1, not {last_moves}")

    def withholds(self, observation: str) -> bool:
        """Whether a position is held out, by the hash of its canonical form: symmetric positions agree.

        What asks for its outcome is held out with it.
        """
        if not self.withhold:
            return False
        if observation.endswith("="):
            observation = f"{observation.removesuffix('=')}>"
        return zlib.crc32(self.referee.text.canonical(observation).encode()) < self.withhold * 2**32

    def turn(self, observation: str, info: dict[str, Any], seed: int) -> Turn:
        return self.referee.turn(seed)

    @property
    def seats(self) -> int:
        return int(self.referee.game.num_players())

    def root(self) -> Referee:
        """A new referee at the start of this game."""
        return Referee(self.game)

    @property
    def expert(self) -> MCTSPlayer | GainPlayer | EstimatePlayer | NoisyEquilibriumPlayer:
        """The expert, which is imperfect on purpose; the arguments say how much.

        In games that reward moves before the end, such as 2048, OpenSpiel's tree search does not work. There
        the expert takes the largest immediate gain. Random games of a game in Python are slow; where its
        states have an `estimate`, two seats and no chance, the expert goes by that.
        """
        if not self.referee.perfect_information:
            return NoisyEquilibriumPlayer(self.game, self.expert_noise)
        if self.referee.game.get_type().reward_model.name != "TERMINAL":
            return GainPlayer()
        exact = self.referee.duel and not self.referee.chance_moves
        if exact and hasattr(self.referee.state, "estimate"):
            return EstimatePlayer(self.expert_noise)
        return MCTSPlayer(self.expert_simulations)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
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
        """Let chance and the opponent, if there is one, move until it is the policy's turn."""
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
        """The position after a random number of plies of random play."""
        plies = int(rng.integers(min(self.referee.game.max_game_length(), LONGEST_OPENING)))
        longest = 0
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
            longest = max(longest, played)
            hopeless = attempt % FEW_ATTEMPTS == 0 and longest < plies - FAR
            if hopeless or attempt % MAX_ATTEMPTS == 0:  # hardly any game lasts so long
                plies = int(rng.integers(played))
        raise AssertionError("unreachable")

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        """`n` traces of the expert against itself, after random openings, so that positions differ: its moves
        and, once a game where nothing is hidden, who won from a position of that game.

        Empty for a game with hidden information that cannot be solved.
        """
        traces: list[Trace] = []
        try:
            with counting("traces", n) as tell:
                while len(traces) < n:
                    traces += self._expert_game(rng)
                    tell(min(n, len(traces)))
        except (MemoryError, Unsolved):
            return []
        return traces[:n]

    def _expert_game(self, rng: np.random.Generator) -> list[Trace]:
        """The traces of one game."""
        referee, traces, met = self.random_position(rng), [], []
        while not referee.over:
            move = self.expert.act([referee.turn(int(rng.integers(2**31)))])[0]
            met.append(referee.observation)
            traces.append(Trace(referee.observation, move))
            referee.apply(move)
            referee.resolve_chance(rng)
        if referee.perfect_information and len(referee.returns) == 2:
            traces.append(Trace(asks_outcome(met[rng.integers(len(met))]), referee.outcome))
        return traces

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """A random position with a random legal move, or with the winner of a random game from there.

        Of the moves, `last_moves` are the last of a random game: often the one that wins it.
        """
        referee = self.random_position(rng)
        if rng.random() < 0.5:
            to_the_end = self.last_moves > 0 and rng.random() < self.last_moves
            while True:
                seen, move = referee.observation, str(rng.choice(referee.legal_actions))
                referee.apply(move)
                referee.resolve_chance(rng)
                if referee.over or not to_the_end:
                    return seen, move
        if rng.random() < 0.5:  # the position after a move, which may be the end of the game
            referee.apply(str(rng.choice(referee.legal_actions)))
            referee.resolve_chance(rng)
        position = referee.observation
        while not referee.over:
            referee.apply(str(rng.choice(referee.legal_actions)))
            referee.resolve_chance(rng)
        # A draw in full, as the shipped bases have read it; its first letter is what a search asks for.
        return asks_outcome(position), "draw" if referee.outcome == DRAW else referee.outcome
