"""Who has been measured, and how: the rows of a run's report."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps
from typing import Any

from shuhari.loops.evaluate.evaluation import Evaluation, Row
from shuhari.loops.measured import Measured
from shuhari.loops.phase import Phase
from shuhari.policy.policy import Policy

# Phases whose player has another name: that of its row in the report, and of its frozen adapter.
PLAYERS = {"imitate": "imitation", "harder": "selfplay_harder"}


def player_of(phase: str) -> str:
    """The name of the player that a phase makes."""
    return PLAYERS.get(phase, phase)


def _timed(measure: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `Scoreboard` whose time counts as measuring."""

    @wraps(measure)
    def timed(self: "Scoreboard", *given: Any, **named: Any) -> Any:
        started = time.monotonic()
        try:
            return measure(self, *given, **named)
        finally:
            self.seconds += time.monotonic() - started

    return timed


class Scoreboard:
    """Measures players, and keeps the policy as it was after each phase.

    seconds: how long all measuring took
    `own`: evaluations of phases that play another environment; their rows stand within the player's row,
    under the phase's name.
    """

    def __init__(
        self,
        policy: Policy,
        evaluation: Evaluation[Any],
        own: dict[str, Evaluation[Any]],
        measured: Measured,
        working: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """working: says what is being done, while it is"""
        self.policy, self.evaluation, self.own, self.measured = policy, evaluation, own, measured
        self.working = working
        self.rows: dict[str, Row] = {}
        self.seconds = 0.0

    def of(self, phase: str) -> Evaluation[Any]:
        """The evaluation of what a phase plays."""
        return self.own.get(phase, self.evaluation)

    @_timed
    def skill(self, phase: str) -> float:
        """The metric of the present policy, in what a phase plays."""
        return self.of(phase).skill()

    @_timed
    def measure_references(self) -> None:
        """The players that need no training. What is known of them from an earlier run is read."""
        for evaluation, phase in ((self.evaluation, ""), *((own, name) for name, own in self.own.items())):
            for name, player in (evaluation.references() | {"base": evaluation.policy(None)}).items():
                with self.working(f"measuring {name}"):
                    row = self.measured.row(phase, name, partial(evaluation.measure, name, player))
                self.rows[name] = self.rows.get(name, {}) | ({phase: row} if phase else row)

    @_timed
    def measure_policy(self, name: str) -> None:
        """The policy as it is now, frozen under that name: from then on an opponent of others, too."""
        self.policy.freeze(name)
        with self.working(f"measuring {name}"):
            row = self.evaluation.measure(name, player := self.evaluation.policy(name))
            self.evaluation.remember(name, player)
            own = {phase: e.measure(name, e.policy(name)) for phase, e in self.own.items()}
        self.rows[name] = row | own

    @_timed
    def measure_companions(self, phase: Phase, before: bool) -> None:
        """The players that a phase's source brings along."""
        for name, player in phase.source.players(before).items():
            row = name if before else f"{player_of(phase.name)}_{name}"
            with self.working(f"measuring {row}"):
                self.rows[row] = self.evaluation.measure(row, self.evaluation.searcher(player))

    def levels(self) -> dict[str, float]:
        """The flat lines of the learning curve."""
        metric, perfect = self.evaluation.metric, self.evaluation.perfect
        known = {
            name: self.rows[name][metric] for name in ("expert", "expert_mode", "base") if name in self.rows
        }
        levels: dict[str, float] = {name: value for name, value in known.items() if value is not None}
        return levels if perfect is None else {**levels, "perfect": perfect}

    def learned(self, phases: list[str]) -> list[str]:
        """Players of whom the report speaks: the latest first; those of other environments do not count."""
        return [*(player_of(name) for name in reversed(phases) if name not in self.own), "adapter"]

    def state_dict(self) -> dict[str, Any]:
        frozen = [name for name in self.rows if name in self.policy.frozen]
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "frozen": {name: self.policy.state(name) for name in frozen},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.seconds = state["rows"], state["seconds"]
        for name, adapter in state["frozen"].items():
            self.policy.freeze(name, adapter)
            self.evaluation.remember(name, self.evaluation.policy(name))
