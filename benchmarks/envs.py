"""How fast are the environments? Episodes and steps per second of each, on one core.

    python benchmarks/envs.py            a table
    python benchmarks/envs.py --json     one JSON object

Games are played by random legal moves and put beside a bare OpenSpiel loop that also builds the state's text
and the legal actions' strings. Problems are drawn and judged on their own solutions.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import pyspiel

import shuhari.envs
from shuhari.envs import TaskEnv
from shuhari.envs.games.env import OpenSpielEnv

assert shuhari.envs
SECONDS, REPEATS = 0.3, 3
MAX_PLIES = 300


def rate(action: Callable[[], int]) -> tuple[float, list[float]]:
    """Median units per second of an action that returns how many it did, and the spread."""
    rates = []
    for _ in range(REPEATS):
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            n += action()
        rates.append(n / (time.perf_counter() - start))
    return statistics.median(rates), [min(rates), max(rates)]


def bare(game: Any, rng: np.random.Generator) -> int:
    """A random game without us: plies played."""
    state, plies = game.new_initial_state(), 0
    hidden = game.get_type().information.name != "PERFECT_INFORMATION"
    while not state.is_terminal() and plies < MAX_PLIES:
        if state.is_chance_node():
            actions, chances = zip(*state.chance_outcomes(), strict=True)
            state.apply_action(int(rng.choice(actions, p=chances)))
            continue
        seat = state.current_player()
        _ = state.information_state_string(seat) if hidden else str(state)
        legal = state.legal_actions()
        _ = [state.action_to_string(seat, action) for action in legal]
        state.apply_action(legal[int(rng.integers(len(legal)))])
        plies += 1
    return plies


def ours(env: Any, rng: np.random.Generator) -> int:
    """A random episode through the environment: steps made."""
    _, info = env.reset(seed=int(rng.integers(2**31)))
    steps, over = 0, False
    while not over and steps < MAX_PLIES:
        legal = info["legal_actions"]
        _, _, terminated, truncated, info = env.step(legal[int(rng.integers(len(legal)))])
        steps, over = steps + 1, terminated or truncated
    return steps


def solved(env: TaskEnv) -> int:
    """One problem, drawn and judged on its solution."""
    env.reset()
    env.step(env.solution(env.task) or "")
    return 1


def measure(env_id: str) -> dict[str, Any]:
    """The figures of one environment."""
    env = gymnasium.make(env_id).unwrapped
    rng = np.random.default_rng(0)
    if isinstance(env, TaskEnv):
        env.reset(seed=0)
        value, spread = rate(lambda: solved(env))
        return {"env": env_id, "unit": "tasks/s", "rate": round(value), "spread": [*map(round, spread)]}
    value, spread = rate(lambda: ours(env, rng))
    row = {"env": env_id, "unit": "steps/s", "rate": round(value), "spread": [*map(round, spread)]}
    if isinstance(env, OpenSpielEnv):
        game = pyspiel.load_game(env.game)
        alone, _ = rate(lambda: bare(game, rng))
        row |= {"openspiel": round(alone), "times_openspiel": round(alone / value, 2)}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ids = sorted(i for i, spec in gymnasium.registry.items() if spec.namespace == "shuhari")
    rows = [measure(env_id) for env_id in ids]
    report = {
        "hardware": {"processor": platform.processor() or platform.machine(), "cores_used": 1},
        "versions": {name: version(name) for name in ("gymnasium", "open_spiel", "numpy")},
        "envs": rows,
    }
    if options.json:
        print(json.dumps(report))
        return
    for row in rows:
        beside = f"  {row['times_openspiel']}x a bare OpenSpiel loop" if "openspiel" in row else ""
        print(f"{row['env']:30} {row['rate']:>9} {row['unit']}{beside}")


if __name__ == "__main__":
    sys.exit(main())
