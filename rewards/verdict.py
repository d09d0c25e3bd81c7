"""The verdict: what a verifier says of one answer."""

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
VERSION = "2"  # of the rules; it changes whenever some pair may be judged otherwise


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement.

    `unknown` (both sides parse and the verifier cannot decide) and `error` (the gold, the task or the
    machinery is at fault) say nothing about the policy: they are masked from every loss and counted.
    Garbage is `wrong`: a policy must not escape judgement by writing it.
    """

    status: Status
    reason: str = ""
    rung: str = ""  # the rule that decided, such as "extract" or "rational"
    ms: float = field(default=0.0, compare=False)  # two equal judgements may take different times
    version: str = VERSION

    @property
    def score(self) -> float:
        """1.0 for correct, else 0.0; meaningless unless `counts`."""
        return float(self.status == "correct")

    @property
    def counts(self) -> bool:
        """Whether this verdict may enter a loss or a mean."""
        return self.status in ("correct", "wrong")
