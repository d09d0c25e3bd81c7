"""Ranked pairs: of two completions of one prompt, which is better; from a file, or made by a verifier.

Choosing the better of two answers is easier than writing one. A pair is a group of two rows whose advantages
are 1 and -1.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shuhari.loops.collect.groups import SamplingSource, learned
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Source
from shuhari.loops.config import RankedPairsConfig, VerifiedPairsConfig
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.replay import Replay
from shuhari.policy.lm import Policy, Tokens
from shuhari.policy.render import Renderer


@dataclass(frozen=True, slots=True)
class RankedPair:
    """Tokens of a prompt and of two completions."""

    prompt: Tokens
    chosen: Tokens
    rejected: Tokens


class PairError(ValueError):
    """A file of pairs cannot be used; the message names the file and the line."""


KEYS = ("prompt", "chosen", "rejected")


def read_pairs(path: Path, renderer: Renderer, policy: Policy) -> list[RankedPair]:
    """JSON lines, `{"prompt": ..., "chosen": ..., "rejected": ...}`. Raises `PairError`."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise PairError(f"{path}: cannot be read ({error.strerror})") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
            texts = [record[key] for key in KEYS]
        except (ValueError, KeyError, TypeError):
            raise PairError(f"{where}: a pair is a JSON object with {', '.join(KEYS)}") from None
        for key, text in zip(KEYS, texts, strict=True):
            if not isinstance(text, str) or not text:
                raise PairError(f"{where}: {key!r} is empty or not a string")
        if texts[1] == texts[2]:
            raise PairError(f"{where}: chosen and rejected are the same")
        prompt, (chosen, rejected) = renderer.first(texts[0]), map(renderer.completion, texts[1:])
        if (length := len(prompt) + max(len(chosen), len(rejected))) > policy.max_length:
            raise PairError(f"{where}: {length} tokens; the policy takes {policy.max_length}")
        pairs.append(RankedPair(prompt, chosen, rejected))
    if not pairs:
        raise PairError(f"{path}: holds no pairs; each line is an object with {', '.join(KEYS)}")
    return pairs


def pair_batch(pairs: Sequence[RankedPair]) -> Batch:
    """Two rows a pair: the better one, then the worse."""
    return Batch(
        [pair.prompt for pair in pairs for _ in range(2)],
        [side for pair in pairs for side in (pair.chosen, pair.rejected)],
        advantages=[1.0, -1.0] * len(pairs),
        groups=[number for number in range(len(pairs)) for _ in range(2)],
    )


class RankedPairs(Source):
    """One round is one batch of given pairs."""

    def __init__(
        self, policy: Policy, pairs: Sequence[RankedPair], cfg: RankedPairsConfig, rng: np.random.Generator
    ) -> None:
        super().__init__(cfg.rounds, rng)
        self.policy, self.pairs, self.batch = policy, pairs, cfg.batch

    def batches(self, number: int) -> Iterator[Batch]:
        self.episodes += self.batch
        yield pair_batch([self.pairs[i] for i in self.rng.integers(len(self.pairs), size=self.batch)])

    def sample(self) -> str:
        pair, decode = self.pairs[self.episodes % len(self.pairs)], self.policy.decode
        return f"{decode(pair.prompt)}\nchosen: {decode(pair.chosen)}\nrejected: {decode(pair.rejected)}"


class VerifiedPairs(SamplingSource):
    """One round is a group of answers to each of some problems; a right and a wrong one make a pair.

    The newest pairs are kept, and `updates` batches of them learned from.
    """

    def __init__(self, rollouts: Rollouts, cfg: VerifiedPairsConfig, rng: np.random.Generator) -> None:
        super().__init__(rollouts, cfg.rounds, rng)
        self.cfg = cfg
        self.replay: Replay[tuple[Tokens, Tokens, Tokens]] = Replay(cfg.replay)

    @property
    def updates(self) -> int:
        return self.rounds * self.cfg.updates

    def batches(self, number: int) -> Iterator[Batch]:
        groups = self.grouped(self.play(self.problems(self.cfg.problems), self.cfg.samples))
        for group in groups.values():
            # Only where a whole answer is one completion do two of them answer the same prompt.
            answers = [(e.reward(s.seat), s) for e in group for _, s in learned(e) if len(e.steps) == 1]
            right = [step for reward, step in answers if reward > 0]
            wrong = [step for reward, step in answers if reward <= 0]
            for better, worse in zip(right, wrong, strict=False):
                self.replay.add([(better.prompt, better.completion, worse.completion)])
        for _ in range(self.cfg.updates if len(self.replay) else 0):
            yield pair_batch([RankedPair(*pair) for pair in self.replay.draw(self.cfg.batch, self.rng)])

    def state_dict(self) -> dict[str, object]:
        return super().state_dict() | {"replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        super().load_state_dict(state)
        self.replay.load_state_dict(state["replay"])  # type: ignore[arg-type]
