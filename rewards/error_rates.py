"""A verifier's error rates, measured on random pairs whose labels are known by construction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shuhari.rewards.math.random_pairs import RANDOM_KINDS, random_pairs
from shuhari.rewards.math.verify import verify
from shuhari.rewards.statistics import wilson
from shuhari.rewards.verdict import Verdict


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Of one kind of gold: how many equal answers were refused, and how many different ones accepted."""

    kind: str
    n: int  # number of equal answers, and of different ones
    refused: int
    accepted: int
    undecided: int

    @property
    def intervals(self) -> tuple[list[float], list[float]]:
        """Wilson's 95% intervals of both error rates."""
        return wilson(self.refused / self.n, self.n), wilson(self.accepted / self.n, self.n)


def error_rates(
    n: int, seed: int = 0, *, judge: Callable[..., Verdict] = verify, kinds: Sequence[str] = RANDOM_KINDS
) -> list[ErrorRates]:
    """Error rates on `n` rewrites and `n` mutations of random golds of each kind."""
    rows = []
    for kind in kinds:
        refused = accepted = undecided = 0
        for pair in random_pairs(kind, n, seed):
            verdict = judge(pair.answer, pair.gold, kind=kind)
            undecided += not verdict.counts
            refused += pair.same and verdict.status != "correct"
            accepted += not pair.same and verdict.status == "correct"
        rows.append(ErrorRates(kind, n, refused, accepted, undecided))
    return rows
