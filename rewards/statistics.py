"""Intervals and estimators of evaluations and of error rates."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import comb, sqrt
from typing import Any

Scores = Sequence[float | None]  # one for each problem; None: there is no verdict
Votes = Sequence[tuple[str | None, bool | None]]  # as `majority` takes them


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
    mean, half = _mean_and_half(values, z)
    return round(mean, 4), [round(mean - half, 4), round(mean + half, 4)]


def _mean_and_half(values: Sequence[float], z: float = 1.96) -> tuple[float, float]:
    """The mean, and half the width of its interval."""
    n = len(values)
    mean = math.fsum(values) / max(1, n)
    return mean, z * sqrt(sum((x - mean) ** 2 for x in values) / (n - 1) / n) if n > 1 else 0.0


def by_name(metrics: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """The values of each metric, over the episodes that have it."""
    found: dict[str, list[float]] = defaultdict(list)
    for episode in metrics:
        for name, value in episode.items():
            found[name].append(float(value))
    return dict(found)


def metric_intervals(metrics: Iterable[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Of each metric its mean, the mean's normal 95% interval, and the number of episodes that have it.

    To six digits, because a metric may be of any size.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, values in by_name(metrics).items():
        mean, half = _mean_and_half(values)
        low, high = (float(f"{end:.6g}") for end in (mean - half, mean + half))
        found[name] = {"mean": float(f"{mean:.6g}"), "ci95": [low, high], "n": len(values)}
    return found


def majority(votes: Votes) -> bool | None:
    """Whether the most frequent answer is right; of equally frequent ones, the first.

    votes: each sample's answer (None: it has none) and whether it is right (None: that is not known)
    Samples of which that is not known have no vote; None where no other is left. Without any answer the
    majority is wrong.
    """
    judged = [(answer, right) for answer, right in votes if right is not None]
    if not judged:
        return None
    answers = Counter(answer for answer, _ in judged if answer is not None)  # which keeps their order
    if not answers:
        return False
    ((elected, _),) = answers.most_common(1)
    return next(right for answer, right in judged if answer == elected)
