"""Phase 2 in games that hide nothing: the policy plays on from many positions, and learns what did best.

Each round takes some positions. The present policy plays on from each of their legal moves
(`policy/continuation_search.py`), and the mean result is the value of the move. Values become targets, which
enter a replay, and the policy is distilled from the replay. A target is the policy itself, with each move
weighted by exp(value / temperature) (MPO, Abdolmaleki et al. 2018): among moves of equal value it keeps the
policy's own preference, where a target of values alone would spread it. As the values become more reliable
from round to round, the policy plays on more sharply, and the targets become sharper. Nothing here reads a
solver.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from shuhari.envs.games.simulator import Positions, Simulator
from shuhari.envs.player import Player, RandomPlayer
from shuhari.envs.types import Turn
from shuhari.loops.collect.source import Rng, Source, game_as_text, geometric, mean_entropy, move_batch
from shuhari.loops.config import SearchPlayConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.continuation_search import PolicyTable, SearchPlayer, continuation_values, improved
from shuhari.policy.lm_player import LMPlayer


class SearchPlay(Source):
    """One round values positions, then gives `updates` batches from the replay.

    Positions take turns: each is valued once before any is valued again.
    """

    kept: ClassVar[tuple[str, ...]] = ("waiting",)

    def __init__(
        self,
        simulator: Simulator,
        starts: Positions,
        player: LMPlayer,
        cfg: SearchPlayConfig,
        rng: Rng,
        seed: int,
    ) -> None:
        """`starts`: positions that may be trained on. `seed`: of the searchers that are measured."""
        super().__init__(cfg.rounds, rng, cfg.updates, cfg.replay)
        self.simulator, self.starts, self.player = simulator, starts, player
        self.table, self.cfg, self.seed = PolicyTable(simulator, player), cfg, seed
        self.waiting: list[int] = []  # positions still to be valued in this pass

    def _value_positions(self, share: float) -> None:
        """Value the next positions and add their targets to the replay."""
        n = min(self.cfg.starts, len(self.starts))
        if len(self.waiting) < n:
            self.waiting += self.rng.permutation(self.starts).tolist()
        positions, self.waiting = np.array(self.waiting[:n]), self.waiting[n:]
        sharpness, n = geometric(self.cfg.sharpness, share), self.cfg.continuations
        values = continuation_values(self.simulator, self.table, positions, n, sharpness, self.rng)
        situations = self.simulator.situations(positions)
        targets = improved(self.table(situations), values, geometric(self.cfg.temperature, share))
        turns = [self.simulator.turns[situation] for situation in situations]
        seen = [(turn.observation, turn.legal_actions, turn.seat) for turn in turns]
        self.replay.add(list(zip(seen, targets.tolist(), strict=True)))
        self.episodes += int(np.isfinite(values).sum()) * self.cfg.continuations

    def batches(self, number: int) -> Iterator[Batch]:
        self._value_positions(self.progress(number))
        self.figures = {"target_entropy": mean_entropy([target for _, target in self.replay.items])}
        for _ in range(self.cfg.updates):
            drawn = self.replay.draw(self.cfg.batch, self.rng)
            turns = [Turn(*seen) for seen, _ in drawn]
            yield move_batch(self.player.renderer, turns, [target for _, target in drawn])

    def players(self, before: bool) -> dict[str, Player]:
        """Before the phase: the search with random continuations, so that nothing is learned. After it: the
        search with the policy's continuations, that is, the same weights with more compute."""
        table = PolicyTable(self.simulator, RandomPlayer()) if before else self.table
        sharpness = 1.0 if before else self.cfg.sharpness[1]
        searcher = SearchPlayer(self.simulator, table, self.cfg.continuations, sharpness, self.seed)
        return {"search_alone" if before else "search": searcher}

    def sample(self) -> str:
        return game_as_text(self.simulator, self.player, self.episodes)
