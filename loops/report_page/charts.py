"""The charts of a page, drawn by pygal as SVG: sharp in print, with the value of each point on hover.

Colours are variables of the page's style sheet, so one drawing serves dark, light and paper. Each chart is
drawn twice, wide and narrow: text of an SVG shrinks with it, and on a phone nobody could read it.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pygal
from markupsafe import Markup
from pygal.style import Style

# pygal's import hook is for its maps, and of a form that Python has given up: later imports would warn of it.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

# The colour of each player on every chart, by the number of a variable in page.css. Others take turns.
COLOURS = {
    "random": 8, "base": 7, "expert": 2, "expert_mode": 5, "imitation": 1, "search_alone": 6,
    "selfplay": 3, "selfplay_search": 4, "selfplay_harder": 4, "perfect": 8,
    "phase imitate": 1, "phase selfplay": 3, "phase harder": 4,
}  # fmt: skip
N_COLOURS = 8
SIZES = {"wide": (920, 380), "narrow": (380, 330)}
DASHED: dict[str, Any] = {"stroke_style": {"dasharray": "5, 4", "width": 1.5}, "dots_size": 2}
THIN: dict[str, Any] = {"stroke_style": {"width": 1}, "dots_size": 1.5}
Points = Sequence[tuple[float, float]]


def learning_curve(
    metrics: Sequence[Mapping[str, Any]],
    levels: Mapping[str, float],
    metric: str,
    unit: str,
    single: Iterable[tuple[str, Sequence[Mapping[str, Any]]]] = (),
) -> Markup:
    """The skill over the optimizer steps of all phases.

    metrics: points, as {phase, step, updates, skill}
    levels: skills of other players, by name; each is a dashed line
    single: further curves, by name, drawn thinly
    """
    single = list(single)
    last = max(1, *(point["updates"] for _, points in (("", metrics), *single) for point in points))
    series: list[tuple[str, Points, dict[str, Any]]] = [
        (name, [(p["updates"], p["skill"]) for p in points], THIN) for name, points in single
    ]
    for phase in dict.fromkeys(str(point["phase"]) for point in metrics):
        own = [(p["updates"], p["skill"]) for p in metrics if p["phase"] == phase]
        series.append((f"phase {phase}", own, {"stroke_style": {"width": 2.5}, "dots_size": 3}))
    for name, level in sorted(levels.items(), key=lambda known: -known[1]):
        series.append((name, [(0, level), (last, level)], DASHED))
    begins = [p["updates"] for before, p in pairwise(metrics) if before["phase"] != p["phase"]]
    # The ends of phases, where there is room for their numbers.
    marks = [0, *(x for x in begins if 0.06 * last < x < 0.94 * last), last]

    def draw(size: tuple[int, int]) -> Any:
        chart = pygal.XY(**_config(size, series, unit))
        chart.x_title, chart.y_title = "optimizer steps", _axis(metric, unit)
        chart.x_labels = marks if len(marks) > 2 and size[0] > 500 else _round_steps(last)
        chart.x_value_formatter = lambda x: f"{x:,.0f}"
        return chart

    return _drawn(draw, series, unit)


def skill_against(over: str, curves: Mapping[str, Mapping[str, float]], unit: str) -> Markup:
    """Skill against the number of samples or simulations: by player, by number as text."""
    numbers = sorted({int(k) for curve in curves.values() for k in curve})
    series = [
        (
            name,
            [(n, curve.get(str(k))) for n, k in enumerate(numbers)],
            {"stroke_style": {"width": 2}, "dots_size": 3},
        )
        for name, curve in curves.items()
    ]

    def draw(size: tuple[int, int]) -> Any:
        chart = pygal.Line(**_config(size, series, unit))
        chart.x_title, chart.y_title, chart.x_labels = over, _axis("skill", unit), [str(k) for k in numbers]
        return chart

    return _drawn(draw, series, unit, category=True)


def _axis(metric: str, unit: str) -> str:
    return f"{metric}, {unit}" if unit else metric


def _round_steps(last: float) -> list[int]:
    """At most six numbers up to the last that are easy to read."""
    least = last / 5
    power = 10 ** math.floor(math.log10(max(least, 1)))
    step = next(int(power * n) for n in (1, 2, 5, 10) if power * n >= least)
    return list(range(0, int(last) + 1, step))


def _config(size: tuple[int, int], series: Sequence[tuple[str, Any, Any]], unit: str) -> dict[str, Any]:
    narrow = size[0] < 500
    return {
        "width": size[0],
        "height": size[1],
        "style": _style(_colours(series), narrow),
        "js": [],
        "disable_xml_declaration": True,
        "show_legend": False,  # its last row may fall out of the picture; the page has a key of its own
        "truncate_label": -1,
        "show_x_guides": False,
        "value_formatter": lambda y: f"{y:.1f}{unit}" if unit else f"{y:.4g}",
        "margin": 8,
        "margin_right": 22,
        "spacing": 8,
        "max_scale": 6,
        "include_x_axis": False,
        "show_minor_x_labels": True,
        **_shares(series, unit),
    }


def _colours(series: Sequence[tuple[str, Any, Any]]) -> list[str]:
    """A player has its colour wherever it is drawn; thin lines are grey; others take turns."""
    numbers = [
        8 if how is THIN else COLOURS.get(name, n % N_COLOURS + 1) for n, (name, _, how) in enumerate(series)
    ]
    return [f"var(--c{n})" for n in numbers]


def _shares(series: Sequence[tuple[str, Any, Any]], unit: str) -> dict[str, Any]:
    """Shares have an axis up to 100 where some are high; else the values choose."""
    known = [y for _, points, _ in series for _, y in points if y is not None]
    if unit != "%" or max(known, default=0.0) <= 0.5:
        return {}
    return {"range": (0.0, 100.0), "y_labels": [{"value": y, "label": f"{y}%"} for y in range(0, 101, 20)]}


def _style(colours: list[str], narrow: bool) -> Style:
    small, plain = (12, 12) if narrow else (12, 13)
    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--soft)",
        foreground_strong="var(--text)",
        foreground_subtle="var(--line)",
        guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)",
        guide_stroke_dasharray="none",
        major_guide_stroke_dasharray="none",
        opacity="1",
        opacity_hover="1",
        transition="0s",
        colors=tuple(colours),
        font_family="inherit",
        label_font_size=small,
        major_label_font_size=small,
        title_font_size=plain,
        tooltip_font_size=plain,
        value_colors=(),
    )


def _drawn(draw: Any, series: Sequence[tuple[str, Any, Any]], unit: str, category: bool = False) -> Markup:
    """Both sizes of a chart, for the page's style sheet to choose from."""
    scale, drawings = (100.0 if unit == "%" else 1.0), []
    for name, size in SIZES.items():
        chart = draw(size)
        for label, points, how in series:
            values = [None if y is None else y * scale for _, y in points]
            chart.add(
                label, values if category else list(zip((x for x, _ in points), values, strict=True)), **how
            )
        drawings.append(f'<div class="chart {name}">{chart.render(is_unicode=True)}</div>')
    keys = [
        Markup('<li class="{}" style="--colour: {}">{}</li>').format(
            "dashed" if how is DASHED else "", colour, name
        )
        for (name, _, how), colour in zip(series, _colours(series), strict=True)
    ]
    return Markup('<div class="plot">{}<ul class="key">{}</ul></div>').format(
        Markup("".join(drawings)), Markup("".join(keys))
    )
