"""Solve positions of Connect Four on its own board of 7 by 6, for `envs/data/connect_four_positions.jsonl`.

    pip install bitbully==0.0.79
    python benchmarks/connect_four_positions.py > envs/data/connect_four_positions.jsonl

Each position comes of random play and is critical: a move that keeps its value and one that does not are both
legal. There are `EACH` of every stage, by plies played, as Pons' test sets have them ("Solving Connect Four",
2015), and none comes twice. The solver is BitBully, which is not ours: our own, in
`envs/games/connect_four_solver.py`, is a hundred times as slow, and the tests hold its values against these.
"""

import json
import random
import sys
import time

from bitbully.bitbully_core import BitBullyCore, BoardCore

from shuhari.envs.games.solved_positions import STAGES

EACH = 400
COLUMNS, FULL = 7, -1000  # BitBully's score of a column without room


def random_position(plies: int, rng: random.Random) -> tuple[str, BoardCore] | None:
    """A random game's columns, from 1, and its position; None if it is over by then."""
    board, moves = BoardCore(), ""
    for _ in range(plies):
        column = rng.choice([c for c in range(COLUMNS) if board.isLegalMove(c)])
        board.play(column)
        moves += str(column + 1)
        if board.hasWin():
            return None
    return moves, board


def main() -> None:
    rng, solver, started, seen = random.Random(0), BitBullyCore(), time.monotonic(), set[int]()
    for stage, plies in STAGES.items():
        found = drawn = 0
        while found < EACH:
            position = random_position(rng.choice(plies), rng)
            if position is None or position[1].uid() in seen:
                continue
            moves, board = position
            seen.add(board.uid())
            drawn += 1
            scores = {str(c + 1): s for c, s in enumerate(solver.scoreMoves(board)) if s != FULL}
            values = {move: (score > 0) - (score < 0) for move, score in scores.items()}
            if len(set(values.values())) == 1:
                continue
            found += 1
            print(json.dumps({"moves": moves, "values": values}))
        print(f"{stage}: {EACH} of {drawn}, {time.monotonic() - started:.0f} s so far", file=sys.stderr)


if __name__ == "__main__":
    main()
