"""The language model as a player whose turns are shared over the ranks of a run."""

from collections.abc import Sequence

from shuhari.envs.player import Floats
from shuhari.envs.types import Turn
from shuhari.loops.distributed import Ranks
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer

WORTH = 64  # turns: fewer are answered sooner than the answers of others are fetched


class ShardedPlayer(LMPlayer):
    """An `LMPlayer` of which every rank answers a part of the turns, and knows all answers."""

    def __init__(
        self, ranks: Ranks, policy: Policy, renderer: Renderer, adapter: str | None = LEARNING
    ) -> None:
        super().__init__(policy, renderer, adapter)
        self.ranks = ranks

    def probabilities_and_mass(self, turns: Sequence[Turn]) -> tuple[list[Floats], list[float]]:
        answer = super().probabilities_and_mass
        if len(turns) < WORTH:
            return answer(turns)
        found = self.ranks.map_sharded(turns, lambda own: list(zip(*answer(own), strict=True)))
        return [p for p, _ in found], [mass for _, mass in found]
