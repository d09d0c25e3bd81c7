"""How well does each player play a game that hides something? By NashConv, exact over the whole game tree."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shuhari.envs.nash import NoisyEquilibriumPlayer, Probabilities, information_turns, mean_return, nash_conv
from shuhari.envs.openspiel import OpenSpielEnv
from shuhari.envs.players import RandomPlayer
from shuhari.envs.types import Turn
from shuhari.loops.config import SearchConfig
from shuhari.loops.hidden_selfplay import action_values
from shuhari.policy.generator import Generator
from shuhari.policy.player import LMPlayer
from shuhari.policy.search import Floats
from shuhari.rewards.statistics import share


class HiddenEvaluation:
    """Metrics of players, each of which draws its moves from its probabilities.

    Raises ValueError for a game too large to walk, or with more than two seats.
    """

    skill_name = "nash_conv"
    perfect = 0.0

    def __init__(self, env: OpenSpielEnv, generator: Generator, seed: int) -> None:
        self.game, self.generator, self.seed = env.game, generator, seed
        if env.referee.game.num_players() != 2:
            raise ValueError(f"{env.game}: NashConv is measured for two seats")
        try:
            self.turns = [turn for turn, _ in information_turns(env.game).values()]
        except MemoryError as error:
            raise ValueError(str(error)) from None
        expert = NoisyEquilibriumPlayer(env.game, env.expert_noise)
        self._references: dict[str, Probabilities] = {
            "random": RandomPlayer().probabilities,
            "expert": expert.probabilities,
            "expert_mode": lambda turns: [np.eye(len(p))[p.argmax()] for p in expert.probabilities(turns)],
            "perfect": NoisyEquilibriumPlayer(env.game, 0.0).probabilities,
        }
        self._learned: dict[str, Probabilities] = {}

    def is_withheld(self, prompt: str) -> bool:
        """No situation is: a handful is all there are."""
        return False

    def skill(self) -> float:
        """The present policy's figure for the learning curve; lower is better."""
        return nash_conv(self.game, LMPlayer(self.generator).probabilities)

    def describe(self) -> dict[str, int]:
        """Counts behind the figures."""
        return {"situations": len(self.turns)}

    def references(self) -> dict[str, dict[str, Any]]:
        """The players that need no training."""
        rows = {name: self._metrics(name, p) for name, p in self._references.items() if name != "perfect"}
        base = LMPlayer(Generator(self.generator.policy, adapter=None)).probabilities
        return rows | {"base": self._metrics("base", base)}

    def state_dict(self) -> dict[str, Any]:
        """The policy as it was after each phase."""
        return {name: self.generator.policy.state(name) for name in self._learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, adapter in state.items():
            self.generator.policy.freeze(name, adapter)
            self._learned[name] = self._player(name).probabilities

    def search_alone(self, cfg: SearchConfig) -> dict[str, Any]:
        """Self-play's search with nothing learned: the best move by one round of random games."""
        values = action_values(
            self.game,
            RandomPlayer().probabilities,
            games=cfg.starts,
            continuations=cfg.continuations,
            rng=np.random.default_rng(self.seed),
        )

        def best(turns: Sequence[Turn]) -> list[Floats]:
            """The first move where a situation was never met."""
            never = [(turn, np.zeros(len(turn.legal_actions))) for turn in turns]
            met = [
                values.get((turn.seat, turn.observation), none)[1]
                for turn, none in zip(turns, never, strict=True)
            ]
            return [np.eye(len(value))[value.argmax()] for value in met]

        return self._metrics("search_alone", best)

    def policy(self, name: str) -> dict[str, Any]:
        """The present policy; from then on also an opponent of the players to come."""
        self.generator.policy.freeze(name)
        player = self._player(name)
        row = self._metrics(name, player.probabilities)
        self._learned[name] = player.probabilities
        row["legal_probability"] = share(player.probabilities_and_mass(self.turns)[1])
        return row

    def _player(self, adapter: str) -> LMPlayer:
        return LMPlayer(Generator(self.generator.policy, adapter))

    def _metrics(self, name: str, own: Probabilities) -> dict[str, Any]:
        opponents = self._references | self._learned
        return {
            "nash_conv": round(nash_conv(self.game, own), 4) + 0.0,
            "versus": {
                opponent: {"mean_return": round(mean_return(self.game, own, other), 4) + 0.0}
                for opponent, other in opponents.items()
                if opponent != name
            },
        }
