"""Where does it happen? Text environments, referees, experts and traces. Never knows policies."""

from functools import partial

import gymnasium

from shuhari.envs.text import FreeText, Task, TaskEnv, TextEnv
from shuhari.envs.types import Episode, Player, Step, Trace, Turn

__all__ = ["Episode", "FreeText", "Player", "Step", "Task", "TaskEnv", "TextEnv", "Trace", "Turn"]

# The passive checker re-checks every observation of every step: `check_env` in the tests does that once.
_register = partial(gymnasium.register, disable_env_checker=True, order_enforce=False)
_register("shuhari/OpenSpiel-v0", "shuhari.envs.openspiel:OpenSpielEnv")
_register("shuhari/TicTacToe-v0", "shuhari.envs.openspiel:OpenSpielEnv", kwargs={"game": "tic_tac_toe"})
_register("shuhari/Addition-v0", "shuhari.envs.addition:AdditionEnv")
for _module, _names in {
    "arithmetic": ("Subtraction", "Multiplication", "Modular", "Gcd", "Fractions"),
    "algebra": ("LinearEquation", "LinearSystem", "Expand", "Factor", "Simplify"),
    "calculus": ("Differentiate", "Integrate"),
    "countdown": ("Countdown",),
}.items():
    for _name in _names:
        _register(f"shuhari/{_name}-v0", f"shuhari.envs.{_module}:{_name}Env")
_register(
    "shuhari/IntegrateForward-v0", "shuhari.envs.calculus:IntegrateEnv", kwargs={"direction": "forward"}
)
