"""How fast a round goes, by stage: collecting, learning, checking."""

import time

from shuhari.loops.collect.source import Source
from shuhari.loops.learn.learner import Learner


class Pace:
    """The clock of one round, which begins with collecting. A stage lasts until another one begins."""

    def __init__(self, source: Source, learner: Learner) -> None:
        self.source, self.learner = source, learner
        self._before = self._counts()
        self._seconds = {"collect": 0.0, "learn": 0.0, "check": 0.0}
        self._stage, self._since = "collect", time.monotonic()

    def collecting(self) -> None:
        self._begin("collect")

    def learning(self) -> None:
        self._begin("learn")

    def checking(self) -> None:
        self._begin("check")

    def _begin(self, stage: str) -> None:
        now = time.monotonic()
        self._seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def _counts(self) -> tuple[int, int, int]:
        return self.source.decisions, self.source.sampled, self.learner.tokens

    def figures(self) -> dict[str, float]:
        """The round has ended: seconds of each stage, and what was done in a second, where something was."""
        self._begin(self._stage)
        done = [after - before for before, after in zip(self._before, self._counts(), strict=True)]
        rates = {
            "time/fps": (done[0], "collect"),
            "time/sampled_tokens_per_second": (done[1], "collect"),
            "time/learned_tokens_per_second": (done[2], "learn"),
        }
        found = {f"time/{stage}_seconds": seconds for stage, seconds in self._seconds.items()}
        known = {name: (n, self._seconds[stage]) for name, (n, stage) in rates.items()}
        return found | {name: n / seconds for name, (n, seconds) in known.items() if n and seconds > 0}
