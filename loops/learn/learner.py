"""Takes optimizer steps on the learning adapter."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shuhari.loops.distributed import RANKS_DIFFER, SINGLE_PROCESS, Ranks
from shuhari.loops.learn.batch import Batch, Columns
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.policy.choice_scoring import masked_logprobs
from shuhari.policy.policy import Policy
from shuhari.policy.scoring import SequenceLogprobs, completion_logprobs

TOTALS = ("loss", "entropy", "tokens", "drift", "sampled")  # of a batch, by which its figures are made
MARKS = 2**16  # batch checksums are below this, so that their sum over ranks is exact in fp32
GIVEN = ("weights", "advantages", "groups", "sampler")  # columns that a source fills, or does not


class Learner:
    """Batches to steps of the adapter, by an objective and an optimizer.

    A batch is taken in parts of at most `micro_batch` tokens, which bounds memory and changes nothing else:
    loss and gradient are the whole batch's. Every rank is given the whole batch, and does its part of it.
    Raises ValueError for a batch without what the objective needs, or one that ranks do not have alike.
    """

    def __init__(
        self,
        policy: Policy,
        objective: Any,
        optimizer: Optimizer,
        *,
        micro_batch: int,
        reference: str | None,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """`objective`: its configuration; `reference`: the adapter (None: the bare base) of that column."""
        self.policy, self.cfg, self.objective = policy, objective, OBJECTIVES[objective.name]
        self.optimizer, self.micro_batch, self.reference = optimizer, micro_batch, reference
        self.ranks = ranks
        self.updates = self.tokens = 0  # optimizer steps made, completion tokens that entered a loss

    def learn(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; figures for TensorBoard."""
        for column in self.objective.needs:
            if column in GIVEN and not getattr(batch, column):
                raise ValueError(f"objective {self.cfg.name}: its source gives no {column}")
        self.optimizer.zero()
        totals = torch.zeros(len(TOTALS), device=self.policy.device)
        for part in self._share(batch).parts(self.micro_batch, self.objective.whole_groups):
            totals += self._propagate(part, batch)
        self._add(totals, batch)
        norm = self.optimizer.step()
        self.policy.updated()
        self.updates += 1
        self.tokens += batch.tokens
        known = dict(zip(TOTALS, totals.tolist(), strict=True))
        entropy = known["entropy"] / known["tokens"]
        figures = {"loss": known["loss"], "gradient_norm": norm, "entropy": entropy}
        if known["sampled"]:
            figures["sampler_drift"] = known["drift"] / known["sampled"]
        return figures

    def _share(self, batch: Batch) -> Batch:
        ranks = self.ranks
        return batch if ranks.size == 1 else batch.share(ranks.rank, ranks.size, self.objective.whole_groups)

    def score(self, part: Batch) -> SequenceLogprobs:
        """The log-probabilities of a part's tokens, each under its choices, as every loss has them."""
        return masked_logprobs(self.policy, part.pairs, part.choices)

    def _propagate(self, part: Batch, batch: Batch) -> Tensor:
        """Add the gradient of a part of a batch to what there is; the part's `TOTALS`."""
        if "reference" in self.objective.needs:
            part = replace(part, reference=self._reference(part))
        scored = self.score(part)
        columns = Columns.of(part, scored, batch)
        loss = self.objective.loss(scored.logprobs_N, columns, self.cfg)
        loss.backward()  # type: ignore[no-untyped-call]
        known_N = scored.logprobs_N.detach()
        drift_N = (known_N - columns.sampler_N).abs() if part.sampler else known_N[:0]
        n, sampled = (known_N.new_tensor(len(x)) for x in (known_N, drift_N))
        return torch.stack([loss.detach(), scored.entropy_N.detach().sum(), n, drift_N.sum(), sampled])

    def _add(self, totals: Tensor, batch: Batch) -> None:
        """Sum gradients and totals over the ranks in one message, with a checksum of the batch."""
        if self.ranks.size == 1:
            return
        parameters = self.policy.parameters.values()
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        columns = batch.prompts, batch.completions, batch.weights, batch.advantages
        mark = hash(tuple(map(tuple, columns))) % MARKS
        marks = totals.new_tensor([mark])
        self.ranks.all_reduce([*(p.grad for p in parameters if p.grad is not None), totals, marks])
        if marks.item() != mark * self.ranks.size:
            raise ValueError(RANKS_DIFFER)

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
