"""The table of what must hold in every phase: each figure with its meaning, its range and what to do.

`health.py` measures them. docs/health.md shows the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch

from shuhari.loops.agreement import BOUNDS

Status = Literal["ok", "warn", "failed"]
WORST: tuple[Status, ...] = ("failed", "warn", "ok")
SEEN = 1e-9  # nats, or norm: anything less is nothing


@dataclass(frozen=True, slots=True)
class Check:
    """A figure of a phase, and the ranges that it is judged by.

    what: what the figure is
    healthy, allowed: the ends of its ranges; outside the first is a warning, outside the second a failure
    remedy: what to do, or what it means
    """

    name: str
    what: str
    healthy: tuple[float, float]
    allowed: tuple[float, float]
    remedy: str

    def judge(self, value: float) -> Status:
        """What is not a number has failed."""
        if self.healthy[0] <= value <= self.healthy[1]:
            return "ok"
        return "warn" if self.allowed[0] <= value <= self.allowed[1] else "failed"

    @property
    def range(self) -> str:
        """The healthy range in words."""
        high = self.healthy[1]
        return "above 0" if high == inf else f"at most {high:g}"

    @property
    def failed(self) -> str:
        """What has failed, in words; "" if nothing has."""
        low, high = self.allowed
        return "0" if low else "" if high == inf else f"above {high:g}"


def _above_0(name: str, what: str, remedy: str) -> Check:
    return Check(name, what, (SEEN, inf), (SEEN, inf), remedy)


def _at_most(name: str, what: str, healthy: float, allowed: float, remedy: str) -> Check:
    return Check(name, what, (0.0, healthy), (0.0, allowed), remedy)


def checks(dtype: torch.dtype) -> tuple[Check, ...]:
    """The table, for a base of this type."""
    mean, most = BOUNDS[dtype]
    two = "the run stops and names the worst tokens; sampler and learner are not one policy"
    return (
        _above_0(
            "adapter_effect",
            "most nats by which the adapter changes a log-probability where text is sampled, or where moves "
            "are, whichever is less",
            "sampling uses the bare base: nothing that was learned is played or measured",
        ),
        _above_0(
            "adapter_moved",
            "norm of the LoRA matrices' change since the phase began",
            "the optimizer changes nothing: look at learning_rate and at the loss",
        ),
        _at_most(
            "disagreement",
            "nats between the sampler's and the learner's log-probability of a token, on average",
            mean,
            mean,
            two,
        ),
        _at_most("worst_disagreement", "the same, at the worst token", most, most, two),
        _at_most(
            "truncated",
            "share of episodes that ended at policy.max_new_tokens",
            0.2,
            0.95,
            "raise policy.max_new_tokens, or imitate traces that end",
        ),
        _at_most(
            "unknown",
            "share of episodes without a verdict",
            0.05,
            0.5,
            "mend the environment or its golds; shuhari envs --check ID says more",
        ),
        _at_most(
            "illegal",
            "probability of what is not legal, without the mask",
            0.9,
            inf,
            "it plays legally under the mask alone; imitate legal play first where that matters",
        ),
        _at_most(
            "malformed",
            "share of actions that the environment calls malformed",
            0.2,
            0.95,
            "imitate traces in the environment's form first",
        ),
        _at_most(
            "empty",
            "share of completions without a visible character",
            0.05,
            0.95,
            "look at the sampled episodes, and at the base's end-of-text token",
        ),
        _at_most(
            "no_signal",
            "share of groups whose episodes all earned the same, and were not all right",
            0.9,
            inf,
            "they teach nothing: take easier problems, more samples, or traces to imitate first",
        ),
    )


def as_markdown() -> list[str]:
    """The table as docs/health.md has it, for a base in float32."""
    heads = ["| name | what it is | healthy | failed | what to do |", "|---|---|---|---|---|"]
    rows = (f"| `{c.name}` | {c.what} | {c.range} | {c.failed} | {c.remedy} |" for c in checks(torch.float32))
    return [*heads, *rows]


def summary(phases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The report's block: the findings of all phases, and the worst of their verdicts."""
    found = [{"phase": phase["name"], **finding} for phase in phases for finding in phase["health"]]
    verdicts = {finding["verdict"] for finding in found}
    return {"verdict": next((v for v in WORST if v in verdicts), "ok"), "checks": found}
