"""Skill against the number of samples: by how much do several answers to a problem beat one?

Best of k: the verifier accepts one of k samples (pass@k; the unbiased estimator of Chen et al. 2021).
Majority: it accepts the most frequent answer of k samples (self-consistency, Wang et al. 2023), which is
chosen without it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shuhari.envs.problems.heldout import Answered
from shuhari.loops.evaluate.skill_curve import Curve, percent, samples_to_reach
from shuhari.rewards.expected_majority import majority_at
from shuhari.rewards.statistics import pass_at, share

MOST = 64  # the last power of two of a curve


def sizes(n: int) -> list[int]:
    """The powers of two up to n and `MOST`, and n itself."""
    return sorted({2**i for i in range(MOST.bit_length()) if 2**i <= n} | {n})


def curves(groups: Sequence[Sequence[Answered]], n: int) -> dict[str, dict[int, float]]:
    """Both curves of `n` samples of each problem, as means over the problems of which a sample has a verdict.

    A problem with verdicts on fewer than k samples counts with what these come to, so that all points of a
    curve rest on the same problems.
    """
    ks = sizes(n)
    judged = [[answer.solved for answer in group if answer.solved is not None] for group in groups]
    best = {k: share(pass_at(len(s), sum(s), min(k, len(s))) for s in judged if s) for k in ks}
    found = [majority_at([(a.vote, a.solved) for a in group], ks) for group in groups]
    elected = {k: share(curve[i] for curve in found if curve) for i, k in enumerate(ks)}
    return {
        kind: {k: value or 0.0 for k, value in curve.items()}
        for kind, curve in (("best_of", best), ("majority", elected))
    }


def worth_of_one_sample(name: str, level: float, rival: str, by_kind: Mapping[str, Curve]) -> dict[str, Any]:
    """How many samples of `rival`, whose curves are given, one sample of `name` equals.

    level: the share of problems that one sample of `name` solves
    """
    worth: dict[str, Any] = {"player": name, "pass_at_1": level, "rival": rival}
    words = {}
    for kind, curve in by_kind.items():
        k, text = samples_to_reach(level, curve)
        worth[kind] = {"k": k, "text": text}
        words[kind] = text.replace("> ", "more than ").replace("< ", "fewer than ")
    best, elected = words["best_of"], words["majority"]
    worth["sentence"] = (
        f"One sample of {name} ({percent(level)}) equals the best of {best} samples of {rival} by the "
        f"verifier, and a majority of {elected}."
    )
    return worth
