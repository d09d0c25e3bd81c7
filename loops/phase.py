"""A phase: a source of batches, and the learner that they go to."""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from shuhari.loops.collect.source import Source
from shuhari.loops.evaluate.evaluation import Evaluation
from shuhari.loops.health import PhaseHealth
from shuhari.loops.learn.learner import Learner
from shuhari.loops.pace import Pace
from shuhari.policy.policy import Tokens

UNCOUNTED = 0.05  # share of episodes without a verdict above which a person is told
UNJUDGED = 0.5  # and above which a phase has failed
REMEDIES = (
    "give it traces to imitate first (phases.imitate.traces=FILE, or an expert in the environment), an "
    "easier difficulty (env_args), a base that has seen such text (policy.base), or more samples of a problem"
)
CHECK = "shuhari envs --check ID says more"


class Guard(Protocol):
    """Watches the policy while a phase runs, and may end the phase or put an earlier policy back.

    mean: the skill of the policy as it is, where the guard has just measured it
    scores: of the problems behind it
    """

    stopped: bool
    mean: float | None

    @property
    def scores(self) -> Sequence[float | None] | None: ...
    def begin(self) -> None: ...
    def after_step(self, number: int, last: bool) -> dict[str, float]: ...
    def summary(self) -> dict[str, Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Phase:
    """A loop of rounds that can stop after any of them and go on from its state, bit for bit."""

    def __init__(
        self,
        name: str,
        source: Source,
        learner: Learner,
        guard: Guard | None = None,
        health: PhaseHealth | None = None,
    ) -> None:
        self.name, self.source, self.learner, self.guard = name, source, learner, guard
        self.health = health
        self.rounds = 0  # made so far
        self.seconds = 0.0  # that they took

    @property
    def total(self) -> int:
        """Rounds, at most."""
        return self.source.rounds

    @property
    def done(self) -> bool:
        return self.rounds >= self.total or (self.guard is not None and self.guard.stopped)

    def step(self) -> dict[str, float]:
        """One round: everything that its source gives is learned from. Figures for TensorBoard.

        Raises Disagreement where sampler and learner are not one policy.
        """
        started = time.monotonic()
        # What was remembered while somebody looked on must not enter a round: a resumed run never saw it.
        self.learner.policy.updated()
        if self.guard is not None and self.rounds == 0:
            self.guard.begin()
        learned: dict[str, list[float]] = defaultdict(list)
        prompt: Tokens = ()
        pace = Pace(self.source, self.learner)
        for number, batch in enumerate(self.source.batches(self.rounds)):
            pace.learning()
            if self.health is not None and number == 0:
                self.health.before_updates(self.source.fresh())
            prompt = batch.prompts[0]
            for name, value in self.learner.learn(batch).items():
                learned[name].append(value)
            pace.collecting()
        pace.checking()
        self.rounds += 1
        figures = self.source.figures | {name: float(np.mean(values)) for name, values in learned.items()}
        last = self.rounds >= self.total
        if self.health is not None:  # of what was learned, before a guard puts an earlier policy back
            self.health.after_round(self.source.shares, prompt, last)
        if self.guard is not None:
            figures |= self.guard.after_step(self.rounds, last)
        self.seconds += time.monotonic() - started
        return figures | pace.figures()

    @property
    def known_skill(self) -> float | None:
        """The skill of the policy as it is, where the guard has just measured it."""
        return None if self.guard is None else self.guard.mean

    @property
    def known_scores(self) -> Sequence[float | None] | None:
        """The scores behind it."""
        return None if self.known_skill is None or self.guard is None else self.guard.scores

    @property
    def vitals(self) -> dict[str, float]:
        """The figures of its health so far, for TensorBoard."""
        return {} if self.health is None else dict(self.health.figures)

    def warning(self) -> str:
        """What to say of a round many of whose episodes have no verdict: they teach nothing. Or ""."""
        if self.source.figures.get("uncounted", 0.0) <= UNCOUNTED:
            return ""
        share = f"over {UNCOUNTED:.0%} of a round's episodes have no verdict and are left out"
        return f"{self.name}: {share}; the first: {self.source.trouble}"

    def failures(self, evaluation: Evaluation[Any]) -> list[str]:
        """Why it could teach nothing although there is something to learn, or else what of its health has
        failed; and what to do. Or nothing."""
        found = self._taught_nothing(evaluation)
        return found or ([] if self.health is None else self.health.failures(self.name))

    def _taught_nothing(self, evaluation: Evaluation[Any]) -> list[str]:
        source, played = self.source, self.source.episodes
        made = f"phase {self.name}: {self.rounds} rounds of {played:,} episodes"
        if source.unjudged > UNJUDGED * played:
            share = f"{source.unjudged / played:.0%} of them have no verdict, the first: {source.trouble}"
            return [f"{made}: {share}. What to do: mend the environment or its golds; {CHECK}."]
        if (self.learner.updates and source.taught) or evaluation.solved(evaluation.skill()):
            return []
        none = "had nothing to learn from" if self.learner.updates else "made no update"
        return [f"{made} {none}: in no group did one earn more than another. What to do: {REMEDIES}."]

    def summary(self) -> dict[str, Any]:
        """What it has consumed: seconds of training, rounds as steps, and tokens that entered a loss."""
        counts = {"updates": self.learner.updates, "episodes": self.source.episodes}
        made = {"name": self.name, "seconds": round(self.seconds, 1), "steps": self.rounds}
        if self.guard is not None and (gate := self.guard.summary()):
            made["gate"] = gate
        health = [] if self.health is None else self.health.findings()
        return made | counts | {"tokens": self.learner.tokens, "health": health}

    def state_dict(self) -> dict[str, Any]:
        guard = None if self.guard is None else self.guard.state_dict()
        parts = {"source": self.source.state_dict(), "learner": self.learner.state_dict()}
        made = {"name": self.name, "rounds": self.rounds, "seconds": self.seconds}
        health = None if self.health is None else self.health.state_dict()
        return made | {"guard": guard, "health": health} | parts

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rounds, self.seconds = state["rounds"], state["seconds"]
        self.source.load_state_dict(state["source"])
        self.learner.load_state_dict(state["learner"])
        if self.guard is not None:
            self.guard.load_state_dict(state["guard"])
        if self.health is not None:
            self.health.load_state_dict(state["health"])
