"""Problems at a table: a person may answer first, then a policy and the expert; the environment judges."""

from typing import Any, Protocol

import numpy as np

from shuhari.envs import TaskEnv, validation
from shuhari.loops.play.terminal import Terminal
from shuhari.rewards import Verdict

SIDE = {"split": "heldout"}  # problems that no run has trained on


class Answerer(Protocol):
    """Who answers a problem, in one message or in several."""

    name: str

    def first(self, observation: str, info: dict[str, Any]) -> str:
        """The first message of an episode."""
        ...

    def next(self, observation: str) -> str:
        """The next one, after what the environment has replied."""
        ...


class ProblemTable:
    """Problems of one environment, drawn one after the other until the person leaves.

    person: whether a person answers each problem first
    """

    def __init__(
        self, env: Any, answerer: Answerer, person: bool, terminal: Terminal, rng: np.random.Generator
    ) -> None:
        self.env, self.answerer, self.person = env, answerer, person
        self.terminal, self.rng = terminal, rng

    @property
    def _problems(self) -> TaskEnv:
        return self.env.unwrapped  # type: ignore[no-any-return]

    def play(self) -> None:
        """Raises EnvFault for an environment that fails."""
        if self._problems.instructions:
            self.terminal.say(self._problems.instructions)
        if self.person:
            self.terminal.say("Answer, or press Enter to leave it to the others; quit ends.")
        while True:
            seed = int(self.rng.integers(2**31))
            self.terminal.show(f"\nProblem: {self._begin(seed)[0].rstrip()}")
            if self.person and not self._person_answers():
                return
            self._answers(seed)
            self._expert()
            if self.terminal.ask("Enter for the next, or quit") not in ("", "next"):
                return

    def _begin(self, seed: int) -> tuple[str, dict[str, Any]]:
        return validation.reset_or_fault(self.env, seed, SIDE)

    def _person_answers(self) -> bool:
        """Whether the person goes on. Tools reply to a person too."""
        while True:
            said = self.terminal.ask("you")
            if said is None or said == "quit":
                return False
            if not said or self._step(said)[1]:
                return True

    def _answers(self, seed: int) -> None:
        self.terminal.show(f"{self.answerer.name}:")
        observation, info = self._begin(seed)
        message, over = self.answerer.first(observation, info), False
        while True:
            observation, over = self._step(message)
            if over:
                return
            message = self.answerer.next(observation)

    def _expert(self) -> None:
        """The expert's answer and its verdict; it may be wrong, as experts are."""
        problems = self._problems
        answer = validation.expert_answer(problems, problems.task, self.rng)
        if answer is None or self.answerer.name == "expert":
            return
        self.terminal.show(f"expert:\n{answer.rstrip()}")
        self.terminal.say(_told(problems.verify(problems.task, answer)))

    def _step(self, message: str) -> tuple[str, bool]:
        """The environment's reply, which is shown, and whether the episode is over."""
        observation, _, terminated, truncated, info = validation.step_or_fault(self.env, message)
        if (over := terminated or truncated) and (verdict := info.get("verdict")) is not None:
            self.terminal.say(_told(verdict))
        elif observation:
            self.terminal.show(observation.rstrip())
        return observation, over


def _told(verdict: Verdict) -> str:
    """A verdict, the rung of the verifier that decided, and why."""
    rung = f" ({verdict.rung})" if verdict.rung else ""
    return f"-> {verdict.status}{rung}{f': {verdict.reason}' if verdict.reason else ''}"


class ExpertAnswers:
    """The environment's expert, in one message."""

    name = "expert"

    def __init__(self, env: Any, terminal: Terminal, rng: np.random.Generator) -> None:
        self.env, self.terminal, self.rng = env, terminal, rng

    def first(self, observation: str, info: dict[str, Any]) -> str:
        problems = self.env.unwrapped
        answer = str(validation.expert_answer(problems, problems.task, self.rng))
        self.terminal.show(answer.rstrip())
        return answer

    def next(self, observation: str) -> str:
        return self.first(observation, {})
