"""A full environment out of two functions, and the environments of installed packages."""

import inspect
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

import gymnasium
import numpy as np

from shuhari.envs.adapters import as_text
from shuhari.envs.base import Task, TaskEnv, TextEnv
from shuhari.envs.contract import fault, finite
from shuhari.rewards import Verdict

Generator = Callable[[np.random.Generator], tuple[str, Any] | Task]
Verifier = Callable[[str, Any], Verdict | bool | float]


def make_env(
    generator: Generator,
    verifier: Verifier,
    *,
    id: str,
    instructions: str = "",
    expert: Callable[[str, Any], str] | None = None,
    solution: Callable[[str, Any], str] | None = None,
) -> str:
    """Register an environment and return its id, which `gymnasium.make` and `env=` take.

    `generator(rng)` draws a problem: a prompt and its gold, what the verifier needs to know (or a Task).
    `verifier(completion, gold)` returns a Verdict, a bool, or a number that is right from 1 on.
    `expert(prompt, gold)` writes a trace, `solution(prompt, gold)` a completion that earns full reward, for
    self-tests. Problems with one prompt are the same problem; their hash splits train from held-out.
    """
    if "/" not in id:
        raise ValueError(f"id={id!r}: an id has a namespace, as in mine/{id}")

    class Made(TaskEnv):
        def generate(self, rng: np.random.Generator) -> Task:
            drawn = generator(rng)
            if isinstance(drawn, Task):
                return drawn
            if not isinstance(drawn, (tuple, list)) or len(drawn) != 2:
                raise fault(self, "what the generator gives", drawn, "a Task, or a prompt and its gold")
            return Task(drawn[0], drawn[1], drawn[0])

        def verify(self, task: Task, completion: str) -> Verdict:
            outcome = verifier(completion, task.gold)
            if isinstance(outcome, Verdict):
                return outcome
            return Verdict("correct" if finite(self, "what the verifier gives", outcome) >= 1 else "wrong")

        def expert(self, task: Task, rng: np.random.Generator) -> str | None:
            return None if expert is None else expert(task.prompt, task.gold)

        def solution(self, task: Task) -> str | None:
            return None if solution is None else solution(task.prompt, task.gold)

    Made.instructions = instructions or (inspect.getdoc(generator) or "").split("\n")[0]
    Made.__name__ = Made.__qualname__ = id.rpartition("/")[2].partition("-")[0]
    made: Any = Made
    gymnasium.register(id, made, disable_env_checker=True, order_enforce=False)
    return id


@lru_cache(maxsize=1)
def load_plugins() -> tuple[str, ...]:
    """Import what installed packages registered under the entry-point group `shuhari.envs`; what went wrong.

    An entry point names a module that registers environments when it is imported, or a function that does.
    """
    troubles = []
    for entry in entry_points(group="shuhari.envs"):
        try:
            loaded = entry.load()
            if callable(loaded):
                loaded()
        except Exception as error:  # somebody else's code
            troubles.append(f"plug-in {entry.name} ({entry.value}): {type(error).__name__}: {error}")
    return tuple(troubles)


def arguments_of(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs; values are JSON where they can be read as it, else text, perhaps in quotes."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{pair!r}: arguments are key=value")
        try:
            found[key] = json.loads(value)
        except ValueError:
            quoted = len(value) > 1 and value[0] == value[-1] == "'"  # as Hydra's grammar would have it
            found[key] = value[1:-1] if quoted else value
    return found


def open_env(env_id: str, arguments: dict[str, Any]) -> gymnasium.Env[str, str]:
    """The environment, plug-ins included. Raises ValueError, with Gymnasium's suggestion if there is none."""
    where = f"env={env_id}" + (f", env_args={arguments}" if arguments else "")
    load_plugins()
    try:
        # What it gives is checked where it is used (`contract.py`): Gymnasium's checker would only warn.
        made = gymnasium.make(env_id, **{"disable_env_checker": True, **arguments})
        return as_text(made, arguments)
    except Exception as error:  # a plug-in's module may fail in any way when it is imported or built
        raise ValueError(f"{where}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def documents(env_ids: list[str], env_args: dict[str, Any], n: int, seed: int) -> list[str]:
    """`n` documents, the environments in turn. One is an id, and arguments of its own: "ID key=value ..."."""
    envs = []
    for entry in env_ids:
        env_id, *pairs = entry.split()
        envs.append(open_env(env_id, env_args | arguments_of(pairs)).unwrapped)
    for env_id, env in zip(env_ids, envs, strict=True):
        if not isinstance(env, TextEnv):
            raise ValueError(f"{env_id}: not a shuhari TextEnv, so it has no text to pre-train on")
    rng = np.random.default_rng(seed)
    return ["".join(envs[i % len(envs)].document(rng)) for i in range(n)]  # type: ignore[attr-defined]
