"""The majority as the judge: what most samples answer counts as right, and no verdict is seen."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from shuhari.envs import Episode
from shuhari.envs.problems.heldout import episode_vote
from shuhari.rewards import Verdict


def judged_by_majority(episodes: Sequence[Episode]) -> list[Episode]:
    """The same episodes, those right that give the most frequent answer of their problem (equal `seed`).

    Test-time reinforcement learning (TTRL, Zuo et al. 2025). Of equally frequent answers the first counts,
    and an episode without an answer is wrong. Verdicts and returns are replaced, so that nothing that comes
    later can see what the environment's were. An episode with an unknown verdict counts, one that failed does
    not.
    """
    votes = [episode_vote(episode) for episode in episodes]
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for episode, vote in zip(episodes, votes, strict=True):
        if vote is not None:
            counts[episode.seed][vote] += 1
    elected = {seed: counter.most_common(1)[0][0] for seed, counter in counts.items()}
    return [
        _with_verdict(episode, vote is not None and vote == elected[episode.seed])
        for episode, vote in zip(episodes, votes, strict=True)
    ]


def _with_verdict(episode: Episode, right: bool) -> Episode:
    returns = (float(right),) * max(1, len(episode.returns))
    verdict = Verdict("correct" if right else "wrong", "by the majority")
    counts = episode.counts or episode.stop in ("done", "truncated")
    return replace(episode, returns=returns, counts=counts, info=episode.info | {"verdict": verdict})
