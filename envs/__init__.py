"""Where does it happen? Text environments, referees, experts and traces. Knows nothing of policies or torch."""

import gymnasium

from shuhari.envs.text import FreeText, Task, TaskEnv, TextEnv
from shuhari.envs.types import Episode, Player, Step, Trace, Turn

__all__ = ["Episode", "FreeText", "Player", "Step", "Task", "TaskEnv", "TextEnv", "Trace", "Turn"]

# The passive checker re-checks every observation of every step: `check_env` in the tests does that once.
_OPTIONS = {"disable_env_checker": True, "order_enforce": False}
gymnasium.register("shuhari/OpenSpiel-v0", "shuhari.envs.openspiel:OpenSpielEnv", **_OPTIONS)
gymnasium.register(
    "shuhari/TicTacToe-v0", "shuhari.envs.openspiel:OpenSpielEnv", kwargs={"game": "tic_tac_toe"}, **_OPTIONS
)
gymnasium.register("shuhari/Addition-v0", "shuhari.envs.addition:AdditionEnv", **_OPTIONS)
