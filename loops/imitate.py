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
from shuhari.policy.generator import Generator
from shuhari.policy.lm import Policy
from shuhari.policy.sequences import completion_logprobs

CHECK_EVERY = 25  # steps between looks at the held-out traces
HELDOUT = 1000  # held-out traces, at most; and at most a tenth of all


class Imitation:
    """Cross-entropy on completion tokens, stopped when held-out traces stop getting more likely.

    The adapter that is kept is the one under which they were likeliest. Traces are held out one by one: a
    prompt on which the expert varies may stand on both sides, which is how its distribution is measured.
    """

    def __init__(
        self, policy: Policy, traces: Sequence[Trace], cfg: ImitateConfig, rng: np.random.Generator
    ) -> None:
        self.policy, self.cfg, self.rng = policy, cfg, rng
        self.total, self.counts = cfg.steps, Counts()
        pairs = [(_context(policy, t), (*policy.encode(t.completion), policy.eos)) for t in traces]
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
        self._best_state = policy.state()

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
        if self.heldout and (self.steps % CHECK_EVERY == 0 or self.done):
            figures |= self._check()
            if self.done:
                self.policy.load_state(self._best_state)
        return figures

    @torch.no_grad()
    def _check(self) -> dict[str, float]:
        parts = [
            completion_logprobs(self.policy, self.heldout[i : i + self.cfg.batch])
            for i in range(0, len(self.heldout), self.cfg.batch)
        ]
        loss = -torch.cat([part.logprobs_N for part in parts]).mean().item()
        entropy = torch.cat([part.entropy_N for part in parts]).mean().item()
        self._worse += 1
        if loss < self._best:
            self._best, self._worse, self._best_state = loss, 0, self.policy.state()
        self._stopped = self._worse >= self.cfg.patience or entropy < self.cfg.entropy_floor
        return {"heldout_loss": loss, "entropy": entropy}

    def sample(self) -> str:
        """A trace, and what the policy would write."""
        prompt, completion = self.train[self.steps % len(self.train)]
        own = Generator(self.policy).generate([prompt], max(len(completion), 2), temperature=0)[0]
        decode = self.policy.decode
        return f"{decode(prompt)}\nexpert: {decode(completion)}\npolicy: {own.text}"

    def state_dict(self) -> dict[str, Any]:
        return {
            "counts": asdict(self.counts),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "stopping": [self._best, self._worse, self._stopped],
            "best_state": self._best_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = Counts(**state["counts"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self._best, self._worse, self._stopped = state["stopping"]
        self._best_state = state["best_state"]


def _context(policy: Policy, trace: Trace) -> tuple[int, ...]:
    """The tokens before a trace's completion, as a rollout would have them."""
    tokens: tuple[int, ...] = ()
    for observation, completion in trace.turns:
        tokens += (*policy.encode(observation), *policy.encode(completion), policy.eos)
    return tokens + policy.encode(trace.prompt)
