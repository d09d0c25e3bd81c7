"""The learning curve as an SVG picture: both phases, with flat lines for the expert and perfect play."""

from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 56, 150, 24, 44
COLOURS = {"imitate": "#b45309", "selfplay": "#1d4ed8", "harder": "#7c3aed"}


def draw_curve(metrics: list[dict[str, Any]], references: dict[str, float], skill: str) -> str:
    """`metrics` as `read_metrics` gives them; `references` are levels in the same unit, from 0 to 1."""
    last = max(1, *(m["updates"] for m in metrics))
    low = min([m["skill"] for m in metrics] + list(references.values()))
    low = int(low * 10) / 10  # the axis starts at a whole tenth

    def x(updates: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * updates / last

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (1 - low or 1))

    end = WIDTH - RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tenth in range(round(low * 10), 11):
        level = y(tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{end}" y1="{level:.1f}" y2="{level:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{level + 4:.1f}" text-anchor="end" fill="#374151">{tenth / 10:.1f}</text>')
    taken: list[float] = []
    for name, value in sorted(references.items(), key=lambda item: item[1]):
        level = label = y(value)
        while any(abs(label - other) < 14 for other in taken):
            label -= 1
        taken.append(label)
        parts.append(
            f'<line x1="{LEFT}" x2="{end}" y1="{level:.1f}" y2="{level:.1f}" stroke="#6b7280" stroke-dasharray="5 4"/>'
        )
        parts.append(f'<text x="{end + 8}" y="{label + 4:.1f}" fill="#374151">{escape(name)} {value:.3f}</text>')
    points: list[dict[str, Any]] = []
    for phase, group in groupby(metrics, key=lambda m: m["phase"]):
        points = points[-1:] + list(group)  # a phase starts where the one before ended
        path = " ".join(f"{x(m['updates']):.1f},{y(m['skill']):.1f}" for m in points)
        colour = COLOURS.get(phase, "#111827")
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        middle = (x(points[0]["updates"]) + x(points[-1]["updates"])) / 2
        parts.append(f'<text x="{middle:.1f}" y="{TOP - 8}" text-anchor="middle" fill="{colour}">{escape(phase)}</text>')
    middle = (LEFT + end) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle" fill="#374151">'
        f"{escape(skill)} over {last:,} optimizer steps</text>"
    )
    return "\n".join([*parts, "</svg>", ""])
