"""Text environments, their experts and traces. This folder imports neither policies nor torch."""

from functools import partial
from importlib.util import find_spec

import gymnasium

from shuhari.envs.player import Player
from shuhari.envs.registry import load_plugins, register_env
from shuhari.envs.task_env import Task, TaskEnv
from shuhari.envs.text_env import FreeText, TextEnv
from shuhari.envs.types import Episode, Step, Trace, Turn

__all__ = [
    "Episode",
    "FreeText",
    "Player",
    "Step",
    "Task",
    "TaskEnv",
    "TextEnv",
    "Trace",
    "Turn",
    "load_plugins",
    "register_env",
]

# Gymnasium's passive checker would check every observation of every step: `shuhari envs --check` is enough.
_register = partial(gymnasium.register, disable_env_checker=True, order_enforce=False)

_register("shuhari/OpenSpiel-v0", "shuhari.envs.games.env:OpenSpielEnv")
for _name, _game in {
    "TicTacToe": "tic_tac_toe",
    "ConnectFour4x4": "connect_four(rows=4,columns=4)",
    "ConnectFour5x4": "connect_four(rows=4,columns=5)",
    "ConnectFour7x6": "connect_four",
    "Nim": "nim",
    "Breakthrough4x4": "breakthrough(rows=4,columns=4)",
    "Breakthrough8x8": "breakthrough",
    "Hex3x3": "hex(board_size=3)",
    "Hex5x5": "hex(board_size=5)",
    "Othello6x6": "sized_othello(size=6)",
    "Othello8x8": "othello",
    "DotsAndBoxes": "dots_and_boxes",
    "KuhnPoker": "kuhn_poker",
    "LeducPoker": "leduc_poker",
    "Pig": "pig",
    "2048": "2048",
}.items():
    _register(f"shuhari/{_name}-v0", "shuhari.envs.games.env:OpenSpielEnv", kwargs={"game": _game})

_register("shuhari/Addition-v0", "shuhari.envs.problems.addition:AdditionEnv")
for _module, _names in {
    "problems.arithmetic": ("Subtraction", "Multiplication", "Modular", "Gcd", "Fractions"),
    "problems.algebra": ("LinearEquation", "LinearSystem", "Expand", "Factor", "Simplify"),
    "problems.calculus": ("Differentiate", "Integrate"),
    "problems.countdown": ("Countdown",),
    "problems.legs": ("Legs",),
    "problems.word_problems": ("WordProblems",),
    "tools.calculator_env": ("Calculator",),
    "problems.dataset": ("Dataset",),
}.items():
    for _name in _names:
        _register(f"shuhari/{_name}-v0", f"shuhari.envs.{_module}:{_name}Env")
_register(
    "shuhari/IntegrateForward-v0",
    "shuhari.envs.problems.calculus:IntegrateEnv",
    kwargs={"direction": "forward"},
)
_register(
    "shuhari/CalculatorJson-v0", "shuhari.envs.tools.calculator_env:CalculatorEnv", kwargs={"syntax": "json"}
)
for _name in ("FrozenLake", "CliffWalking", "Taxi", "Blackjack"):
    _register(f"shuhari/{_name}-v0", f"shuhari.envs.gymnasium_as_text:{_name.lower()}_env")
if find_spec("reasoning_gym") is not None:
    _register("shuhari/ReasoningGym-v0", "shuhari.envs.problems.reasoning_gym:ReasoningGymEnv")
