"""Skill as text, and where a curve of it reaches a level."""

import math
from collections.abc import Mapping
from itertools import pairwise
from math import log2

Curve = Mapping[int, float]  # skill by a number, as of samples or simulations


def percent(value: float | None) -> str:
    """As a percentage, rounded down, so that only a perfect value is shown as 100%."""
    return "" if value is None else f"{math.floor(value * 1000 + 1e-6) / 10:.1f}%"


def samples_to_reach(level: float, curve: Curve) -> tuple[float | None, str]:
    """The least k at which a curve reaches a level, linear in log2 k between points, and the same as text.

    None where that is below 1 sample or above the curve's last k.
    """
    points = sorted(curve.items())
    (first, at_first), (last, _) = points[0], points[-1]
    if at_first > level:
        return None, f"< {first}"
    if at_first == level:
        return float(first), f"{first}"
    for (k, low), (above, high) in pairwise(points):
        if high >= level:  # and all before it are below
            found = float(2 ** (log2(k) + (level - low) / (high - low) * log2(above / k)))
            return round(found, 4), f"{found:.1f}" if found < 10 else f"{found:.0f}"
    return None, f"> {last}"
