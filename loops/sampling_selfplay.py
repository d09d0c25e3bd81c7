"""Phase 2 on problems: the policy answers each one many times, and learns from what the verifier accepts."""

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from shuhari.envs import Episode
from shuhari.loops.config import SamplingConfig
from shuhari.loops.objectives import distill, policy_gradient
from shuhari.loops.optimizer import Optimizer
from shuhari.loops.phase import Counts
from shuhari.loops.rollout import Rollouts
from shuhari.policy.sequences import completion_logprobs

HARD = 0.5  # a problem that a smaller share of its group solves comes back
RARE = 4  # times as often as others is its accepted answer in the replay
Pair = tuple[tuple[int, ...], tuple[int, ...]]  # prompt and completion


class SamplingSelfplay:
    """One step is one round: a group of episodes for each of some problems, then optimizer steps.

    `distill` is expert iteration with the verifier as the expert (Anthony et al. 2017; STaR, Zelikman et al.
    2022): of each group the most frequent accepted answer enters a replay, and the policy is trained on
    that. What keeps a mistake from becoming so certain that nothing else is ever tried: problems that come
    back until most solve them, few optimizer steps early, and, where the verifier judges the work and not the
    answer alone (or chance finds are learned with whatever led to them), a temperature above 1 and `explore`.
    The replay keeps one discovery from undoing another. `policy_gradient` takes one step on
    all of a round, an episode's advantage being its reward above its group's mean; groups in which all
    earned the same say nothing and are left out. Episodes without a verdict are seen by neither.
    """

    def __init__(
        self, rollouts: Rollouts, cfg: SamplingConfig, rounds: int, rng: np.random.Generator
    ) -> None:
        self.rollouts, self.cfg, self.rng = rollouts, cfg, rng
        self.policy = rollouts.generator.policy
        self.total, self.counts = rounds, Counts()
        parameters = list(self.policy.parameters.values())
        rate = cfg.learning_rate
        if cfg.objective == "distill":
            steps = sum(self._update_count(number) for number in range(rounds))
            self.optimizer = Optimizer(parameters, learning_rate=rate, steps=steps)
        else:  # sparse rewards: Muon would step along the noise as far as along the signal
            self.optimizer = Optimizer(
                [], learning_rate=rate, rest=parameters, rest_learning_rate=rate, steps=rounds
            )
        self.replay: list[Pair] = []
        self.failed: list[int] = []  # seeds of problems that some episode of the last group failed
        self.trouble = ""  # why the first episode without a verdict has none
        self._steps = 0
        self._sample = ""

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def done(self) -> bool:
        return self._steps >= self.total

    def step(self) -> dict[str, float]:
        episodes = []
        for problems, again in zip(self._problems(), (False, True), strict=True):
            seeds = [problem for problem in problems for _ in range(self.cfg.samples)]
            seed = int(self.rng.integers(2**31))
            temperature = 1.0 if again else self.cfg.temperature
            episodes += self.rollouts.play(
                seeds, temperature=temperature, seed=seed, explore=again and self.cfg.explore
            )
        self._steps += 1
        self.counts.episodes += len(episodes)
        self._sample = _transcript(self.policy.decode, episodes[0])
        groups: dict[int, list[Episode]] = defaultdict(list)
        for episode in episodes:
            if episode.counts:
                groups[episode.seed].append(episode)
            elif not self.trouble:
                self.trouble = str(episode.info.get("verdict") or episode.info.get("error"))
        figures = {
            "uncounted": 1 - sum(map(len, groups.values())) / len(episodes),
            "overlong": float(np.mean([episode.stop == "overlong" for episode in episodes])),
            "tokens_per_episode": float(np.mean([sum(len(s.completion) for s in e.steps) for e in episodes])),
        }
        if not groups:
            return figures
        failed = [seed for seed, group in groups.items() if _solved(group) < HARD]
        self.failed = [*(s for s in self.failed if s not in groups), *failed][-self.cfg.replay :]
        mixed = [g for g in groups.values() if len({episode.total for episode in g}) > 1]
        figures["reward"] = float(np.mean([e.total for g in groups.values() for e in g]))
        figures["informative_groups"] = len(mixed) / len(groups)
        learn = self._distill if self.cfg.objective == "distill" else self._policy_gradient
        return figures | learn(list(groups.values()) if self.cfg.objective == "distill" else mixed)

    def _problems(self) -> tuple[list[int], list[int]]:
        """Seeds of a round's problems: new ones, and up to as many that failed before.

        A policy gradient has no use for these: they are explored, and the sampler must be the policy.
        """
        again = min(len(self.failed), self.cfg.problems // 2) if self.cfg.objective == "distill" else 0
        old = [self.failed[i] for i in self.rng.choice(len(self.failed), again, replace=False)]
        new = self.rng.integers(2**31, size=self.cfg.problems - again).tolist()
        return new, old

    def _update_count(self, number: int) -> int:
        """Optimizer steps of a round: few while much is still to be found, more once little is."""
        first, last = self.cfg.updates
        return round(first + (last - first) * number / max(1, self.total - 1))

    def _distill(self, groups: list[list[Episode]]) -> dict[str, float]:
        for group in groups:
            best = max(episode.total for episode in group)
            if best <= 0:
                continue
            answers = Counter(
                tuple((step.prompt, step.completion) for step in e.steps) for e in group if e.total == best
            )
            # What is hardly ever found is shown more often, or it is lost among what everyone knows.
            self.replay += answers.most_common(1)[0][0] * (RARE if _solved(group) < HARD else 1)
        self.replay = self.replay[-self.cfg.replay :]
        if not self.replay:
            return {}
        losses, entropies = [], []
        for _ in range(self._update_count(self.steps - 1)):
            batch = [self.replay[i] for i in self.rng.integers(len(self.replay), size=self.cfg.batch)]
            scored = completion_logprobs(self.policy, batch)
            loss = distill(scored.logprobs_N, torch.ones_like(scored.logprobs_N))
            self._update(loss, len(scored.logprobs_N))
            losses.append(loss.item())
            entropies.append(scored.entropy_N.mean().item())
        return {"loss": float(np.mean(losses)), "entropy": float(np.mean(entropies))}

    def _policy_gradient(self, groups: list[list[Episode]]) -> dict[str, float]:
        if not groups:
            return {}
        pairs: list[Pair] = []
        advantages: list[float] = []
        sampler: list[float] = []
        for group in groups:
            mean = float(np.mean([episode.total for episode in group]))
            for episode in group:
                for step in episode.steps:
                    pairs.append((step.prompt, step.completion))
                    advantages.append(episode.total - mean)
                    sampler += step.logprobs
        scored = completion_logprobs(self.policy, pairs)
        columns = (torch.tensor(column, device=self.policy.device) for column in (sampler, advantages))
        sampler_N, advantages_N = next(columns), next(columns)[scored.sequence_N]
        self._update(policy_gradient(scored.logprobs_N, sampler_N, advantages_N), len(sampler))
        drift = (scored.logprobs_N.detach() - sampler_N).abs().mean().item()
        return {"entropy": scored.entropy_N.mean().item(), "sampler_drift": drift}

    def _update(self, loss: torch.Tensor, tokens: int) -> None:
        self.optimizer.update(loss)
        self.policy.updated()
        self.counts.updates += 1
        self.counts.tokens += tokens

    def sample(self) -> str:
        return self._sample

    def state_dict(self) -> dict[str, Any]:
        return {
            "counts": asdict(self.counts),
            "steps": self._steps,
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "replay": self.replay,
            "failed": self.failed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts, self._steps = Counts(**state["counts"]), state["steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.replay, self.failed = state["replay"], state["failed"]


def _solved(group: list[Episode]) -> float:
    """The share of a group that earned something."""
    return float(np.mean([episode.total > 0 for episode in group]))


def _transcript(decode: Any, episode: Episode) -> str:
    lines = [f"{decode(step.prompt)}{step.text}   (reward {step.reward:g})" for step in episode.steps]
    return "\n".join([*lines, f"ended: {episode.stop}"])
