"""What must hold in every run, whatever it learns, and what it comes to in a phase.

A run can learn nothing and look well: in unsloth's rollouts LoRA was silently off (#8701). So each phase
measures what its adapter changes on the way that sampling takes, how far it has moved, whether sampler and
learner are one policy (`agreement.py`, which ends a run where they are not), and what became of its episodes.
What is outside its range (`health_table.py`) is in the report, and what has failed is a failure of the run.
"""

from collections.abc import Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

from shuhari.loops.agreement import compare
from shuhari.loops.health_table import SEEN, checks
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import LEARNING, Tokens
from shuhari.policy.shared_scoring import Pair, shared_logprobs

RECENT = 8  # rounds: a share is a mean over about so many, so that a phase's first ones do not count for ever
PROBES, PROBED, PROMPT = 4, 8, 256  # completions of a probe, their tokens, and most tokens of its prompt
PROBE_SEED = 20  # of its own random numbers: a probe changes no other's


class PhaseHealth:
    """The figures of one phase, by their names in the table. All of it is in the phase's state."""

    def __init__(self, learner: Learner, generator: Generator) -> None:
        """The phase begins now: it is from here that the adapter moves."""
        self.learner, self.generator, self.policy = learner, generator, learner.policy
        self.table = {check.name: check for check in checks(self.policy.dtype)}
        self.figures: dict[str, float] = {}
        self._start = self.policy.state()
        self._rounds: dict[str, int] = {}  # behind each share
        self._probed = False

    def before_updates(self, fresh: Batch | None) -> None:
        """Before a round's first optimizer step: `fresh` is of the policy as it is. Raises Disagreement."""
        if fresh is not None and len(fresh):
            self._compare(fresh)

    def after_round(self, shares: dict[str, float], prompt: Tokens, last: bool) -> None:
        """Take a round's shares. After the first optimizer step, and after the last round, probe the adapter.

        `prompt`: one that was learned from; () where there was none. Raises Disagreement.
        """
        for name, value in shares.items():
            n = self._rounds[name] = self._rounds.get(name, 0) + 1
            before = self.figures.get(name, 0.0)
            self.figures[name] = before + (value - before) / min(n, RECENT)
        if self.learner.updates:
            self.figures["adapter_moved"] = self._moved()
            if prompt and (last or not self._probed):
                self._probed = True
                self._probe(prompt[-min(PROMPT, self.policy.max_length - PROBED) :])

    def findings(self) -> list[dict[str, Any]]:
        """Each known figure with its range and verdict, in the table's order."""
        return [
            {
                "name": name,
                "value": float(f"{self.figures[name]:.3g}"),
                "healthy": check.range,
                "verdict": check.judge(self.figures[name]),
                "what": check.what,
            }
            for name, check in self.table.items()
            if name in self.figures
        ]

    def failures(self, phase: str) -> list[str]:
        """A line for each figure that has failed."""
        return [
            f"phase {phase}: health: {f['name']} is {f['value']:g}, healthy is {f['healthy']} ({f['what']}). "
            f"What to do: {self.table[f['name']].remedy}."
            for f in self.findings()
            if f["verdict"] == "failed"
        ]

    def _moved(self) -> float:
        """The norm of all LoRA matrices' change."""
        parameters = self.policy.parameters
        changes = [(p.detach() - self._start[key].to(p.device)).norm() for key, p in parameters.items()]
        return float(torch.stack(changes).norm())

    def _probe(self, prompt: Tokens) -> None:
        """What the adapter changes in both ways of sampling: the generator's, which writes text, and that of
        players, which weigh moves. What was written is then compared with the learner's view."""
        mine, base = self._written(prompt, LEARNING), self._written(prompt, None)
        pairs = [(prompt, tokens) for tokens, _ in mine]
        weighed = [self._weighed(pairs, adapter) for adapter in (LEARNING, None)]
        self.figures["adapter_effect"] = min(
            _largest_change(mine, base), float((weighed[0] - weighed[1]).abs().max())
        )
        sampled = [prompt] * len(mine), [tokens for tokens, _ in mine]
        self._compare(Batch(*sampled, sampler=[logprobs for _, logprobs in mine]))

    def _written(self, prompt: Tokens, adapter: str | None) -> list[tuple[Tokens, tuple[float, ...]]]:
        """Tokens and log-probabilities of completions, as a rollout would have them."""
        found = self.generator.generate([prompt] * PROBES, PROBED, seed=PROBE_SEED, adapter=adapter)
        for completion in found:
            if completion.error:
                raise ValueError(f"health: a probe of the adapter came to nothing: {completion.error}")
        return [(completion.tokens, completion.logprobs) for completion in found]

    def _weighed(self, pairs: Sequence[Pair], adapter: str | None) -> Tensor:
        """Log-probabilities [N] of the pairs' tokens, as a player of games finds them."""
        with self.policy.inference():
            scored = shared_logprobs(self.policy, pairs, adapter)
        return scored.logprobs_N[scored.token_N.argsort()]

    def _compare(self, batch: Batch) -> None:
        found = compare(self.learner, batch)
        for name, value in (("disagreement", found.mean), ("worst_disagreement", found.worst)):
            self.figures[name] = max(self.figures.get(name, 0.0), value)
        off = self.figures.get("adapter_effect", inf) < SEEN
        found.require(self.learner, "; the adapter changes nothing in sampling" if off else "")

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs."""
        kept = {"figures": dict(self.figures), "rounds": dict(self._rounds)}
        return kept | {"probed": self._probed, "start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.figures, self._rounds = dict(state["figures"]), dict(state["rounds"])
        self._probed, self._start = state["probed"], state["start"]


def _largest_change(
    mine: Sequence[tuple[Tokens, tuple[float, ...]]], base: Sequence[tuple[Tokens, tuple[float, ...]]]
) -> float:
    """Of log-probabilities, up to where two completions part."""
    most = 0.0
    for (tokens, logprobs), (others, other_logprobs) in zip(mine, base, strict=True):
        for a, b, p, q in zip(tokens, others, logprobs, other_logprobs, strict=False):
            most = max(most, abs(p - q))
            if a != b:
                break
    return most
