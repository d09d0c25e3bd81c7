"""Register an environment made of two functions, load plug-ins, and open environments by id."""

import inspect
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

import gymnasium
import numpy as np

from shuhari.envs import validation
from shuhari.envs.gymnasium_as_text import as_text
from shuhari.envs.task_env import Task, TaskEnv
from shuhari.envs.text_env import TextEnv
from shuhari.rewards import Verdict

TaskGenerator = Callable[[np.random.Generator], tuple[str, Any] | Task]
Verifier = Callable[[str, Any], Verdict | bool | float]


def register_env(
    generator: TaskGenerator,
    verifier: Verifier,
    *,
    id: str,
    instructions: str = "",
    expert: Callable[[str, Any], str] | None = None,
    solution: Callable[[str, Any], str] | None = None,
) -> str:
    """Register an environment under `id`, by which `gymnasium.make` makes it, and return the id.

    `generator(rng)` draws a problem: a prompt and its gold, which is what the verifier needs (or a `Task`).
    `verifier(completion, gold)` returns a Verdict, a bool, or a number, which is right from 1 on.
    `expert(prompt, gold)` writes a trace, `solution(prompt, gold)` a completion that earns full reward, for
    the check of the reward. Problems with the same prompt are the same problem. A hash of the prompt splits
    train from held-out. Raises ValueError if the id has no namespace.
    """
    if "/" not in id:
        raise ValueError(f"id={id!r}: an id has a namespace, as in mine/{id}")

    class FunctionsEnv(TaskEnv):
        functions: tuple[Any, ...] = ()  # whose code its problems rest on

        def generate(self, rng: np.random.Generator) -> Task:
            drawn = generator(rng)
            if isinstance(drawn, Task):
                return drawn
            if not isinstance(drawn, (tuple, list)) or len(drawn) != 2:
                wanted = "a Task, or a prompt and its gold"
                raise validation.fault(self, "what the generator returns", drawn, wanted)
            return Task(drawn[0], drawn[1], drawn[0])

        def verify(self, task: Task, completion: str) -> Verdict:
            outcome = verifier(completion, task.gold)
            if isinstance(outcome, Verdict):
                return outcome
            score = validation.finite(self, "what the verifier returns", outcome)
            return Verdict("correct" if score >= 1 else "wrong")

        def expert(self, task: Task, rng: np.random.Generator) -> str | None:
            return None if expert is None else expert(task.prompt, task.gold)

        def solution(self, task: Task) -> str | None:
            return None if solution is None else solution(task.prompt, task.gold)

    FunctionsEnv.functions = (generator, verifier, expert, solution)
    FunctionsEnv.instructions = instructions or (inspect.getdoc(generator) or "").split("\n")[0]
    FunctionsEnv.__name__ = FunctionsEnv.__qualname__ = id.rpartition("/")[2].partition("-")[0]
    entry_point: Any = FunctionsEnv
    gymnasium.register(id, entry_point, disable_env_checker=True, order_enforce=False)
    return id


@lru_cache(maxsize=1)
def load_plugins() -> tuple[str, ...]:
    """Load the entry points of the group `shuhari.envs` of all installed packages; the errors, a line each.

    An entry point is a module that registers environments when it is imported, or a function that does.
    """
    errors = []
    for entry in entry_points(group="shuhari.envs"):
        try:
            loaded = entry.load()
            if callable(loaded):
                loaded()
        except Exception as error:  # a plug-in may raise anything
            errors.append(f"plug-in {entry.name} ({entry.value}): {type(error).__name__}: {error}")
    return tuple(errors)


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """Arguments written as `key=value`. A value is JSON, or else text, perhaps in single quotes.

    Raises ValueError for anything else.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{pair!r}: arguments are key=value")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            quoted = len(value) > 1 and value[0] == value[-1] == "'"
            arguments[key] = value[1:-1] if quoted else value
    return arguments


class CannotOpen(ValueError):
    """An environment cannot be made; `reason` is the message without the environment's name."""

    def __init__(self, env_id: str, arguments: dict[str, Any], reason: str) -> None:
        with_arguments = f" with {arguments}" if arguments else ""
        super().__init__(f"{env_id}{with_arguments}: {reason}")
        self.reason = reason


def open_env(env_id: str, arguments: dict[str, Any]) -> gymnasium.Env[str, str]:
    """The environment of this id, also of a plug-in, as text. Raises CannotOpen with a reason of one line."""
    load_plugins()
    try:
        # `validation.py` checks every value that is used. Gymnasium's checker would only warn.
        env = gymnasium.make(env_id, **{"disable_env_checker": True, **arguments})
        return as_text(env, arguments)
    except Exception as error:  # a plug-in may raise anything
        reason = validation.first_line(error)
        raise CannotOpen(env_id, arguments, reason) from None


def draw_documents(entries: list[str], arguments: dict[str, Any], n: int, seed: int) -> list[tuple[str, str]]:
    """`n` documents to pre-train on, as prompt and continuation, from all environments in turn.

    An entry is an id, perhaps with arguments of its own: "ID key=value ...". Raises ValueError for an
    environment that cannot be opened or is not a TextEnv.
    """
    envs = []
    for entry in entries:
        env_id, *pairs = entry.split()
        env = open_env(env_id, arguments | parse_arguments(pairs)).unwrapped
        if not isinstance(env, TextEnv):
            raise ValueError(f"{env_id}: not a shuhari TextEnv, so it has no text to pre-train on")
        envs.append(env)
    rng = np.random.default_rng(seed)
    return [envs[i % len(envs)].document(rng) for i in range(n)]
