"""Validate the values that an environment returns. An error names environment, place and value in one line.

A wrong value is a bug of the environment, and ends a run. An exception only ends its episode
(`loops/collect/rollout.py`), and ends a run if no episode goes well.
"""

import math
import numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from shuhari.envs.types import Trace
from shuhari.rewards import Verdict

TRIALS = 8  # episodes, of which one must go well


class EnvFault(ValueError):
    """An environment returns a wrong value, or always raises. The message is one line."""


def env_name(env: Any) -> str:
    """An environment's id, or the name of its class if it was not made by an id."""
    spec = getattr(env, "spec", None)
    return str(spec.id) if spec is not None else type(env).__name__


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type's name."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def error_line(error: BaseException) -> str:
    """An exception in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:200]}" if message else type(error).__name__


def _value_and_type(value: Any) -> str:
    """A value and its type, in one short line."""
    try:
        written = " ".join(repr(value).split())
    except Exception:  # a user's __repr__
        written = "?"
    written = written if len(written) <= 60 else f"{written[:57]}..."
    return f"{written} ({type(value).__name__})"


def fault(env: Any, place: str, value: Any, wanted: str) -> EnvFault:
    """The error that says that `place` is `value`, and what it must be instead."""
    return EnvFault(f"{env_name(env)}: {place} is {_value_and_type(value)}, not {wanted}")


@contextmanager
def blame(env: Any, method: str) -> Iterator[None]:
    """Raise any exception of the block as an EnvFault that names the environment and its method."""
    try:
        yield
    except EnvFault:
        raise
    except (Exception, SystemExit) as error:  # a user's environment may raise anything
        raise EnvFault(f"{env_name(env)}: {method} raised {error_line(error)}") from error


def finite(env: Any, place: str, value: Any) -> float:
    """The value as a float, also a number of numpy. Raises EnvFault for NaN, infinity and anything else."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, (numbers.Real, np.bool_)) or not math.isfinite(value):
        raise fault(env, place, value, "a finite number")
    return float(value)


def text(env: Any, place: str, value: Any) -> str:
    """The value, which must be text. Raises EnvFault."""
    if not isinstance(value, str):
        remedy = "; wrap the environment in one that writes text" if "observation" in place else ""
        raise fault(env, place, value, f"text{remedy}")
    return value


def _info(env: Any, method: str, info: Any) -> dict[str, Any]:
    if not isinstance(info, dict):
        raise fault(env, f"{method}'s info", info, "a dictionary")
    seat, legal, returns = info.get("seat", 0), info.get("legal_actions", ()), info.get("returns", ())
    if not isinstance(seat, (int, np.integer)) or isinstance(seat, bool) or seat < -1:
        raise fault(env, f"{method}'s info['seat']", seat, "the number of a seat")
    # A string is a sequence too, of its letters.
    if isinstance(legal, str) or not isinstance(legal, Sequence):
        raise fault(env, f"{method}'s info['legal_actions']", legal, "a tuple of texts")
    for action in legal:
        text(env, f"{method}'s legal action", action)
    if isinstance(returns, str) or not isinstance(returns, (Sequence, np.ndarray)):
        raise fault(env, f"{method}'s info['returns']", returns, "a number for each seat")
    for value in returns:
        finite(env, f"{method}'s info['returns']", value)
    if not isinstance(info.get("verdict"), (Verdict, type(None))):
        raise fault(env, f"{method}'s info['verdict']", info["verdict"], "a Verdict")
    _told(env, method, info)
    if not isinstance(info.get("key", ""), (str, int)):
        raise fault(env, f"{method}'s info['key']", info["key"], "text")
    return info


def _told(env: Any, method: str, info: dict[str, Any]) -> None:
    """Check what an environment tells beside the reward: metrics, answer, malformed."""
    metrics = info.get("metrics", {})
    if not isinstance(metrics, dict):
        raise fault(env, f"{method}'s info['metrics']", metrics, "a dictionary of numbers")
    for name, value in metrics.items():
        text(env, f"a name in {method}'s info['metrics']", name)
        finite(env, f"{method}'s info['metrics'][{name!r}]", value)
    if "answer" in info:
        text(env, f"{method}'s info['answer']", info["answer"])
    if not isinstance(info.get("malformed", False), (bool, np.bool_)):
        raise fault(env, f"{method}'s info['malformed']", info["malformed"], "true or false")


def reset(
    env: gymnasium.Env[Any, Any], seed: int, options: dict[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """The first observation and info. Raises EnvFault for wrong values, and what the environment raises."""
    returned = env.reset(seed=seed, options=options)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise fault(env, "what reset returns", returned, "(observation, info)")
    observation = text(env, "reset's observation", returned[0])
    if not observation:
        raise fault(env, "reset's observation", "", "text to answer")
    return observation, _info(env, "reset", returned[1])


def step(env: gymnasium.Env[Any, Any], action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    """Observation, reward, terminated, truncated, info. Raises EnvFault, and what the environment raises."""
    returned = env.step(action)
    if not isinstance(returned, tuple) or len(returned) != 5:
        wanted = "(observation, reward, terminated, truncated, info)"
        raise fault(env, "what step returns", returned, wanted)
    observation, reward, terminated, truncated, info = returned
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, (bool, np.bool_)):
            raise fault(env, f"step's {name}", value, "true or false")
    earned = finite(env, "step's reward", reward)
    seen = text(env, "step's observation", observation)
    return seen, earned, bool(terminated), bool(truncated), _info(env, "step", info)


def reset_or_fault(
    env: gymnasium.Env[Any, Any], seed: int, options: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """`reset`, where an exception of the environment is an EnvFault too."""
    with blame(env, "reset"):
        return reset(env, seed, options)


def step_or_fault(env: gymnasium.Env[Any, Any], action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    """`step`, where an exception of the environment is an EnvFault too."""
    with blame(env, "step"):
        return step(env, action)


def try_episodes(env: gymnasium.Env[Any, Any]) -> None:
    """Begin a few episodes, each with one step, until one goes well. Raises EnvFault if none does."""
    for seed in range(TRIALS):
        _, info = reset_or_fault(env, seed)
        try:
            step(env, next(iter(info.get("legal_actions", ())), "0"))
            return
        except EnvFault:
            raise
        except (Exception, SystemExit) as error:  # a single exception is only a failed episode
            last = error_line(error)
    raise EnvFault(f"{env_name(env)}: step raised {last}, in each of {TRIALS} episodes")


def expert_answer(env: Any, task: Any, rng: np.random.Generator) -> str | None:
    """The answer of an environment's expert. Raises EnvFault if it is not text, or the expert raises."""
    with blame(env, "expert"):
        completion = env.expert(task, rng)
    return completion if completion is None else text(env, "what expert returns", completion)


def expert_traces(env: Any, n: int, rng: np.random.Generator) -> list[Trace]:
    """An environment's traces. Raises EnvFault if they are not traces, or the environment raises."""
    with blame(env, "expert_traces"):
        traces = list(env.expert_traces(n, rng))
    for trace in traces:
        if not isinstance(trace, Trace):
            raise fault(env, "what expert_traces returns", trace, "a Trace")
        text(env, "a trace's prompt", trace.prompt)
        text(env, "a trace's completion", trace.completion)
    return traces
