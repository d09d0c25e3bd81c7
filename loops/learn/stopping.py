"""When to stop imitating: when held-out traces stop getting more likely."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.policy.scoring import completion_logprobs

EVERY = 25  # steps between looks at the held-out traces
KEPT = ("stopped", "_best", "_worse", "_best_state")


class EarlyStopping:
    """Looks at held-out sequences every `EVERY` steps; at the end the adapter of the best look is put back.

    It stops after `patience` looks without a better one, or where less than `entropy_floor` nats a token are
    left to explore with.
    """

    def __init__(
        self, learner: Learner, heldout: list[Batch], *, patience: int, entropy_floor: float
    ) -> None:
        self.learner, self.heldout = learner, heldout
        self.patience, self.entropy_floor = patience, entropy_floor
        self.stopped = False
        self._best, self._worse = float("inf"), 0
        self._best_state = learner.policy.state()

    def after_step(self, number: int, last: bool) -> dict[str, float]:
        """Look, where it is time to; `number` steps have been made, and this was the last, perhaps."""
        if not self.heldout or (number % EVERY and not last):
            return {}
        figures = self._look()
        if self.stopped or last:
            self.learner.restore(self._best_state)
        return figures

    @torch.no_grad()
    def _look(self) -> dict[str, float]:
        policy = self.learner.policy

        def look(batches: Sequence[Batch]) -> list[tuple[Tensor, Tensor]]:
            parts = [completion_logprobs(policy, batch.pairs) for batch in batches]
            return [(part.logprobs_N.cpu(), part.entropy_N.cpu()) for part in parts]

        logprobs, entropies = zip(*self.learner.ranks.each(self.heldout, look), strict=True)
        loss, entropy = -torch.cat(logprobs).mean().item(), torch.cat(entropies).mean().item()
        self._worse += 1
        if loss < self._best:
            self._best, self._worse, self._best_state = loss, 0, policy.state()
        self.stopped = self._worse >= self.patience or entropy < self.entropy_floor
        return {"heldout_loss": loss, "heldout_entropy": entropy}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in KEPT:
            setattr(self, name, state[name])
