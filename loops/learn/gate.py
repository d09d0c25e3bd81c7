"""The gate of self-play: a policy that has become worse goes back, and a phase ends with the best it had.

A look plays validation problems greedily and compares the policy with the best one so far, problem by
problem (an exact sign test on the problems that only one of them does better, as McNemar's). A run looks many
times, so each look has its share of the level (Bonferroni). The best is chosen on these problems, so its
figure there is a little too good; the report's is from problems that no look ever saw.

Where scores are not the skill itself nothing is chosen by them: a perfect policy and a good one draw the same
games. There a policy goes back where it is worse beyond doubt, and else a phase ends with its last.
"""

from collections.abc import Callable, Sequence
from math import ceil, comb
from typing import Any, Protocol

from shuhari.loops.learn.learner import Learner

LEVEL = 0.05  # chance that a phase goes back although nothing became worse
GIVES_UP = 3  # times that a phase goes back before it ends
SMALLER = 0.5  # of the learning rate, each time it goes back
PATIENCE = 2  # looks in a row that find the policy worse before it goes back
KEPT = (
    "stopped",
    "mean",
    "went_back",
    "history",
    "_worse",
    "_best",
    "_best_mean",
    "_best_round",
    "_best_state",
)
Scores = Sequence[float | None]  # one for each problem; None: there is no verdict


def sign_test(better: int, worse: int) -> float:
    """The one-sided p-value of at least so many `worse` among those that differ, if each were as likely."""
    n = better + worse
    return float(sum(comb(n, k) for k in range(worse, n + 1)) / 2**n)


class Scale(Protocol):
    """Rates the policy at each look, and decides nothing."""

    def look(self, number: int) -> dict[str, float]: ...
    def summary(self) -> dict[str, Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Gate:
    """Looks at the policy `looks` times over a phase of `rounds`.

    score: the policy's scores on validation problems, always the same ones
    of_skill: whether their mean is the skill by which policies are measured
    mean: the mean score of the policy as it is, if that has been measured
    history: of each look its round, mean, p-value and what was decided
    scores: behind that mean, one for each problem
    went_back: the rounds after which it went back
    stopped: whether that was so often that the phase ends
    scale: rates the policy at each look
    """

    def __init__(
        self,
        learner: Learner,
        score: Callable[[], Scores],
        *,
        rounds: int,
        looks: int,
        of_skill: bool = True,
        scale: Scale | None = None,
    ) -> None:
        self.learner, self._score, self.of_skill, self.scale = learner, score, of_skill, scale
        self.every, self.level = ceil(rounds / looks), LEVEL / looks
        self.stopped = False
        self.mean: float | None = None
        self.scores: Scores | None = None
        self.went_back: list[int] = []
        self.history: list[dict[str, Any]] = []
        self._worse = 0  # looks in a row that found the policy worse
        self._best: Scores = ()
        self._best_mean, self._best_round = 0.0, 0
        self._best_state = learner.policy.state()

    def begin(self) -> None:
        """Before the first round: the policy that comes in is the best so far."""
        self._best = self._score()
        self._best_mean = _mean(self._best)
        self.mean, self.scores = self._best_mean if self.of_skill else None, self._best
        self._note(0, self._best_mean, 1.0, "begins")
        if self.scale is not None:
            self.scale.look(0)

    def after_step(self, number: int, last: bool) -> dict[str, float]:
        """After round `number`: look if it is time to. Figures for TensorBoard. `last`: no round follows."""
        self.mean = None
        if number % self.every and not last:
            return {}
        scores, rated = self._score(), {} if self.scale is None else self.scale.look(number)
        pairs = [(a, b) for a, b in zip(self._best, scores, strict=True) if a is not None and b is not None]
        p = sign_test(sum(b > a for a, b in pairs), sum(b < a for a, b in pairs))
        mean, decision, restores = _mean(scores), "goes on", False
        self.mean, self.scores = mean if self.of_skill else None, scores
        self._worse = self._worse + 1 if p < self.level else 0
        if mean >= self._best_mean:  # of equals the later one, which has learned longer
            self._best, self._best_mean, self._best_round = scores, mean, number
            self._best_state, decision = self.learner.policy.state(), "the best so far"
        elif self._worse == PATIENCE or (self._worse and last):
            decision, restores = f"went back to round {self._best_round}", True
            self._worse = 0
            self.learner.optimizer.restart(SMALLER)
            self.went_back.append(number)
            self.stopped = len(self.went_back) >= GIVES_UP
        elif self._worse:
            decision = "worse; waits for another look"
        elif last and self.of_skill:
            decision, restores = f"ends with round {self._best_round}", True
        elif last:
            self._best, self._best_round, decision = scores, number, "ends"
        if restores:
            self.learner.restore(self._best_state)
            self.mean, self.scores = self._best_mean if self.of_skill else None, self._best
        self._note(number, mean, p, decision)
        best, back = self._best_mean, float(len(self.went_back))
        return {"validation": mean, "validation_best": best, "went_back": back} | rated

    def _note(self, number: int, mean: float, p: float, decision: str) -> None:
        self.history.append({"round": number, "mean": round(mean, 4), "p": round(p, 5), "decision": decision})

    def summary(self) -> dict[str, Any]:
        """For the report."""
        ends = {"ends_with": self._best_round, "went_back": self.went_back}
        what = "problems" if self.of_skill else "games"
        rated = {} if self.scale is None else {"elo": self.scale.summary()}
        return {"compared": f"{len(self._best)} validation {what}", **ends, "looks": self.history} | rated

    def state_dict(self) -> dict[str, Any]:
        scale = self.scale and self.scale.state_dict()
        return {name: getattr(self, name) for name in KEPT} | {"scale": scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in KEPT:
            setattr(self, name, state[name])
        if self.scale is not None:
            self.scale.load_state_dict(state["scale"])


def _mean(scores: Scores) -> float:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else 0.0
