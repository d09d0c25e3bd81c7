"""The only one who changes the adapter."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shuhari.loops.learn.batch import Batch, Columns
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.policy.masked_scoring import masked_logprobs
from shuhari.policy.policy import Policy
from shuhari.policy.scoring import completion_logprobs

GIVEN = ("weights", "advantages", "groups", "sampler")  # columns that a source fills, or does not


class Learner:
    """Batches to steps of the adapter, by an objective and an optimizer.

    A batch is taken in parts of at most `micro_batch` tokens, which bounds memory and changes nothing else:
    loss and gradient are the whole batch's. Raises ValueError for a batch without what the objective needs.
    """

    def __init__(
        self, policy: Policy, objective: Any, optimizer: Optimizer, *, micro_batch: int, reference: str | None
    ) -> None:
        """`objective`: its configuration; `reference`: the adapter (None: the bare base) of that column."""
        self.policy, self.cfg, self.objective = policy, objective, OBJECTIVES[objective.name]
        self.optimizer, self.micro_batch, self.reference = optimizer, micro_batch, reference
        self.updates = self.tokens = 0  # optimizer steps made, completion tokens that entered a loss

    def learn(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; figures for TensorBoard."""
        for column in self.objective.needs:
            if column in GIVEN and not getattr(batch, column):
                raise ValueError(f"objective {self.cfg.name}: its source gives no {column}")
        self.optimizer.zero()
        losses, entropies, drifts = [], [], []
        for part in batch.parts(self.micro_batch, self.objective.whole_groups):
            if "reference" in self.objective.needs:
                part = replace(part, reference=self._reference(part))
            scored = masked_logprobs(self.policy, part.pairs, part.choices)
            columns = Columns.of(part, scored, batch)
            loss = self.objective.loss(scored.logprobs_N, columns, self.cfg)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.item())
            entropies.append(scored.entropy_N.detach())
            if part.sampler:
                drifts.append((scored.logprobs_N.detach() - columns.sampler_N).abs())
        norm = self.optimizer.step()
        self.policy.updated()
        self.updates += 1
        self.tokens += batch.tokens
        entropy = torch.cat(entropies).mean().item()
        figures = {"loss": sum(losses), "gradient_norm": norm, "entropy": entropy}
        if drifts:
            figures["sampler_drift"] = torch.cat(drifts).mean().item()
        return figures

    @torch.no_grad()
    def _reference(self, part: Batch) -> list[list[float]]:
        """The reference's log-probabilities, in order of the tokens."""
        scored = completion_logprobs(self.policy, part.pairs, adapter=self.reference)
        in_order = iter(scored.logprobs_N[scored.token_N.argsort()].tolist())
        return [[next(in_order) for _ in completion] for completion in part.completions]

    def restore(self, adapter: dict[str, Tensor]) -> None:
        """Go back to an earlier state of the adapter."""
        self.policy.load_state(adapter)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "updates": self.updates, "tokens": self.tokens}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates, self.tokens = state["updates"], state["tokens"]
