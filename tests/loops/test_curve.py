"""The learning curve: its lines fit, its axes are true, and it says what each line is."""

import re
from itertools import pairwise

import pytest

from shuhari.loops.report.curve import draw_curve

METRICS = [
    {"phase": "imitate", "updates": 0, "skill": 0.25},
    {"phase": "imitate", "updates": 400, "skill": 0.5},
    {"phase": "selfplay", "updates": 400, "skill": 0.5},
    {"phase": "selfplay", "updates": 1600, "skill": 0.75},
]
LEVELS = {"perfect": 1.0, "expert": 0.5}


def plot_and_words(columns: int, metrics: list[dict[str, object]] = METRICS) -> tuple[list[str], str]:
    plot, _, words = draw_curve(metrics, LEVELS, "greedy", columns).partition("\n\n")
    return plot.splitlines(), words


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_the_curve_fits_and_its_axes_are_true(columns: int) -> None:
    plot, words = plot_and_words(columns)
    assert max(map(len, plot)) == columns
    assert not re.search("\x1b", "".join(plot))  # a file has no colours
    assert plot[0].strip() == "greedy"
    labels = [line.partition("┤")[0].partition("┼")[0].strip() for line in plot[2:-2]]
    assert (labels[0], labels[-1]) == ("1.00", "0.25")
    assert plot[-1].split() == ["0", "400", "1,600"]
    steps, _, levels = words.partition(". ")
    assert steps == "Optimizer steps: imitate ends at 400, selfplay ends at 1,600"
    assert levels == "Dotted lines: expert 0.500, perfect 1.000."


def test_the_curve_rises_as_the_skill_does() -> None:
    plot, _ = plot_and_words(80)
    rows = [
        [column for column, character in enumerate(line) if "\u2801" <= character <= "\u28ff"]
        for line in plot[2:-2]
    ]
    drawn = [row for row in rows if row]
    assert len(drawn) > 6
    assert all(min(upper) > min(lower) for upper, lower in pairwise(drawn))
    assert not any(rows[:3])  # nothing between 0.75 and the dotted line of perfect play
    assert set(plot[2]) >= {"┈"}


@pytest.mark.filterwarnings("error")
def test_a_curve_of_one_point_and_a_flat_one(capfd: pytest.CaptureFixture[str]) -> None:
    for metrics in (METRICS[:1], [dict(point, skill=0.0) for point in METRICS]):
        assert "imitate ends at" in draw_curve(metrics, {}, "greedy", 40)
    assert capfd.readouterr() == ("", "")  # plotext would say that it cannot draw
