"""Skill against simulations: how much does looking ahead add, and how much of it was learned?"""

from collections.abc import Callable, Mapping
from typing import Any

from shuhari.envs.player import Player
from shuhari.loops.evaluate.skill_curve import percent, samples_to_reach

SIZES = (0, 2, 4, 8, 16, 32, 64)  # simulations for a move; 0: the policy as it is
TITLE = "skill against simulations, percent"
LEGEND = "simulations: positions that a search looks at, for each move; 0: the policy alone, greedily."
Searchers = Callable[[str | None, int], Player]  # an adapter, or None for the base, and simulations


def sizes(most: int) -> list[int]:
    """The points of a curve that goes up to so many simulations."""
    return [n for n in SIZES if n <= most]


def worth_of_no_search(name: str, level: float, rival: str, curve: Mapping[int, float]) -> dict[str, Any]:
    """How many simulations `rival` needs to play as well as `name` does without any.

    level: the skill of `name` without search
    curve: the rival's skill by simulations
    """
    # The logarithm of none is not defined: no simulations stand where one would.
    k, text = samples_to_reach(level, {max(1, n): skill for n, skill in curve.items()})
    words = text.replace("> ", "more than ").replace("< ", "fewer than ")
    sentence = f"Without search, {name} ({percent(level)}) plays as {rival} does with {words} simulations."
    return {
        "player": name,
        "level": level,
        "rival": rival,
        "simulations": k,
        "text": text,
        "sentence": sentence,
    }
