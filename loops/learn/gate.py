"""The gate of self-play: a policy that has become worse goes back, and a phase ends with the best it had.

At each look a judge compares the policy with the best one so far: on validation problems, one by one
(`judge.py`), or in a match (`loops/collect/best_match.py`). The best is chosen by this, so its figure
here is a little too good; the report's is from problems and openings that no look ever saw.

A match says who is better and not how good. There a phase ends with its last policy, unless that is worse.
"""

from math import ceil
from typing import Any, Protocol

from shuhari.loops.learn.judge import Judge, Look
from shuhari.loops.learn.learner import Learner
from shuhari.rewards.statistics import Scores

GIVES_UP = 3  # times that a phase goes back before it ends
SMALLER = 0.5  # of the learning rate, each time it goes back
PATIENCE = 2  # looks in a row that find the policy worse before it goes back
KEPT = ("stopped", "went_back", "history", "_worse", "_best_round", "_best_state")


class Scale(Protocol):
    """Rates the policy at each look, and decides nothing."""

    def look(self, number: int) -> dict[str, float]: ...
    def summary(self) -> dict[str, Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Gate:
    """Looks at the policy `looks` times over a phase of `rounds`.

    mean: the mean score of the policy as it is, if that is its skill and has been measured
    history: of each look its round, mean, why, and what was decided
    went_back: the rounds after which it went back
    stopped: whether that was so often that the phase ends
    """

    def __init__(
        self, learner: Learner, judge: Judge, *, rounds: int, looks: int, scale: Scale | None = None
    ) -> None:
        self.learner, self.judge, self.scale, self.every = learner, judge, scale, ceil(rounds / looks)
        self.stopped = False
        self.mean: float | None = None
        self.went_back: list[int] = []
        self.history: list[dict[str, Any]] = []
        self._worse = 0  # looks in a row that found the policy worse
        self._best_round, self._best_state = 0, learner.policy.state()

    @property
    def scores(self) -> Scores | None:
        """Behind the mean, one for each problem."""
        return None if self.mean is None else self.judge.scores

    def begin(self) -> None:
        """Before the first round: the policy that comes in is the best so far."""
        mean = self.judge.begin(self._best_state)
        self._know(mean)
        self._note(0, Look(mean, better=False, worse=False), "begins")
        if self.scale is not None:
            self.scale.look(0)

    def after_step(self, number: int, last: bool) -> dict[str, float]:
        """After round `number`: look if it is time to. Figures for TensorBoard. `last`: no round follows."""
        self.mean = None
        if number % self.every and not last:
            return {}
        look, rated = self.judge.look(), {} if self.scale is None else self.scale.look(number)
        self._know(look.mean)
        self._worse = self._worse + 1 if look.worse else 0
        decision = "goes on"
        if look.better:
            self._promote(number)
            decision = "the best so far"
        elif self._worse == PATIENCE or (self._worse and last):
            decision, self._worse = f"went back to round {self._best_round}", 0
            self._restore()
            self.learner.optimizer.restart(SMALLER)
            self.went_back.append(number)
            self.stopped = len(self.went_back) >= GIVES_UP
        elif self._worse:
            decision = "worse; waits for another look"
        elif last and self.judge.of_skill:
            decision = f"ends with round {self._best_round}"
            self._restore()
        elif last:
            self._promote(number)
            decision = "ends"
        self._note(number, look, decision)
        return {"validation": look.mean, "went_back": float(len(self.went_back))} | rated

    def _promote(self, number: int) -> None:
        self._best_round, self._best_state = number, self.learner.policy.state()
        self.judge.promote(self._best_state)

    def _restore(self) -> None:
        self.learner.restore(self._best_state)
        self._know(self.judge.go_back())

    def _know(self, mean: float) -> None:
        self.mean = mean if self.judge.of_skill else None

    def _note(self, number: int, look: Look, decision: str) -> None:
        why = {name: round(value, 5) for name, value in look.why.items()}
        self.history.append({"round": number, "mean": round(look.mean, 4), **why, "decision": decision})

    def summary(self) -> dict[str, Any]:
        """For the report."""
        ends = {"ends_with": self._best_round, "went_back": self.went_back}
        rated = {} if self.scale is None else {"elo": self.scale.summary()}
        return {"compared": self.judge.compared, **ends, "looks": self.history} | rated

    def state_dict(self) -> dict[str, Any]:
        parts = {"judge": self.judge.state_dict(), "scale": self.scale and self.scale.state_dict()}
        return {name: getattr(self, name) for name in KEPT} | parts | {"mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in (*KEPT, "mean"):
            setattr(self, name, state[name])
        self.judge.load_state_dict(state["judge"], self._best_state)
        if self.scale is not None:
            self.scale.load_state_dict(state["scale"])
