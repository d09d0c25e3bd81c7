"""`TextEnv`: a `gymnasium.Env[str, str]` with instructions, whose spaces accept any string."""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Text

from shuhari.envs.types import Trace, Turn


class FreeText(Text):
    """Any string. Gymnasium's `Text` rejects spaces, the empty string and characters of other alphabets."""

    def __init__(self, max_length: int = 4096) -> None:
        super().__init__(max_length=max_length, min_length=0)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


class TextEnv(gymnasium.Env[str, str]):
    """A Gymnasium environment whose observations and actions are text.

    `history` says whether a policy must remember the episode. False: each observation is complete, and is the
    whole prompt. True: an observation is only the newest message of a conversation.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)
    instructions: str = ""
    history: ClassVar[bool] = False
    arguments_description: ClassVar[str] = ""  # which arguments set the difficulty, and their range
    expert_description: ClassVar[str] = "none"  # who writes the traces
    notes: Sequence[str] = ()  # remarks for the report of a run, such as lines of a file that were left out

    def __init__(self) -> None:
        self.observation_space = FreeText()
        self.action_space = FreeText()

    def turn(self, observation: str, info: dict[str, Any], seed: int) -> Turn:
        """What the seat to move sees: the last observation and info, in the form that players take."""
        return Turn(observation, tuple(info.get("legal_actions", ())), info.get("seat", 0), "", seed)

    def expert_traces(self, n: int, rng: np.random.Generator) -> list[Trace]:
        """`n` worked examples by this domain's expert, or an empty list if there is no expert."""
        return []

    def document(self, rng: np.random.Generator) -> tuple[str, str]:
        """One unlabelled (prompt, continuation) in this domain's format, to pre-train a base on."""
        raise NotImplementedError(f"{type(self).__name__} has no text to pre-train on")


def turn_of(env: gymnasium.Env[str, str], observation: str, info: dict[str, Any], seed: int) -> Turn:
    """What the seat to move sees, in any environment, also one that is not a `TextEnv`."""
    inner = env.unwrapped
    text_env = inner if isinstance(inner, TextEnv) else TextEnv()
    return text_env.turn(observation, info, seed)
