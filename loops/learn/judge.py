"""How a gate compares the policy with the best one so far, and one way to: problem by problem."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import comb
from typing import Any, Protocol

from torch import Tensor

from shuhari.rewards.statistics import Scores

LEVEL = 0.05  # chance that a phase goes back although nothing became worse
Adapter = dict[str, Tensor]


@dataclass(frozen=True)
class Look:
    """The policy beside the best one so far.

    mean: its mean score
    better, worse: whether it is, by the judge's own rule
    why: figures behind that, for the report
    """

    mean: float
    better: bool
    worse: bool
    why: Mapping[str, float] = field(default_factory=dict)


class Judge(Protocol):
    """Compares the policy as it is with the best one so far, which it keeps.

    of_skill: whether mean scores are the skill by which policies are measured
    scores: behind the last mean of the policy as it is, one for each problem; None where there are none
    """

    of_skill: bool

    @property
    def compared(self) -> str:
        """What the two are compared by, in words."""
        ...

    @property
    def scores(self) -> Scores | None: ...

    def begin(self, adapter: Adapter) -> float:
        """The policy, whose adapter this is, is the best so far; its mean score."""
        ...

    def look(self) -> Look: ...

    def promote(self, adapter: Adapter) -> None:
        """The policy of the last look is the best so far."""
        ...

    def go_back(self) -> float:
        """The policy is the best one again; its mean score."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], adapter: Adapter) -> None:
        """`adapter`: of the best policy."""
        ...


def sign_test(better: int, worse: int) -> float:
    """The one-sided p-value of at least so many `worse` among those that differ, if each were as likely."""
    n = better + worse
    return float(sum(comb(n, k) for k in range(worse, n + 1)) / 2**n)


class PairedProblems:
    """A `Judge` by greedy play on validation problems, always the same ones.

    Better is whoever's mean is not lower: of equals the later one, which has learned longer. Worse is beyond
    doubt: an exact sign test on the problems that only one of them does better, as McNemar's, and each of so
    many looks has its share of the level (Bonferroni).
    """

    of_skill = True

    def __init__(self, score: Callable[[], Scores], looks: int) -> None:
        self._score, self.level = score, LEVEL / looks
        self.scores: Scores = ()
        self._best: Scores = ()

    @property
    def compared(self) -> str:
        return f"{len(self._best)} validation problems"

    def begin(self, adapter: Adapter) -> float:
        self.scores = self._best = self._score()
        return _mean(self._best)

    def look(self) -> Look:
        self.scores = self._score()
        every = zip(self._best, self.scores, strict=True)
        pairs = [(a, b) for a, b in every if a is not None and b is not None]
        p, mean = sign_test(sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)), _mean(self.scores)
        return Look(mean, better=mean >= _mean(self._best), worse=p < self.level, why={"p": p})

    def promote(self, adapter: Adapter) -> None:
        self._best = self.scores

    def go_back(self) -> float:
        self.scores = self._best
        return _mean(self._best)

    def state_dict(self) -> dict[str, Any]:
        return {"scores": self.scores, "best": self._best}

    def load_state_dict(self, state: dict[str, Any], adapter: Adapter) -> None:
        self.scores, self._best = state["scores"], state["best"]


def _mean(scores: Scores) -> float:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else 0.0
