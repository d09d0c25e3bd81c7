"""The majority of k samples of n, on average over all draws. It needs numpy, which the verifier does not."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np

from shuhari.rewards.statistics import Votes, majority


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
