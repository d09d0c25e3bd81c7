"""The learning curve as an SVG picture: both phases, with flat lines for the expert and perfect play."""

from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 56, 150, 24, 44
COLOURS = {"imitate": "#b45309", "selfplay": "#1d4ed8", "harder": "#7c3aed"}


def draw_curve(metrics: list[dict[str, Any]], references: dict[str, float], skill: str) -> str:
    """`metrics` as `read_metrics` gives them; `references` are levels in the same unit.

    Shares, from 0 to 1, and NashConv, which may be higher.
    """
    last = max([1] + [int(m["updates"]) for m in metrics])
    lowest = min([float(m["skill"]) for m in metrics] + list(references.values()))
    low = int(lowest * 10) / 10  # the axis starts at a whole tenth
    high = max([1.0] + [float(m["skill"]) for m in metrics])

    def x(updates: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * updates / last

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low or 1))

    end = WIDTH - RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]

    def flat(level: float, style: str) -> None:
        parts.append(f'<line x1="{LEFT}" x2="{end}" y1="{level:.1f}" y2="{level:.1f}" {style}/>')

    def label(at_x: float, at_y: float, words: str, anchor: str = "start", colour: str = "#374151") -> None:
        place = f'x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" fill="{colour}"'
        parts.append(f"<text {place}>{escape(words)}</text>")

    for tenth in range(round(low * 10), int(high * 10) + 1):
        flat(y(tenth / 10), 'stroke="#e5e7eb"')
        label(LEFT - 8, y(tenth / 10) + 4, f"{tenth / 10:.1f}", "end")
    free = float(HEIGHT)
    for name, value in sorted(references.items(), key=lambda item: item[1]):
        flat(y(value), 'stroke="#6b7280" stroke-dasharray="5 4"')
        free = min(y(value), free - 14)  # labels of near levels must not overlap
        label(end + 8, free + 4, f"{name} {value:.3f}")
    points: list[dict[str, Any]] = []
    for phase, group in groupby(metrics, key=lambda m: str(m["phase"])):
        points = points[-1:] + list(group)  # a phase starts where the one before ended
        path = " ".join(f"{x(m['updates']):.1f},{y(m['skill']):.1f}" for m in points)
        colour = COLOURS.get(phase, "#111827")
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        label((x(points[0]["updates"]) + x(points[-1]["updates"])) / 2, TOP - 8, phase, "middle", colour)
    label((LEFT + end) / 2, HEIGHT - 10, f"{skill} over {last:,} optimizer steps", "middle")
    return "\n".join([*parts, "</svg>", ""])
