"""Intervals and estimators of evaluations and of error rates."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import comb, sqrt
from typing import Any

import numpy as np

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


def majority_at(votes: Votes, ks: Sequence[int]) -> list[float] | None:
    """For each k the probability that the majority of k of the samples, drawn without replacement, is right.

    It is exact. Draws come in random order, and of equally frequent answers the first drawn counts. From as
    many as there are on, it is the `majority` of them all, in their own order. None where that has none.
    """
    whole = majority(votes)
    if whole is None:
        return None
    judged = [(answer, right) for answer, right in votes if right is not None]
    n, given = len(judged), Counter(answer for answer, _ in judged)
    silent, correct = given.pop(None, 0), Counter(answer for answer, right in judged if right)
    counts = tuple(sorted((count, correct[answer]) for answer, count in given.items()))
    drawn = _expected_majority(counts, silent, max((k for k in ks if k < n), default=0))
    return [drawn[k] if k < n else float(whole) for k in ks]


@lru_cache(2**14)
def _expected_majority(counts: tuple[tuple[int, int], ...], silent: int, longest: int) -> tuple[float, ...]:
    """What `majority_at` gives, for each k from 0 to `longest`.

    counts: of each answer, how many samples give it, and how many of these are right
    silent: samples without an answer
    Random order makes an answer that is tied with others the first as often as each of them, and the sample
    that speaks for it any of its samples. So each set of k samples is right by the mean, over its tied
    answers, of their shares of right samples. Sets are counted by a product of polynomials, one an answer.
    """
    right_K = np.zeros(longest + 1)  # sets of k samples, each as far as it is right
    for most in range(1, min(longest, max((count for count, _ in counts), default=0)) + 1):
        # [0]: sets by size and by how many answers are tied at `most`; [1]: times the sum of these shares
        sets = np.zeros((2, longest + 1, longest // most + 1))
        sets[0, 0, 0] = 1
        for count, correct in counts:
            grown = np.zeros_like(sets)
            for votes in range(min(count, most - 1) + 1):
                grown[:, votes:] += float(comb(count, votes)) * sets[:, : longest + 1 - votes]
            if count >= most:
                leading = float(comb(count, most)) * sets[:, : longest + 1 - most, :-1]
                leading[1] += correct / count * leading[0]
                grown[:, most:, 1:] += leading
            sets = grown
        right_K += sets[1, :, 1:] @ (1 / np.arange(1, sets.shape[2]))
    quiet_K = [float(comb(silent, size)) for size in range(longest + 1)]
    n = silent + sum(count for count, _ in counts)
    return tuple(
        float(right / comb(n, k)) for k, right in enumerate(np.convolve(right_K, quiet_K)[: longest + 1])
    )
