"""Elo ratings of a tournament in which everyone has met everyone, by maximum likelihood.

The model is Bradley and Terry's (1952): i beats j with probability 1 / (1 + 10^((r_j - r_i) / 400)), and a
draw is half a win. Where some players have won every game against all others, the likelihood has no maximum
(Ford 1957): their ratings have no limit. In each pair between the two groups one draw that was not played is
then added, and a rating beyond the anchor's group says that it is a bound.
"""

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from shuhari.envs.player import Floats

SCALE = 400 / log(10)  # Elo points of one unit of log-odds
Z = 1.96  # of a 95% interval
STEPS, CLOSE = 200, 1e-10
FAR = 4000.0  # Elo beyond the best or the worst of others, where no rating is looked for


@dataclass(frozen=True, slots=True)
class Rating:
    """elo: relative to the anchor. low, high: its 95% interval by the likelihood's curvature; None where the
    games set no limit. bound: ">" or "<" where the games only say that it is at least, or at most, `elo`."""

    elo: float
    low: float | None
    high: float | None
    bound: str = ""

    def as_json(self) -> dict[str, Any]:
        ends = [None if end is None else round(end, 1) for end in (self.low, self.high)]
        return {"elo": round(self.elo, 1), "ci95": ends, "bound": self.bound}


def ratings(score_PP: Floats, anchor: int = 0) -> list[Rating]:
    """The rating of each of P players, 0 for the anchor.

    score_PP: what the first has scored against the second, a win 1 and a draw 1/2; every pair has met
    Games count as independent of one another, as binomial trials.
    """
    n = len(score_PP)
    reach_PP = score_PP > 0  # whom a player has scored against, then over any number of others
    for _ in range(n):
        reach_PP = reach_PP | (reach_PP @ reach_PP)
    mutual_PP = reach_PP & reach_PP.T
    apart_PP = ~mutual_PP & ~np.eye(n, dtype=bool)
    log_odds_P, covariance_PP = _fit(score_PP + apart_PP / 2, anchor)
    found = []
    for i in range(n):
        elo, half = float(SCALE * log_odds_P[i]), Z * SCALE * float(np.sqrt(covariance_PP[i, i]))
        bound = "" if i == anchor or mutual_PP[i, anchor] else ">" if reach_PP[i, anchor] else "<"
        low, high = (None if bound == "<" else elo - half), (None if bound == ">" else elo + half)
        found.append(Rating(elo, low, high, bound))
    return found


def rating_among(won_A: Floats, games_A: Floats, elo_A: Floats) -> Rating:
    """The rating of one player who has met players whose ratings stand.

    won_A, games_A: what he has scored against each of A players, and in how many games
    elo_A: their ratings, on whose scale his is
    """
    won, n = float(won_A.sum()), float(games_A.sum())
    bound = ">" if won == n else "<" if won == 0 else ""
    won = min(max(won, 0.5), n - 0.5)  # a draw that was not played

    def expected(elo: float) -> Floats:
        return np.asarray(1 / (1 + np.exp((elo_A - elo) / SCALE)))

    low, high = float(elo_A.min()) - FAR, float(elo_A.max()) + FAR
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if (games_A * expected(middle)).sum() < won else (low, middle)
    p_A = expected(low)
    half = Z * SCALE / float(np.sqrt((games_A * p_A * (1 - p_A)).sum()))
    return Rating(low, None if bound == "<" else low - half, None if bound == ">" else low + half, bound)


def _fit(score_PP: Floats, anchor: int) -> tuple[Floats, Floats]:
    """Log-odds [P] at the maximum, by Newton's steps, which are halved until they climb; their covariance."""
    games_PP, free = score_PP + score_PP.T, np.arange(len(score_PP)) != anchor
    x_P = np.zeros(len(score_PP))
    for _ in range(STEPS):
        p_PP = _expected(x_P)
        gradient_P = (score_PP - games_PP * p_PP).sum(1)
        if np.abs(gradient_P[free]).max(initial=0.0) < CLOSE * games_PP.sum():
            break
        step_P = np.zeros_like(x_P)
        step_P[free] = np.linalg.solve(_information(games_PP, p_PP)[np.ix_(free, free)], gradient_P[free])
        size, before = 1.0, _likelihood(score_PP, x_P)
        while _likelihood(score_PP, x_P + size * step_P) < before and size > 1e-6:
            size /= 2
        x_P = x_P + size * step_P
    covariance_PP = np.zeros_like(score_PP)
    information_PP = _information(games_PP, _expected(x_P))
    covariance_PP[np.ix_(free, free)] = np.linalg.inv(information_PP[np.ix_(free, free)])
    return x_P, covariance_PP


def _expected(x_P: Floats) -> Floats:
    """The probability [P, P] that one beats the other."""
    return np.asarray(1 / (1 + np.exp(np.clip(x_P[None] - x_P[:, None], -500, 500))))


def _information(games_PP: Floats, p_PP: Floats) -> Floats:
    """Fisher's information [P, P]."""
    weight_PP = games_PP * p_PP * (1 - p_PP)
    np.fill_diagonal(weight_PP, 0.0)
    return np.diag(weight_PP.sum(1)) - weight_PP


def _likelihood(score_PP: Floats, x_P: Floats) -> float:
    return float(-(score_PP * np.logaddexp(0, x_P[None] - x_P[:, None])).sum())
