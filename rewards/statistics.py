"""Intervals and estimators of evaluations and of error rates."""

import math
from collections.abc import Iterable, Sequence
from math import comb, sqrt


def wilson(mean: float, n: int, z: float = 1.96) -> list[float]:
    """Wilson's 95% interval (1927) of a share, or a mean score in [0, 1], over n trials."""
    if n == 0:
        return [0.0, 1.0]
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return [round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)]


def share(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None, or None if there are none.

    It is cut to four digits and not rounded, so that only a perfect share is 1.0.
    """
    known = [float(value) for value in values if value is not None]
    return math.floor(math.fsum(known) / len(known) * 1e4 + 1e-9) / 1e4 if known else None


def pass_at(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of the probability that one of k samples is correct, from n samples.

    1 - C(n-c, k)/C(n, k) (Chen et al. 2021).
    """
    return 1 - comb(n - correct, k) / comb(n, k)


def mean_interval(values: Sequence[float], z: float = 1.96) -> tuple[float, list[float]]:
    """The mean, and its 95% interval by the normal approximation; 0 and [0, 0] without values."""
    n = len(values)
    mean = math.fsum(values) / max(1, n)
    half = z * sqrt(sum((x - mean) ** 2 for x in values) / (n - 1) / n) if n > 1 else 0.0
    return round(mean, 4), [round(mean - half, 4), round(mean + half, 4)]
