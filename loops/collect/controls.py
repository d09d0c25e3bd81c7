"""Controls: rewards that know nothing of what is right. Whoever gains by them gains by something else.

Random rewards raised a model by 21 points on a test that it had met before (Shao et al. 2025, "Spurious
rewards"), and by nothing on freshly generated arithmetic (Wu et al. 2025).
"""

from collections.abc import Sequence
from dataclasses import replace

from shuhari.envs import Episode
from shuhari.loops.collect.source import Rng

NO_ANSWER = "extract"  # the rung of a verdict that found no answer in the demanded form


def rewarded(episodes: Sequence[Episode], reward: str, rng: Rng) -> list[Episode]:
    """The episodes with another reward at their end: `random`, 0 or 1 by a coin; `format`, 1 for an answer
    that has the demanded form, right or wrong; `verified`, their own."""
    if reward == "verified":
        return list(episodes)
    earned = rng.integers(2, size=len(episodes)) if reward == "random" else map(_has_form, episodes)
    return [_earning(episode, float(value)) for episode, value in zip(episodes, earned, strict=True)]


def _has_form(episode: Episode) -> bool:
    verdict = episode.info.get("verdict")
    return verdict is not None and verdict.rung != NO_ANSWER


def _earning(episode: Episode, reward: float) -> Episode:
    last = len(episode.steps) - 1
    steps = tuple(replace(step, reward=reward * (n == last)) for n, step in enumerate(episode.steps))
    return replace(episode, steps=steps, returns=(reward,) * max(1, len(episode.returns)))
