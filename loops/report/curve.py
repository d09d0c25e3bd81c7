"""The learning curve as an SVG picture: both phases, with flat lines for the expert and perfect play."""

import math
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 56, 150, 24, 44
COLOURS = {"imitate": "#b45309", "selfplay": "#1d4ed8", "harder": "#7c3aed"}


def draw_curve(metrics: list[dict[str, Any]], references: dict[str, float], skill: str) -> str:
    """`metrics` as `read_metrics` gives them; `references` are levels in the same unit."""
    last = max([1] + [int(m["updates"]) for m in metrics])
    shown = [float(m["skill"]) for m in metrics] + list(references.values())
    shown += [1.0] if min(shown) >= 0 and max(shown) <= 1 else []  # shares have their top
    span = (max(shown) - min(shown)) or 1.0
    tick = min(t for e in range(-9, 10) for t in (10.0**e, 2 * 10.0**e, 5 * 10.0**e) if t >= span / 8)
    low, high = math.floor(min(shown) / tick + 1e-9) * tick, max(shown)

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

    for n in range(int((high - low) / tick + 1e-9) + 1):
        flat(y(low + n * tick), 'stroke="#e5e7eb"')
        label(LEFT - 8, y(low + n * tick) + 4, f"{low + n * tick:.4g}", "end")
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
