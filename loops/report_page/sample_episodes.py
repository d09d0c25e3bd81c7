"""Sample episodes as people look at them: a game as a row of boards, an answer with its verdict.

The text of `episodes.jsonl` is what the policy saw and wrote (`Source.sample`). What is no board and no
answer is shown as it stands.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shuhari.envs.games.board_rows import board_rows

MOVE = re.compile(r"(?P<seen>.*>) (?P<move>\S+)   \(p = (?P<p>[\d.]+)\)")  # a line of a game
LESSON = re.compile(
    r"(?P<seen>.*>)\nexpert: (?P<expert>.*)\npolicy: (?P<policy>.*)"
)  # one position of imitation
REWARD = re.compile(r"   \(reward (?P<reward>\S+)\)$", re.MULTILINE)
LARGEST = 19  # cells beside one another that are still drawn
FEW = 3  # right and wrong answers that are shown, each


@dataclass(frozen=True)
class Board:
    """A position. rows: its cells; changed: the cells of the last move; caption: the move that follows."""

    rows: tuple[str, ...]
    changed: frozenset[tuple[int, int]] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Sample:
    """One episode. boards: of a game; text: what is not drawn; verdict: right, wrong or another word."""

    phase: str
    step: int
    text: str
    boards: list[Board] = field(default_factory=list)
    verdict: str = ""


def read_sample(record: dict[str, Any]) -> Sample:
    """An episode of `episodes.jsonl`."""
    phase, step, text = str(record["tag"]).split("/")[0], int(record["step"]), str(record["text"])
    if lesson := LESSON.fullmatch(text):
        rows = _rows(lesson["seen"])
        words = f"expert {lesson['expert']}, policy {lesson['policy']}"
        return Sample(phase, step, "" if rows else text, [Board(rows, caption=words)] if rows else [])
    lines = text.splitlines()
    moves = [found for line in lines if (found := MOVE.fullmatch(line))]
    if moves and all(_rows(move["seen"]) for move in moves):
        rest = [line for line in lines if not MOVE.fullmatch(line)]
        return Sample(phase, step, "\n".join(rest), _game(moves))
    rewards = [_number(found) for found in REWARD.findall(text)]
    verdict = _verdict(math.fsum(rewards)) if rewards else ""
    return Sample(phase, step, REWARD.sub("", text), verdict=verdict)


def read_mistake(record: dict[str, Any]) -> Sample:
    """What a row of the report keeps of a wrong answer, as {text}, or move, as {position, move, best}."""
    if "position" not in record:
        return Sample("", 0, str(record.get("text", "")), verdict="wrong")
    words = f"plays {record['move']}, best is {' or '.join(record['best'])}"
    rows = _rows(str(record["position"]))
    return Sample("", 0, f"{record['position']} {words}", [Board(rows, caption=words)] if rows else [])


def chosen(records: Sequence[dict[str, Any]]) -> tuple[list[Sample], list[Sample]]:
    """The last game of each phase, and the last right and wrong answers of the last phase that has some."""
    samples = [read_sample(record) for record in records]
    drawn = [sample for sample in samples if sample.boards]
    games = list({(sample.phase, len(sample.boards) > 1): sample for sample in drawn}.values())
    written = [sample for sample in samples if not sample.boards]
    last = [sample for sample in written if sample.phase == written[-1].phase]
    right = [sample for sample in last if sample.verdict in ("right", "")][-FEW:]
    wrong = [sample for sample in last if sample.verdict not in ("right", "")][-FEW:]
    return games[::-1], [*right[::-1], *wrong[::-1]]


def _verdict(reward: float) -> str:
    return {1.0: "right", 0.0: "wrong"}.get(reward, f"reward {reward:g}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _rows(seen: str) -> tuple[str, ...]:
    """The rows of a position's text, without who moves; () where it is no board of single characters."""
    board = seen[:-2]
    rows = board_rows(board)
    alike = (
        len({len(row) for row in rows}) == 1 and 2 <= len(rows) <= LARGEST and 2 <= len(rows[0]) <= LARGEST
    )
    return tuple(rows) if alike and not re.search(r"[\s;:+]", board) else ()


def _game(moves: Sequence[re.Match[str]]) -> list[Board]:
    boards, before = [], _rows(moves[0]["seen"])
    for n, move in enumerate(moves, 1):
        rows = _rows(move["seen"])
        shape = [len(row) for row in rows] == [len(row) for row in before]
        changed = {
            (y, x)
            for y, row in enumerate(rows)
            for x, cell in enumerate(row)
            if shape and cell != before[y][x]
        }
        boards.append(
            Board(rows, frozenset(changed), f"{n}. {move['seen'][-2]} {move['move']}, p {move['p']}")
        )
        before = rows
    return boards
