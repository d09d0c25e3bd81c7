"""The learning curve as text, for a terminal and for report.md. Plotext draws it."""

from typing import Any

LINES = 16


def draw_curve(metrics: list[dict[str, Any]], levels: dict[str, float], skill: str, columns: int) -> str:
    """The skill over the optimizer steps of all phases, in lines of `columns` characters.

    metrics: as `read_metrics` gives them
    levels: the skills of other players, by name; each is a dotted line
    skill: the name of the skill
    """
    import plotext  # takes a third of a second, and only the end of a phase needs it

    ends = {str(point["phase"]): int(point["updates"]) for point in metrics}  # of each phase, in order
    plotext.terminal.limit(False, False)  # draw the same in every terminal, and where there is none
    figure = plotext.figure
    figure.clear()
    figure.plot_size(columns, LINES)
    figure.title(skill)
    points = figure.signal([p["updates"] for p in metrics], [p["skill"] for p in metrics], marker="braille")
    points.lines()
    figure.draw(points)
    shown = [float(point["skill"]) for point in metrics] + list(levels.values())
    low, high = min(shown), max(shown)
    margin = 0.5 if low == high else 0.0  # an axis needs some length
    figure.ruler("y").lim(low - margin, high + margin)
    figure.ruler("x").lim(0, max(1, *ends.values()))
    for level in levels.values():
        figure.line(level, style="dotted")
    for end in list(ends.values())[:-1]:
        figure.line(end, "vertical", style="dotted")
    ticks = sorted({0, *ends.values()})
    figure.ruler("x").ticks(ticks, [f"{tick:,}" for tick in ticks])
    plot = figure.build().string(colorless=True).rstrip()
    words = ", ".join(f"{phase} ends at {end:,}" for phase, end in ends.items())
    known = ", ".join(f"{name} {level:.3f}" for name, level in sorted(levels.items(), key=lambda x: x[1]))
    return f"{plot}\n\nOptimizer steps: {words}." + (f" Dotted lines: {known}." if known else "")
