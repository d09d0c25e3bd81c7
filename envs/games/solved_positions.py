"""Positions whose moves are solved, by stage of the game, for games that are too large to solve as a whole.

Connect Four on 7 columns and 6 rows has them: `benchmarks/connect_four_positions.py` says how they were made.
Measures read them; nothing that trains does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from shuhari.envs.games.referee import Referee
from shuhari.envs.types import Turn

FILES = {"connect_four": "connect_four_positions.jsonl"}  # by the game, with its usual parameters
STAGES = {"12-16": range(12, 17), "17-24": range(17, 25), "25-36": range(25, 37)}  # plies played


@dataclass(frozen=True)
class SolvedPosition:
    """best: the legal moves that keep the game's value; others are legal too"""

    turn: Turn
    best: frozenset[str]


def solved_positions(game: str) -> dict[str, Sequence[SolvedPosition]]:
    """Solved positions of the OpenSpiel game of that name, by stage; none for games that have none."""
    root = Referee(game).game
    kind = root.get_type().short_name
    usual = kind in FILES and root.get_parameters() == Referee(kind).game.get_parameters()
    return _read(kind) if usual else {}


@cache
def _read(game: str) -> dict[str, Sequence[SolvedPosition]]:
    stages: dict[str, list[SolvedPosition]] = {stage: [] for stage in STAGES}
    lines = files("shuhari.envs").joinpath("data", FILES[game]).read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        referee = Referee(game)
        for move in record["moves"]:
            referee.apply(move)
        values = record["values"]
        best = frozenset(move for move, value in values.items() if value == max(values.values()))
        stage = next(stage for stage, plies in STAGES.items() if len(record["moves"]) in plies)
        stages[stage].append(SolvedPosition(referee.turn(), best))
    return {stage: tuple(found) for stage, found in stages.items()}
