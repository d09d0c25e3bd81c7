"""Phase 1: learn from traces. It reaches the expert, at best; greedily decoded, the expert's mode."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from shuhari.envs import Trace
from shuhari.loops.config import ImitateConfig
from shuhari.loops.objectives import distill
from shuhari.loops.optimizer import Optimizer
from shuhari.loops.phase import Counts
from shuhari.policy.lm import Policy
from shuhari.policy.sequences import completion_logprobs

CHECK_EVERY = 25  # steps between looks at the held-out traces
HELDOUT = 1000  # held-out traces, at most; and at most a tenth of all


class Imitation:
    """Cross-entropy on completion tokens, stopped when held-out traces stop getting more likely."""

    name = "imitate"

    def __init__(
        self, policy: Policy, traces: Sequence[Trace], cfg: ImitateConfig, rng: np.random.Generator
    ) -> None:
        self.policy, self.cfg, self.rng = policy, cfg, rng
        self.total, self.counts = cfg.steps, Counts()
        pairs = [(policy.encode(t.prompt), (*policy.encode(t.completion), policy.eos)) for t in traces]
        for number, (prompt, completion) in enumerate(pairs, 1):
            if len(prompt) + len(completion) > policy.max_length:
                length = len(prompt) + len(completion)
                raise ValueError(f"trace {number}: {length} tokens; the policy takes {policy.max_length}")
        order = rng.permutation(len(pairs))
        heldout = min(HELDOUT, len(pairs) // 10)
        self.heldout = [pairs[i] for i in order[:heldout]]
        self.train = [pairs[i] for i in order[heldout:]]
        self.optimizer = Optimizer(
            policy.parameters.values(), learning_rate=cfg.learning_rate, steps=cfg.steps
        )
        self._best, self._worse, self._stopped = float("inf"), 0, False

    @property
    def steps(self) -> int:
        return self.counts.updates

    @property
    def done(self) -> bool:
        return self._stopped or self.steps >= self.total

    def step(self) -> dict[str, float]:
        batch = [self.train[i] for i in self.rng.integers(len(self.train), size=self.cfg.batch)]
        scored = completion_logprobs(self.policy, batch)
        loss = distill(scored.logprobs_N, torch.ones_like(scored.logprobs_N))
        norm = self.optimizer.update(loss)
        self.policy.updated()
        self.counts.updates += 1
        self.counts.episodes += len(batch)
        self.counts.tokens += len(scored.logprobs_N)
        figures = {"loss": loss.item(), "gradient_norm": norm}
        if self.heldout and self.steps % CHECK_EVERY == 0:
            figures |= self._check()
        return figures

    @torch.no_grad()
    def _check(self) -> dict[str, float]:
        scored = completion_logprobs(self.policy, self.heldout)
        loss, entropy = -scored.logprobs_N.mean().item(), scored.entropy_N.mean().item()
        self._worse = 0 if loss < self._best else self._worse + 1
        self._best = min(self._best, loss)
        self._stopped = self._worse >= self.cfg.patience or entropy < self.cfg.entropy_floor
        return {"heldout_loss": loss, "entropy": entropy}

    def sample(self) -> str:
        prompt, completion = self.train[int(self.counts.updates) % len(self.train)]
        return self.policy.decode(prompt) + self.policy.decode(completion)

    def state_dict(self) -> dict[str, Any]:
        return {
            "counts": asdict(self.counts),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "stopping": [self._best, self._worse, self._stopped],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = Counts(**state["counts"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self._best, self._worse, self._stopped = state["stopping"]
