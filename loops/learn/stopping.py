"""When to stop imitation: when the held-out traces no longer become more likely."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.policy.scoring import completion_logprobs

EVERY = 25  # steps between two scores of the held-out traces
SCORED = 4  # micro-batches at once: without gradients nothing is kept of a layer
KEPT = ("stopped", "_best", "_worse", "_best_state")  # attributes that are the state


class EarlyStopping:
    """Scores held-out batches every `EVERY` steps. At the end it restores the adapter that scored best.

    It stops after `patience` scores without a better one, or when the policy's entropy is below
    `entropy_floor` nats per token.
    """

    def __init__(
        self, learner: Learner, heldout: list[Batch], *, patience: int, entropy_floor: float
    ) -> None:
        self.learner, self.heldout = learner, heldout
        self.patience, self.entropy_floor = patience, entropy_floor
        self.stopped = False
        self.mean: float | None = None  # it measures likelihood, not skill
        self.scores: Sequence[float | None] | None = None
        self._best, self._worse = float("inf"), 0  # the best loss; scores since then
        self._best_state = learner.policy.state()

    def begin(self) -> None:
        """Before the first step: nothing."""

    def after_step(self, number: int, last: bool) -> dict[str, float]:
        """After `number` steps: score if it is time to. Figures for TensorBoard. `last`: no step follows."""
        if not self.heldout or (number % EVERY and not last):
            return {}
        figures = self._score()
        if self.stopped or last:
            self.learner.restore(self._best_state)
        return figures

    @torch.no_grad()
    def _score(self) -> dict[str, float]:
        policy = self.learner.policy

        def score(batch: Batch) -> tuple[Tensor, Tensor]:
            parts = batch.parts(SCORED * self.learner.micro_batch, whole_groups=False)
            scored = [completion_logprobs(policy, part.pairs) for part in parts]
            logprobs, entropies = ([getattr(x, name) for x in scored] for name in ("logprobs_N", "entropy_N"))
            return torch.cat(logprobs).cpu(), torch.cat(entropies).cpu()

        def look(batches: Sequence[Batch]) -> list[tuple[Tensor, Tensor]]:
            return [score(batch) for batch in batches]

        logprobs, entropies = zip(*self.learner.ranks.map_sharded(self.heldout, look), strict=True)
        loss, entropy = -torch.cat(logprobs).mean().item(), torch.cat(entropies).mean().item()
        self._worse += 1
        if loss < self._best:
            self._best, self._worse, self._best_state = loss, 0, policy.state()
        self.stopped = self._worse >= self.patience or entropy < self.entropy_floor
        return {"heldout_loss": loss, "heldout_entropy": entropy}

    def summary(self) -> dict[str, Any]:
        """For the report: nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in KEPT:
            setattr(self, name, state[name])
