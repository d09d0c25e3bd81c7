"""Problems of the package reasoning-gym, which is optional: `pip install reasoning-gym`."""

from typing import Any, ClassVar

import numpy as np

from shuhari.envs.task_env import Task, TaskEnv
from shuhari.envs.types import Trace
from shuhari.rewards import Verdict, verify


class ReasoningGymEnv(TaskEnv):
    """One of reasoning-gym's generators of problems.

    Its own scorers execute text that a model wrote, so the verifier judges the answers instead.
    """

    heldout_share: ClassVar[float] = 0.1
    arguments_description = "dataset and its arguments"

    def __init__(self, dataset: str = "basic_arithmetic", kind: str = "auto", **arguments: Any) -> None:
        super().__init__()
        try:
            import reasoning_gym
        except ImportError as error:
            raise ValueError(f"ReasoningGym: {error}: pip install reasoning-gym") from None
        self.dataset, self.kind, self.arguments = dataset, kind, arguments
        self._create_dataset = reasoning_gym.create_dataset
        self.instructions = f"{dataset} of reasoning-gym. End with #### and the answer."
        self._create_dataset(dataset, seed=0, size=1, **arguments)  # raises for an unknown name

    def generate(self, rng: np.random.Generator) -> Task:
        entry = self._create_dataset(self.dataset, seed=int(rng.integers(2**31)), size=1, **self.arguments)[0]
        return Task(f"{entry['question']}\n", str(entry["answer"]), entry["question"])

    def verify(self, task: Task, completion: str) -> Verdict:
        return verify(completion, task.gold, kind=self.kind, prompt=task.prompt)

    def solution(self, task: Task) -> str:
        return f"#### {task.gold}"

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        return []
