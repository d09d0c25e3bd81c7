"""Arithmetic with a tool: the policy may call the calculator several times before it answers."""

import json
import re
from typing import Any, ClassVar, Literal

import numpy as np

from shuhari.envs.problems.math_env import between
from shuhari.envs.progress import counted
from shuhari.envs.task_env import Task, TaskEnv
from shuhari.envs.tools.calculator import calculate
from shuhari.envs.types import Trace
from shuhari.rewards import Verdict, verify

Syntax = Literal["plain", "json"]
_PLAIN = re.compile(r"calc:(.*)", re.DOTALL)
_JSON = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
ERROR = "error: "  # begins the answer to a malformed call, or to one without a value
MAX_RESULT = 200  # characters of a result that are shown


class CalculatorEnv(TaskEnv):
    """Sums and products of large numbers. A message is a call of the calculator, or with `####` the answer.

    A call has one of two forms, `calc: 12*34` or the JSON of common chat templates. Both are accepted;
    `syntax` is the one that the instructions show and the expert writes. A malformed call, or one without a
    value, is answered by an error message. After `budget` messages without an answer, the episode is
    truncated and earns nothing.
    """

    history: ClassVar[bool] = True
    arguments_description, expert_description = "difficulty=1..3, budget", "asks the calculator, then answers"

    def __init__(self, difficulty: int = 1, budget: int = 4, syntax: Syntax = "plain") -> None:
        if not 1 <= difficulty <= 3:
            raise ValueError(f"CalculatorEnv: difficulty is 1 to 3, not {difficulty}")
        if budget < 1:
            raise ValueError(f"CalculatorEnv: budget={budget}: at least 1 message")
        if syntax not in ("plain", "json"):
            raise ValueError(f"CalculatorEnv: syntax is plain or json, not {syntax!r}")
        super().__init__()
        self.difficulty, self.budget, self.syntax = difficulty, budget, syntax
        self.instructions = (
            f"Compute. You may ask the calculator first, as in {self.call('12*34')}; you then see the "
            f"result. At most {budget} messages. End with #### and the answer."
        )

    def generate(self, rng: np.random.Generator) -> Task:
        most = 10 ** (self.difficulty + 1)
        a, b, c = (between(rng, 2, most) for _ in range(3))
        expression = f"{a}*{b}{'+-'[between(rng, 0, 1)]}{c}"
        return Task(f"{expression}\n", expression, expression)

    def verify(self, task: Task, completion: str) -> Verdict:
        if "####" not in completion:
            return Verdict("wrong", "no answer after ####", "extract")
        return verify(completion, calculate(task.gold), kind="integer", form="evaluated", prompt=task.prompt)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        self._messages = 0
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._messages += 1
        if "####" in action:
            return super().step(action)
        spent = self._messages >= self.budget
        response = self._respond(action)
        info: dict[str, Any] = {"malformed": response.startswith(ERROR)}
        if spent:
            info["verdict"] = Verdict("wrong", f"no answer in {self.budget} messages", "budget")
        return response, 0.0, False, spent, info

    def _respond(self, message: str) -> str:
        """The calculator's answer to a message: the result, or an error message."""
        try:
            result, wrapped = calculate(self._expression(message)), "<tool_call>" in message
        except ValueError as error:
            return f"{ERROR}{str(error)[:MAX_RESULT]}\n"
        result = result[:MAX_RESULT]
        return f"<tool_response>{result}</tool_response>\n" if wrapped else f"= {result}\n"

    def _expression(self, message: str) -> str:
        """The expression in a message. Raises ValueError, whose message shows a right call."""
        if found := _JSON.search(message):
            try:
                request = json.loads(found.group(1))
                name, expression = request["name"], request["arguments"]["expression"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise ValueError(f"a call is {self.call('12*34')}") from None
            if name != "calculator":
                raise ValueError(f"there is no tool {str(name)[:40]!r}; calculator is the only one")
            return str(expression)
        if found := _PLAIN.search(message):
            return found.group(1).strip()
        raise ValueError(f"neither a call, as in {self.call('12*34')}, nor an answer after ####")

    def call(self, expression: str) -> str:
        """A call of the calculator, in this environment's syntax."""
        if self.syntax == "plain":
            return f"calc: {expression}"
        request = {"name": "calculator", "arguments": {"expression": expression}}
        return f"<tool_call>{json.dumps(request)}</tool_call>"

    def solution(self, task: Task) -> str:
        return f"#### {calculate(task.gold)}"

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        return self.solution(task)

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        """`n` traces from conversations of two messages, a call and the answer. Each message is a trace."""
        traces: list[Trace] = []
        for _ in counted("conversations", range((n + 1) // 2)):
            task = self.draw(rng, "train")
            call = self.call(task.gold)
            shown = self._respond(call)
            traces.append(Trace(task.prompt, call))
            traces.append(Trace(shown, self.solution(task), turns=((task.prompt, call),)))
        return traces[:n]

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        task = self.draw(rng, "train")
        return task.prompt, self.call(task.gold) if rng.random() < 0.5 else self.solution(task)
