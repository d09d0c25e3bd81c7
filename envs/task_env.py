"""`TaskEnv`: an environment of single problems, each on one of three sides: train, validation, held out."""

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from shuhari.envs import validation
from shuhari.envs.progress import counted
from shuhari.envs.text_env import TextEnv
from shuhari.envs.types import Trace
from shuhari.rewards import Verdict

Split = Literal["train", "validation", "heldout"]
SIDES: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Task:
    """One problem: the prompt, the gold answer, and a key. Tasks with the same key are the same problem."""

    prompt: str
    gold: Any
    key: str


class TaskEnv(TextEnv):
    """Single-turn problems. A subclass defines `generate` and `verify`, and `expert` if there is one.

    Problems are split by a hash of their key, so no seed, order or phase moves a problem to another side.
    `reset(options={"split": "heldout"})` draws from the held-out side, by which players are reported;
    "validation" is neither trained on nor reported, so that a run may be steered by it.
    """

    heldout_share: ClassVar[float] = 0.1
    validation_share: ClassVar[float] = 0.1
    max_tries: ClassVar[int] = 10_000

    def generate(self, rng: np.random.Generator) -> Task:
        """Draw one problem."""
        raise NotImplementedError

    def verify(self, task: Task, completion: str) -> Verdict:
        """Judge one completion."""
        raise NotImplementedError

    def solution(self, task: Task) -> str | None:
        """A completion that earns full reward, or None if unknown. The check of the reward uses it."""
        return None

    def expert(self, task: Task, rng: np.random.Generator) -> str | None:
        """The expert's worked completion, or None if this domain has no expert."""
        return None

    @classmethod
    def split_of(cls, key: str) -> Split:
        """The side of the split that a problem is on."""
        place = zlib.crc32(key.encode()) / 2**32
        if place < cls.heldout_share:
            return "heldout"
        return "validation" if place < cls.heldout_share + cls.validation_share else "train"

    def draw(self, rng: np.random.Generator, split: Split) -> Task:
        """Draw one problem of the given side. Raises ValueError if none is found, EnvFault for a bad task."""
        for _ in range(self.max_tries):
            with validation.blame(self, "generate"):
                task = self.generate(rng)
            if not isinstance(task, Task):
                raise validation.fault(self, "what generate returns", task, "a Task")
            validation.text(self, "the prompt of generate's Task", task.prompt)
            validation.text(self, "the key of generate's Task", task.key)
            with validation.blame(self, "split_of"):
                side = self.split_of(task.key)
            if side not in SIDES:
                raise validation.fault(
                    self, "what split_of returns", side, "'train', 'validation' or 'heldout'"
                )
            if side == split:
                return task
        raise ValueError(f"{type(self).__name__}: no {split} problem in {self.max_tries} draws")

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        """Worked examples by the expert on `n` training problems; empty if there is no expert."""
        tasks = (self.draw(rng, "train") for _ in counted("traces", range(n)))
        answers = ((task, validation.expert_answer(self, task, rng)) for task in tasks)
        return [Trace(task.prompt, answer) for task, answer in answers if answer is not None]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        split = (options or {}).get("split", "train")
        if split not in SIDES:
            raise ValueError(f"options['split'] is 'train', 'validation' or 'heldout', not {split!r}")
        self.task = self.draw(self.np_random, split)
        return self.task.prompt, {"key": self.task.key, "split": split}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        verdict = self.verify(self.task, action)
        if not isinstance(verdict, Verdict):
            raise validation.fault(self, "what verify returns", verdict, "a Verdict")
        return "", verdict.score, True, False, {"verdict": verdict}
