"""The forward passes that score many given texts after few prompts, as a game's legal moves are."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from shuhari.policy.lm import LEARNING, Policy, Tokens


@dataclass(frozen=True, slots=True)
class ChoiceRows:
    """Rows of one shape that score texts: each row is a prompt and all but the last token of some text.

    The n-th scored token reads row `row[n]` at position `at[n]` of the `keep` last; it is the `at[n]`-th of
    text `sequence[n]`.
    """

    tokens: list[Tokens]
    keep: int
    row: list[int]
    at: list[int]
    target: list[int]
    sequence: list[int]

    def logprobs(self, policy: Policy, adapter: str | None = LEARNING) -> tuple[Tensor, Tensor]:
        """Log-probability of every scored token [N], differentiable in the adapter, and the entropy there."""
        columns = (self.tokens, self.row, self.at, self.target)
        tokens_BT, row_N, at_N, target_N = (torch.tensor(x, device=policy.device) for x in columns)
        logits_BKV = policy.logits(tokens_BT, self.keep, adapter)
        logprobs_BKV = logits_BKV.log_softmax(-1)
        known_BKV = logprobs_BKV.detach()
        entropy_BK = -(known_BKV.exp() * known_BKV).sum(-1)
        return logprobs_BKV[row_N, at_N, target_N], entropy_BK[row_N, at_N]


def choice_rows(pairs: Sequence[tuple[Tokens, Tokens]]) -> list[ChoiceRows]:
    """The forward passes that score every text after its prompt, (prompt, text), grouped by shape.

    Texts that differ in their last token only share a row: where all moves of a game are single tokens,
    one row a position scores them all.
    """
    groups: dict[tuple[int, int], ChoiceRows] = {}
    known: dict[tuple[int, int], dict[Tokens, int]] = defaultdict(dict)
    for number, (prompt, text) in enumerate(pairs):
        shape = (len(prompt), len(text) - 1)
        group = groups.setdefault(shape, ChoiceRows([], len(text), [], [], [], []))
        tokens = prompt + text[:-1]
        row = known[shape].setdefault(tokens, len(group.tokens))
        if row == len(group.tokens):
            group.tokens.append(tokens)
        for at, target in enumerate(text):
            group.row.append(row)
            group.at.append(at)
            group.target.append(target)
            group.sequence.append(number)
    return list(groups.values())


def told_apart(texts: Sequence[Tokens], end: int) -> list[Tokens]:
    """Tokens of texts to choose among. Where one begins another, all end with `end`."""
    # In sorted order a text that begins another stands right before one that it begins.
    if any(b[: len(a)] == a for a, b in pairwise(sorted(texts))):
        return [(*text, end) for text in texts]
    return list(texts)
