"""Phase 2 on problems: the policy answers each one many times, and learns from what the verifier accepts."""

from collections import defaultdict
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from shuhari.envs import Episode, Step
from shuhari.loops.config import SamplingConfig
from shuhari.loops.objectives import policy_gradient
from shuhari.loops.optimizer import Optimizer
from shuhari.loops.phase import Counts
from shuhari.loops.rollout import Rollouts
from shuhari.policy.sequences import completion_logprobs


class SamplingSelfplay:
    """One step is one round: a group of episodes for each of some problems, then one optimizer step.

    An episode's advantage is its reward above its group's mean. Groups in which all earned the same say
    nothing and are left out, as are episodes without a verdict.
    """

    def __init__(
        self, name: str, rollouts: Rollouts, cfg: SamplingConfig, rounds: int, rng: np.random.Generator
    ) -> None:
        self.name, self.rollouts, self.cfg, self.rng = name, rollouts, cfg, rng
        self.policy = rollouts.generator.policy
        self.total, self.counts = rounds, Counts()
        self.optimizer = Optimizer(
            self.policy.parameters.values(), learning_rate=cfg.learning_rate, steps=rounds
        )
        self._steps = 0
        self._sample = ""

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def done(self) -> bool:
        return self._steps >= self.total

    def step(self) -> dict[str, float]:
        problems = self.rng.integers(2**31, size=self.cfg.problems).tolist()
        seeds = [problem for problem in problems for _ in range(self.cfg.samples)]
        episodes = self.rollouts.play(seeds, seed=int(self.rng.integers(2**31)))
        counted = [episode for episode in episodes if episode.counts]
        if not counted:
            raise RuntimeError(f"no episode of this round has a verdict: {episodes[0].info}")
        self._sample = _transcript(self.policy.decode, counted[0])
        self._steps += 1
        self.counts.episodes += len(episodes)
        figures = {
            "reward": float(np.mean([episode.total for episode in counted])),
            "uncounted": 1 - len(counted) / len(episodes),
            "overlong": float(np.mean([episode.stop == "overlong" for episode in episodes])),
            "tokens_per_episode": float(np.mean([sum(len(s.completion) for s in e.steps) for e in episodes])),
        }
        return figures | self._learn(counted)

    def _learn(self, episodes: list[Episode]) -> dict[str, float]:
        groups = defaultdict(list)
        for episode in episodes:
            groups[episode.seed].append(episode)
        steps: list[Step] = []
        advantages: list[float] = []
        informative = 0
        for group in groups.values():
            totals = [episode.total for episode in group]
            if max(totals) == min(totals):
                continue
            informative += 1
            for episode in group:
                steps += episode.steps
                advantages += [episode.total - float(np.mean(totals))] * len(episode.steps)
        figures = {"informative_groups": informative / len(groups)}
        if not steps:
            return figures
        scored = completion_logprobs(self.policy, [(step.prompt, step.completion) for step in steps])
        sampler_N = torch.tensor([logprob for step in steps for logprob in step.logprobs])
        loss = policy_gradient(scored.logprobs_N, sampler_N, torch.tensor(advantages)[scored.sequence_N])
        norm = self.optimizer.update(loss)
        self.policy.updated()
        self.counts.updates += 1
        self.counts.tokens += len(sampler_N)
        drift = (scored.logprobs_N.detach() - sampler_N).abs().mean().item()
        entropy = scored.entropy_N.mean().item()
        return figures | {"gradient_norm": norm, "entropy": entropy, "sampler_drift": drift}

    def sample(self) -> str:
        return self._sample

    def state_dict(self) -> dict[str, Any]:
        return {
            "counts": asdict(self.counts),
            "steps": self._steps,
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts, self._steps = Counts(**state["counts"]), state["steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]


def _transcript(decode: Any, episode: Episode) -> str:
    lines = [f"{decode(step.prompt)}{step.text}   (reward {step.reward:g})" for step in episode.steps]
    return "\n".join(lines)
