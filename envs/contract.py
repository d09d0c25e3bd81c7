"""What an environment must give, checked where it gives it: one line that names it, the place and the value.

A wrong value is a fault of the program and ends a run; an exception on the way is an episode that failed
(`loops/collect/rollout.py`), and a fault only where nothing else ever comes.
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

PROBES = 8  # episodes, of which one must go well


class EnvFault(ValueError):
    """An environment breaks its contract; the message is one line."""


def name_of(env: Any) -> str:
    """An environment's id, or its class where it was not made by one."""
    spec = getattr(env, "spec", None)
    return f"env={spec.id}" if spec is not None else type(env).__name__


def shown(value: Any) -> str:
    """A value and its type, in one short line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a user's __repr__
        text = "?"
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{text} ({type(value).__name__})"


def fault(env: Any, place: str, value: Any, wanted: str) -> EnvFault:
    return EnvFault(f"{name_of(env)}: {place} is {shown(value)}, not {wanted}")


@contextmanager
def blamed(env: Any, place: str) -> Iterator[None]:
    """Whatever is raised inside is the environment's, at that place. Raises EnvFault."""
    try:
        yield
    except EnvFault:
        raise
    except (Exception, SystemExit) as error:  # somebody else's code may raise anything
        raise EnvFault(f"{name_of(env)}: {place} raised {said(error)}") from error


def said(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def finite(env: Any, place: str, value: Any) -> float:
    """A number as a float; numpy's are. Raises EnvFault for what is none, for NaN and infinities."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, (numbers.Real, np.bool_)) or not math.isfinite(value):
        raise fault(env, place, value, "a finite number")
    return float(value)


def text(env: Any, place: str, value: Any) -> str:
    """A text. Raises EnvFault for what is none."""
    if not isinstance(value, str):
        raise fault(
            env, place, value, "text" if "observation" not in place else "text; wrap it in one that writes"
        )
    return value


def _info(env: Any, where: str, info: Any) -> dict[str, Any]:
    if not isinstance(info, dict):
        raise fault(env, f"{where}'s info", info, "a dictionary")
    seat, legal, returns = info.get("seat", 0), info.get("legal_actions", ()), info.get("returns", ())
    if not isinstance(seat, (int, np.integer)) or isinstance(seat, bool) or seat < -1:
        raise fault(env, f"{where}'s info['seat']", seat, "the number of a seat")
    # A text would pass for a sequence of letters.
    if isinstance(legal, str) or not isinstance(legal, Sequence):
        raise fault(env, f"{where}'s info['legal_actions']", legal, "a tuple of texts")
    for action in legal:
        text(env, f"{where}'s legal action", action)
    if isinstance(returns, str) or not isinstance(returns, (Sequence, np.ndarray)):
        raise fault(env, f"{where}'s info['returns']", returns, "a number for each seat")
    for value in returns:
        finite(env, f"{where}'s info['returns']", value)
    if not isinstance(info.get("verdict"), (Verdict, type(None))):
        raise fault(env, f"{where}'s info['verdict']", info["verdict"], "a Verdict")
    if not isinstance(info.get("key", ""), (str, int)):
        raise fault(env, f"{where}'s info['key']", info["key"], "text")
    return info


def reset(
    env: gymnasium.Env[Any, Any], seed: int, options: dict[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """The first observation and info. Raises EnvFault for what is neither, and what the env raises."""
    given = env.reset(seed=seed, options=options)
    if not isinstance(given, tuple) or len(given) != 2:
        raise fault(env, "what reset returns", given, "(observation, info)")
    observation = text(env, "reset's observation", given[0])
    if not observation:
        raise fault(env, "reset's observation", "", "text to answer")
    return observation, _info(env, "reset", given[1])


def opening(
    env: gymnasium.Env[Any, Any], seed: int, options: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """A reset that no episode hangs on: what it raises is a fault."""
    with blamed(env, "reset"):
        return reset(env, seed, options)


def answered(env: gymnasium.Env[Any, Any], action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    """The same of a step."""
    with blamed(env, "step"):
        return step(env, action)


def probe(env: gymnasium.Env[Any, Any]) -> None:
    """Begin a few episodes and answer once. Raises EnvFault where that never goes well."""
    for seed in range(PROBES):
        _, info = opening(env, seed)
        try:
            step(env, next(iter(info.get("legal_actions", ())), "0"))
            return
        except EnvFault:
            raise
        except (Exception, SystemExit) as error:  # now and then: an episode that failed
            trouble = said(error)
    raise EnvFault(f"{name_of(env)}: step raised {trouble}, in each of {PROBES} episodes")


def expert_answer(env: Any, task: Any, rng: np.random.Generator) -> str | None:
    """What an environment's expert writes. Raises EnvFault where that is no text, and what it raises."""
    with blamed(env, "expert"):
        completion = env.expert(task, rng)
    return completion if completion is None else text(env, "what expert gives", completion)


def traces(env: Any, n: int, rng: np.random.Generator) -> list[Trace]:
    """An expert's traces. Raises EnvFault for what is none, and what the environment raises."""
    with blamed(env, "expert_traces"):
        found = list(env.expert_traces(n, rng))
    for trace in found:
        if not isinstance(trace, Trace):
            raise fault(env, "what expert_traces gives", trace, "a Trace")
        text(env, "a trace's prompt", trace.prompt)
        text(env, "a trace's completion", trace.completion)
    return found


def step(env: gymnasium.Env[Any, Any], action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    """The same of a step: observation, reward, terminated, truncated, info."""
    given = env.step(action)
    if not isinstance(given, tuple) or len(given) != 5:
        raise fault(env, "what step returns", given, "(observation, reward, terminated, truncated, info)")
    observation, reward, terminated, truncated, info = given
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, (bool, np.bool_)):
            raise fault(env, f"step's {name}", value, "true or false")
    earned = finite(env, "step's reward", reward)
    return (
        text(env, "step's observation", observation),
        earned,
        bool(terminated),
        bool(truncated),
        _info(env, "step", info),
    )
