"""Problems that steer a run: neither trained on nor reported."""

from functools import cached_property
from typing import Any

from shuhari.envs.problems.heldout import SEEDS, HeldOutProblems, solved
from shuhari.envs.validation import EnvFault
from shuhari.loops.collect.rollout import Rollouts

PROBLEMS = 300  # that a verifier judges, at most
EPISODES = 64  # of an environment that pays, at most: they may be long


class Validation:
    """The validation side of an environment or, where it has none, seeds that training does not draw."""

    def __init__(self, rollouts: Rollouts, judged: bool, wanted: int) -> None:
        """`judged`: whether the environment is a `TaskEnv`, with sides and a verifier; `wanted`: problems
        behind each reported figure: as many steer a run, up to a limit."""
        self.rollouts, self.judged = rollouts, judged
        self.most = min(wanted, PROBLEMS if judged else EPISODES)

    @cached_property
    def _problems(self) -> tuple[list[int], dict[str, Any] | None, set[str]]:
        """Seeds, the options of `reset`, and the prompts."""
        if self.judged:
            try:
                found = HeldOutProblems(self.rollouts.make(), self.most, "validation")
            except EnvFault:  # too few problems, or another split: no problem is on that side
                pass
            else:
                return found.seeds, {"split": "validation"}, found.prompts
        return list(range(SEEDS["validation"], SEEDS["validation"] + self.most)), None, set()

    def __len__(self) -> int:
        return len(self._problems[0])

    @property
    def apart(self) -> bool:
        """Whether the problems are on a side of their own."""
        return self._problems[1] is not None

    def withholds(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of training."""
        return prompt.strip() in self._problems[2]

    def scores(self, n: int | None = None) -> list[float | None]:
        """What greedy play of the present policy earns on the first `n` problems, or on all: 1 or 0 where a
        verifier judges, else the return; None: there is no verdict."""
        seeds, options, _ = self._problems
        played = self.rollouts.play(seeds[:n], temperature=0, options=options)
        return [
            _number(solved(episode)) if self.judged else episode.reward() if episode.counts else None
            for episode in played
        ]


def _number(solved: bool | None) -> float | None:
    return None if solved is None else float(solved)
