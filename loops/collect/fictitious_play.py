"""Phase 2 in games that hide something: the policy plays itself and leans towards the moves that did better.

Smooth fictitious play (Fudenberg & Levine 1998, ch. 4), by situation: the target of a move is the softmax of
its mean return over all of the policy's own games so far, later ones counting more. A best reply to the
present self alone would run in circles; a reply to the average of past selves, soft at first and ever
sharper, ends near an equilibrium. Nothing here reads a solver.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from shuhari.envs.player import Floats, Player, RandomPlayer
from shuhari.envs.simulator import Simulator
from shuhari.envs.types import Turn
from shuhari.loops.collect.source import Source, choices, game_as_text, geometric
from shuhari.loops.config import FictitiousPlayConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.render import Renderer
from shuhari.policy.search import PolicyTable, TabularPlayer, situation_values


class FictitiousPlay(Source):
    """One round values moves in `starts` games, then gives `updates` batches of situations."""

    def __init__(
        self,
        simulator: Simulator,
        player: Player,
        renderer: Renderer,
        cfg: FictitiousPlayConfig,
        rng: np.random.Generator,
        seed: int,
    ) -> None:
        super().__init__(cfg.rounds, rng)
        self.simulator, self.player, self.renderer, self.cfg, self.seed = (
            simulator,
            player,
            renderer,
            cfg,
            seed,
        )
        # By seat and observation: the turn, rounds in which it was met, mean return of each move.
        self.means: dict[tuple[int, str], tuple[Turn, int, Floats]] = {}

    def _values(self, player: Player, rng: np.random.Generator) -> dict[tuple[int, str], tuple[Turn, Floats]]:
        table, cfg = PolicyTable(self.simulator, player), self.cfg
        values = situation_values(
            self.simulator, table, games=cfg.starts, continuations=cfg.continuations, rng=rng
        )
        turns = {situation: self.simulator.turns[situation] for situation in values}
        return {(t.seat, t.observation): (t, values[situation]) for situation, t in turns.items()}

    @property
    def updates(self) -> int:
        return self.rounds * self.cfg.updates

    def batches(self, number: int) -> Iterator[Batch]:
        for key, (turn, value) in self._values(self.player, self.rng).items():
            _, rounds, mean = self.means.get(key, (turn, 0, value))
            weight = 2 / (rounds + 2)  # the n-th round counts n times
            self.means[key] = turn, rounds + 1, mean + weight * (value - mean)
        self.episodes += self.cfg.starts
        temperature = geometric(self.cfg.temperature, self.progress(number))
        turns = [turn for turn, _, _ in self.means.values()]
        targets = [_softmax(mean / temperature) for _, _, mean in self.means.values()]
        entropy = float(np.mean([-(t * np.log(np.maximum(t, 1e-12))).sum() for t in targets]))
        self.figures = {"target_entropy": entropy, "situations": len(turns)}
        for _ in range(self.cfg.updates):
            drawn = self.rng.permutation(len(turns))[: self.cfg.batch]
            yield choices(self.renderer, [turns[i] for i in drawn], [targets[i].tolist() for i in drawn])

    def players(self, before: bool) -> dict[str, Player]:
        """The search with nothing learned: the best move by one round of random games."""
        if not before:
            return {}
        values = self._values(RandomPlayer(), np.random.default_rng(self.seed))
        return {"search_alone": TabularPlayer({key: value for key, (_, value) in values.items()})}

    def sample(self) -> str:
        return game_as_text(self.simulator, self.player, self.episodes)

    def state_dict(self) -> dict[str, Any]:
        means = [(asdict(turn), n, torch.from_numpy(mean)) for turn, n, mean in self.means.values()]
        return super().state_dict() | {"means": means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        means = [(Turn(**turn), n, mean.numpy()) for turn, n, mean in state["means"]]
        self.means = {(turn.seat, turn.observation): (turn, n, mean) for turn, n, mean in means}


def _softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())
