"""Answers of a round as a person reads them: several, right and wrong, with verdict and rung."""

from collections import Counter
from collections.abc import Callable, Sequence

from shuhari.envs import Episode
from shuhari.policy.policy import Tokens

EACH = 3  # most answers of each kind
LONGEST = 2000  # characters of a text


def telling_ones(episodes: Sequence[Episode]) -> list[Episode]:
    """Some that were judged right, then some that were not, each of another problem. Where nobody judges, the
    one kind earned most, the other least."""
    if not any("verdict" in episode.info for episode in episodes):
        ordered = sorted(episodes, key=lambda episode: -episode.reward())
        return [*ordered[:EACH], *ordered[EACH:][-EACH:]]
    kinds: dict[bool, dict[int, Episode]] = {True: {}, False: {}}
    for episode in episodes:
        verdict = episode.info.get("verdict")
        right = verdict is not None and verdict.status == "correct"
        kinds[right].setdefault(episode.seed, episode)
    return [episode for kind in kinds.values() for episode in list(kind.values())[:EACH]]


def decided(episodes: Sequence[Episode]) -> dict[str, float]:
    """The share of episodes with each verdict, and the share that each rung of the verifier decided."""
    verdicts = [v for e in episodes if (v := e.info.get("verdict")) is not None]
    found = Counter(f"verdicts/{verdict.status}" for verdict in verdicts)
    found.update(f"rungs/{verdict.rung}" for verdict in verdicts if verdict.rung)
    return {name: count / len(episodes) for name, count in found.items()}


def as_markdown(episodes: Sequence[Episode], decode: Callable[[Tokens], str]) -> str:
    """Of each episode its verdict or, without one, how it ended; then what was asked and what was written."""
    parts = []
    for episode in episodes:
        verdict = episode.info.get("verdict")
        judged = episode.stop if verdict is None else verdict.status
        by = f" by rung `{verdict.rung}`" if verdict and verdict.rung else ""
        why = f": {_one_line(verdict.reason)}" if verdict and verdict.reason else ""
        parts.append(f"### {judged}{by}, reward {episode.reward():g}{why}")
        for step in episode.steps:
            asked = decode(step.prompt) if step.prompt else ""
            parts += [_fenced(text) for text in (asked, step.text) if text]
    return "\n\n".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")[:200]


def _fenced(text: str) -> str:
    """A block whose fence is longer than any within."""
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    fence = "```"
    while fence in shown:
        fence += "`"
    return f"{fence}text\n{shown}\n{fence}"
