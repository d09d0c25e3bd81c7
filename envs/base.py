"""Text environments: `gymnasium.Env[str, str]` with instructions, and a space that takes any string."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Text

from shuhari.envs.contract import blamed, expert_answer, fault, text
from shuhari.envs.types import Trace, Turn
from shuhari.rewards import Verdict

Split = Literal["train", "heldout"]


class FreeText(Text):
    """Any string. Plain `Text` rejects spaces, the empty string and whatever is not in its alphabet."""

    def __init__(self, max_length: int = 4096) -> None:
        super().__init__(max_length=max_length, min_length=0)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


class TextEnv(gymnasium.Env[str, str]):
    """A Gymnasium environment that speaks text.

    `history` says whether a policy must remember: False where each observation is complete and is the
    whole prompt, True where it is only the newest message of a conversation.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)
    instructions: str = ""
    history: ClassVar[bool] = False
    knob: ClassVar[str] = ""  # the argument that sets the difficulty, and its range
    teacher: ClassVar[str] = "none"  # who writes the traces
    notes: Sequence[str] = ()  # what a reader of a report must know of what was made here

    def __init__(self) -> None:
        self.observation_space = FreeText()
        self.action_space = FreeText()

    def turn(self, observation: str, info: dict[str, Any], seed: int) -> Turn:
        """What the seat to move sees: the last observation and info, in the form that players take."""
        return Turn(observation, tuple(info.get("legal_actions", ())), info.get("seat", 0), "", seed)

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        """`n` worked examples by this domain's expert; none where there is no expert."""
        return []

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """One unlabelled (prompt, continuation) in this domain's format, to pre-train a base on."""
        raise NotImplementedError(f"{type(self).__name__} has no text to pre-train on")


@dataclass(frozen=True, slots=True)
class Task:
    """One problem: what is asked, what is true, and the key under which it counts as the same problem."""

    prompt: str
    gold: Any
    key: str


class TaskEnv(TextEnv):
    """Single-turn problems: subclass with a generator and a checker; `expert` where one exists.

    Problems are split by a hash of their key, so no seed, order or phase can move one across.
    `reset(options={"split": "heldout"})` draws from the held-out side.
    """

    heldout_share: ClassVar[float] = 0.1
    max_tries: ClassVar[int] = 10_000

    def generate(self, rng: np.random.Generator) -> Task:
        """Draw one problem."""
        raise NotImplementedError

    def verify(self, task: Task, completion: str) -> Verdict:
        """Judge one completion."""
        raise NotImplementedError

    def solution(self, task: Task) -> str | None:
        """A completion that earns full reward, where this domain can write one: self-tests ask for it."""
        return None

    def expert(self, task: Task, rng: np.random.Generator) -> str | None:
        """The expert's worked completion, or None where this domain has no expert."""
        return None

    @classmethod
    def split_of(cls, key: str) -> Split:
        """The side of the split that a problem belongs to, for good."""
        return "heldout" if zlib.crc32(key.encode()) < cls.heldout_share * 2**32 else "train"

    def draw(self, rng: np.random.Generator, split: Split) -> Task:
        """Draw one problem of the given side."""
        for _ in range(self.max_tries):
            with blamed(self, "generate"):
                task = self.generate(rng)
            if not isinstance(task, Task):
                raise fault(self, "what generate gives", task, "a Task")
            text(self, "the prompt of generate's Task", task.prompt)
            text(self, "the key of generate's Task", task.key)
            with blamed(self, "split_of"):
                side = self.split_of(task.key)
            if side not in ("train", "heldout"):
                raise fault(self, "what split_of gives", side, "'train' or 'heldout'")
            if side == split:
                return task
        raise ValueError(f"{type(self).__name__}: no {split} problem in {self.max_tries} draws")

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        """`n` worked examples by the expert on training problems; empty where there is no expert."""
        tasks = (self.draw(rng, "train") for _ in range(n))
        return [Trace(t.prompt, c) for t in tasks if (c := expert_answer(self, t, rng)) is not None]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        split = (options or {}).get("split", "train")
        if split not in ("train", "heldout"):
            raise ValueError(f"options['split'] is 'train' or 'heldout', not {split!r}")
        self.task = self.draw(self.np_random, split)
        return self.task.prompt, {"key": self.task.key, "split": split}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        verdict = self.verify(self.task, action)
        if not isinstance(verdict, Verdict):
            raise fault(self, "what verify gives", verdict, "a Verdict")
        return "", verdict.score, True, False, {"verdict": verdict}


def turn_of(env: gymnasium.Env[str, str], observation: str, info: dict[str, Any], seed: int) -> Turn:
    """What the seat to move sees, in anybody's environment: see `TextEnv.turn`."""
    inner = env.unwrapped
    ours = inner if isinstance(inner, TextEnv) else TextEnv()
    return ours.turn(observation, info, seed)
