"""A tournament's result in lines: who stands where, and who scored what against whom."""

from collections.abc import Sequence

from shuhari.envs.player import Floats
from shuhari.policy.elo import Rating
from shuhari.policy.match import tally
from shuhari.policy.tournament import Pairing, scores


def table(names: Sequence[str], met: Sequence[Pairing], rated: Sequence[Rating], width: int) -> list[str]:
    """Ratings and the cross-table, the best player first, in lines of at most `width` characters (40 at
    least)."""
    order = sorted(range(len(names)), key=lambda i: -rated[i].elo)
    score_PP = scores(met, len(names))
    rows = []
    for place, i in enumerate(order, 1):
        rating, total = rated[i], score_PP[i].sum() / (score_PP[i].sum() + score_PP[:, i].sum())
        elo, interval = f"{rating.bound}{rating.elo:+.0f}", f"{_end(rating.low)}..{_end(rating.high)}"
        rows.append(
            (str(place), names[i], elo, "" if rating.low == rating.high else interval, f"{100 * total:.1f}")
        )
    rows.insert(0, ("#", "player", "Elo", "95%", "score"))
    wide = [max(len(row[column]) for row in rows) for column in range(5)]
    room = max(6, width - sum(wide) + wide[1] - 4)
    lines = []
    for number, name, elo, interval, score in rows:
        short = name if len(name) <= room else f"…{name[1 - room :]}"
        cells = number.rjust(wide[0]), short.ljust(min(room, wide[1])), elo.rjust(wide[2])
        lines.append(" ".join([*cells, interval.rjust(wide[3]), score.rjust(wide[4])]).rstrip())
    return [*lines, "", *_cross_table(order, met, score_PP, width)]


def _end(value: float | None) -> str:
    return "" if value is None else f"{value:+.0f}"


def _cross_table(order: Sequence[int], met: Sequence[Pairing], score_PP: Floats, width: int) -> list[str]:
    """Wins-draws-losses of rows against columns; in percent where that is too wide; else pair by pair."""
    counts = {}
    for pair in met:
        found = tally(pair.returns)
        won, drawn, lost = (found[key] for key in ("wins", "draws", "losses"))
        counts[pair.first, pair.second] = f"{won}-{drawn}-{lost}"
        counts[pair.second, pair.first] = f"{lost}-{drawn}-{won}"
    percent = {(i, j): f"{100 * score_PP[i, j] / (score_PP[i, j] + score_PP[j, i]):.1f}" for i, j in counts}
    places = range(1, len(order) + 1)
    for title, cells in (("wins-draws-losses", counts), ("score in percent", percent)):
        rows = [["#", *map(str, places)]]
        rows += [
            [str(n), *(cells.get((i, j), "-") for j in order)] for n, i in zip(places, order, strict=True)
        ]
        wide = [max(len(row[column]) for row in rows) for column in range(len(rows))]
        if sum(wide) + len(wide) - 1 <= width:
            lines = (" ".join(cell.rjust(w) for cell, w in zip(row, wide, strict=True)) for row in rows)
            return [f"{title}, row against column", *lines]
    by_place = [(a, b, order[a - 1], order[b - 1]) for a in places for b in places if a < b]
    return ["wins-draws-losses", *(f"{a} : {b}  {counts[i, j]}" for a, b, i, j in by_place)]
