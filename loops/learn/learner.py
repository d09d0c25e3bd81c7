"""Takes optimizer steps on the learning adapter."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shuhari.loops.distributed import RANKS_DIFFER, SINGLE_PROCESS, Ranks
from shuhari.loops.learn.batch import Batch, Columns
from shuhari.loops.learn.departures import DEPARTURES, departures
from shuhari.loops.learn.memory import return_large_blocks
from shuhari.loops.learn.objectives import OBJECTIVES, reference_of
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.policy.choice_scoring import masked_logprobs
from shuhari.policy.policy import Policy
from shuhari.policy.shared_scoring import SequenceLogprobs

# Of a batch, by which its figures are made; from `sampled` on, of tokens whose sampler's view is known.
TOTALS = ("loss", "entropy", "tokens", "sampled", *DEPARTURES)
MARKS = 2**16  # batch checksums are below this, so that their sum over ranks is exact in fp32
GIVEN = ("weights", "advantages", "groups", "sampler")  # columns that a source fills, or does not


class Learner:
    """Batches to steps of the adapter, by an objective and an optimizer.

    A batch is taken in parts of at most `micro_batch` tokens, which bounds memory and changes nothing else:
    loss and gradient are the whole batch's. Other parts add in another order, so a learner's state has their
    size. Every rank is given the whole batch, and does its part of it.
    Raises ValueError for a batch without what the objective needs, one that ranks do not have alike, or one
    with a text that memory cannot hold.
    """

    def __init__(
        self,
        policy: Policy,
        objective: Any,
        optimizer: Optimizer,
        *,
        micro_batch: int,
        reference: str | None,
        checkpointed: bool = False,
        check: Callable[[int], None] | None = None,
        note: str = "",
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """`objective`: its configuration; `reference`: the adapter (None: the bare base) of that column;
        `checkpointed`: layers are computed twice, and keep less; `check`: raises for a text of too many
        tokens; `note`: what a reader must know of how memory is used
        """
        self.policy, self.cfg, self.objective = policy, objective, OBJECTIVES[objective.name]
        self.optimizer, self.micro_batch, self.reference = optimizer, micro_batch, reference
        self.checkpointed, self._check, self.note, self.ranks = checkpointed, check, note, ranks
        self.updates = self.tokens = 0  # optimizer steps made, completion tokens that entered a loss

    def learn(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; figures for TensorBoard."""
        for column in self.objective.needs:
            if column in GIVEN and not getattr(batch, column):
                raise ValueError(f"objective {self.cfg.name}: its source gives no {column}")
        if self._check is not None:
            self._check(batch.longest)
        while (totals := self._gradients(batch)) is None:
            self._take_less(batch)
        self._add(totals, batch)
        norm = self.optimizer.step()
        self.policy.updated()
        self.updates += 1
        self.tokens += batch.tokens
        known = dict(zip(TOTALS, totals.tolist(), strict=True))
        entropy = known["entropy"] / known["tokens"]
        figures = {"loss": known["loss"], "gradient_norm": norm, "entropy": entropy}
        figures["learning_rate"] = self.optimizer.rate
        if known["sampled"]:
            figures |= {name: known[name] / known["sampled"] for name in DEPARTURES}
        return figures

    def _gradients(self, batch: Batch) -> Tensor | None:
        """The gradient of this rank's part of a batch, and its `TOTALS`; None where a GPU's memory ended, on
        this rank or another."""
        self.optimizer.zero()
        if self.checkpointed:
            return_large_blocks()
        totals, ended = torch.zeros(len(TOTALS), device=self.policy.device), False
        try:
            with self.policy.checkpointed(self.checkpointed):
                for part in self._share(batch).parts(self.micro_batch, self.objective.whole_groups):
                    totals += self._propagate(part, batch)
        except torch.cuda.OutOfMemoryError:
            ended = True
        if self.policy.device.type == "cuda":
            ended = self.ranks.any_rank(ended)
        return None if ended else totals

    def _take_less(self, batch: Batch) -> None:
        """Halve the micro-batches or, where they are single texts already, compute layers twice."""
        before = self.micro_batch
        while self.micro_batch > 1 and len(self._sizes(batch)) == len(self._sizes(batch, before)):
            self.micro_batch //= 2
        if len(self._sizes(batch)) > len(self._sizes(batch, before)):
            change = f"micro-batches of {self.micro_batch} tokens"
        elif self.policy.can_checkpoint and not self.checkpointed:
            self.micro_batch, self.checkpointed, change = before, True, "checkpointing of layers"
        else:
            raise ValueError(
                f"out of memory by a text of {batch.longest} tokens alone: shorten texts "
                "(policy.max_new_tokens), or take a smaller policy.base"
            )
        torch.cuda.empty_cache()
        if self.ranks.first:
            print(f"out of memory: the step is made again, from here on with {change}", file=sys.stderr)

    def _sizes(self, batch: Batch, most: int | None = None) -> list[int]:
        """Sequences of each part."""
        return [len(part) for part in batch.parts(most or self.micro_batch, self.objective.whole_groups)]

    def _share(self, batch: Batch) -> Batch:
        ranks = self.ranks
        return batch if ranks.size == 1 else batch.share(ranks.rank, ranks.size, self.objective.whole_groups)

    def score(self, part: Batch) -> SequenceLogprobs:
        """The log-probabilities of a part's tokens, each under its choices, as every loss has them."""
        return masked_logprobs(self.policy, part.pairs, part.choices)

    def _propagate(self, part: Batch, batch: Batch) -> Tensor:
        """Add the gradient of a part of a batch to what there is; the part's `TOTALS`."""
        if reference_of(self.cfg) is not None:
            part = replace(part, reference=self._reference(part))
        scored = self.score(part)
        columns = Columns.of(part, scored, batch)
        loss = self.objective.loss(scored.logprobs_N, columns, self.cfg)
        loss.backward()  # type: ignore[no-untyped-call]
        known_N = scored.logprobs_N.detach()
        log_ratio_N = known_N - columns.sampler_N if part.sampler else known_N[:0]
        n, sampled = (known_N.new_tensor(len(x)) for x in (known_N, log_ratio_N))
        sums = torch.stack([loss.detach(), scored.entropy_N.detach().sum(), n, sampled])
        return torch.cat([sums, departures(log_ratio_N, self.cfg)])

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
        """The reference's log-probabilities, in order of the tokens; 0 where there was nothing to decide."""
        scored = masked_logprobs(self.policy, part.pairs, part.choices, self.reference)
        return scored.of_each(part.completions)

    def restore(self, adapter: dict[str, Tensor]) -> None:
        """Go back to an earlier state of the adapter."""
        self.policy.load_state(adapter)

    def state_dict(self) -> dict[str, Any]:
        counts = {"updates": self.updates, "tokens": self.tokens}
        parts = {"micro_batch": self.micro_batch, "checkpointed": self.checkpointed}
        return {"optimizer": self.optimizer.state_dict(), **counts, **parts, "dtype": str(self.policy.dtype)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for a run that computed in another dtype, as `auto` may on another machine."""
        if (dtype := state["dtype"]) != str(self.policy.dtype):
            began, here = (x.removeprefix("torch.") for x in (dtype, str(self.policy.dtype)))
            raise ValueError(
                f"the run began in {began}, and policy.dtype gives {here} here: go on where it began, or "
                "start anew from its adapter (adapter=FOLDER)"
            )
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates, self.tokens = state["updates"], state["tokens"]
        self.micro_batch, self.checkpointed = state["micro_batch"], state["checkpointed"]
