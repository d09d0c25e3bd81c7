"""Rewards made of parts: correctness decides, and bonuses count only once the answer is right.

A reward function takes a completion and the task's facts as keywords and returns a Verdict, a number from 0
to 1, a bool, or None where it does not apply. Functions are registered by name, with the decorator or by the
entry-point group `shuhari.rewards` of an installed package.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from shuhari.rewards.math.verify import verify
from shuhari.rewards.verdict import Verdict

Outcome = Verdict | float | bool | None
RewardFunction = Callable[..., Outcome]
_registered: dict[str, RewardFunction] = {}


def reward(name: str) -> Callable[[RewardFunction], RewardFunction]:
    """Register a reward function under a name. Raises ValueError where the name is taken by another."""

    def register(function: RewardFunction) -> RewardFunction:
        if _registered.setdefault(name, function) is not function:
            raise ValueError(f"a reward named {name!r} is registered already")
        return function

    return register


@lru_cache(maxsize=1)
def _installed() -> dict[str, Any]:
    return {entry.name: entry for entry in entry_points(group="shuhari.rewards")}


def get_reward(name: str) -> RewardFunction:
    """The reward function of that name. Raises ValueError, with the nearest name, where there is none."""
    if name in _registered:
        return _registered[name]
    if name in _installed():
        loaded: RewardFunction = _installed()[name].load()
        return loaded
    known = sorted({*_registered, *_installed()})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise ValueError(f"there is no reward named {name!r}; {hint}")


def call(function: RewardFunction, completion: str, facts: Mapping[str, Any]) -> Outcome:
    """The function on a completion and those of the facts that it asks for by name."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return function(completion, **facts)
    return function(completion, **{p.name: facts[p.name] for p in parameters if p.name in facts})


@dataclass(frozen=True)
class Rubric:
    """Correctness and weighted bonuses.

    The score is 0 unless `correct` says so. Then it is (1 + sum of weight·bonus) / (1 + sum of weights), over
    the bonuses that apply: 1 for a right answer that earns all of them, never 0 for a right one. A bonus that
    is None is left out of both sums.
    """

    correct: RewardFunction
    bonuses: Mapping[RewardFunction, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(weight <= 0 for weight in self.bonuses.values()):
            raise ValueError("a bonus has a weight above 0")

    def __call__(self, completion: str, **facts: Any) -> tuple[Verdict, float]:
        """The verdict and the score. A function that raises is an `error`: the policy is not to blame."""
        try:
            verdict = as_verdict(call(self.correct, completion, facts))
            if verdict.status != "correct":
                return verdict, 0.0
            total = weights = 1.0
            for bonus, weight in self.bonuses.items():
                outcome = call(bonus, completion, facts)
                if outcome is None:
                    continue
                value = outcome.score if isinstance(outcome, Verdict) else float(outcome)
                if not 0 <= value <= 1:
                    raise ValueError(f"a bonus of {value}: from 0 to 1")
                total, weights = total + weight * value, weights + weight
        except Exception as error:  # whatever a user's function raises
            return Verdict("error", f"{type(error).__name__}: {error}", "rubric"), 0.0
        return verdict, total / weights


def as_verdict(outcome: Outcome) -> Verdict:
    """A verdict of what a reward function returned; a number counts as correct from 1 on."""
    if isinstance(outcome, Verdict):
        return outcome
    if outcome is None:
        return Verdict("unknown", "not applicable", "rubric")
    return Verdict("correct" if outcome >= 1 else "wrong", "", "rubric")


@reward("math")
def math(completion: str, gold: str, kind: str = "auto", form: str = "any", prompt: str = "") -> Verdict:
    """The verifier itself."""
    return verify(completion, gold, kind=kind, form=form, prompt=prompt)


@reward("boxed")
def boxed(completion: str) -> float:
    """Whether the answer stands in exactly one box, or one pair of answer tags."""
    return float(completion.count("\\boxed{") + completion.count("<answer>") == 1)
