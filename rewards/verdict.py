"""The verdict: how a verifier judges one answer."""

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["correct", "wrong", "unknown", "error"]
Kind = Literal[
    "auto",
    "integer",
    "number",
    "expression",
    "equation",
    "set",
    "tuple",
    "interval",
    "matrix",
    "choice",
    "text",
]
Form = Literal["any", "evaluated", "reduced", "expanded", "factored", "solved"]
VERSION = "2"  # of the verifier's rules; it changes when some pair may be judged differently


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement.

    `unknown` (the verifier read both sides and cannot decide) and `error` (the gold, the task or the
    verifier itself is at fault) say nothing about the policy: every loss masks them, and a run counts them.
    Garbage is `wrong`, because a policy must not escape judgement by writing garbage.
    """

    status: Status
    reason: str = ""
    rung: str = ""  # the rule that decided, such as "extract" or "rational"
    ms: float = field(default=0.0, compare=False)  # time that the judgement took
    version: str = VERSION

    @property
    def score(self) -> float:
        """1.0 for correct, else 0.0; meaningless unless `counts`."""
        return float(self.status == "correct")

    @property
    def counts(self) -> bool:
        """Whether this verdict may enter a loss or a mean."""
        return self.status in ("correct", "wrong")
