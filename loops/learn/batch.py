"""What a learner learns from: columns with one entry for each sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, groupby

import numpy as np
import torch
from torch import Tensor

from shuhari.policy.inference.request import Choices
from shuhari.policy.policy import Tokens
from shuhari.policy.shared_scoring import SequenceLogprobs


@dataclass(frozen=True)
class Batch:
    """S sequences. The sequences of one group are next to each other.

    prompts, completions: tokens
    weights: the weight of each of a completion's tokens; 1 if the column is empty
    advantages: the advantage of each of a completion's tokens; in a ranked group 1 or -1; 0 if empty
    groups: the number of each sequence's group; each is a group of its own if empty
    sampler: log-probabilities, in nats, that the sampler gave to the tokens of each completion
    reference: the same, of the reference policy; both are empty where they are not known
    choices: the completions that were allowed, in tokens; an empty entry allows any text
    """

    prompts: Sequence[Tokens]
    completions: Sequence[Tokens]
    weights: Sequence[float] = ()
    advantages: Sequence[float] = ()
    groups: Sequence[int] = ()
    sampler: Sequence[Sequence[float]] = ()
    reference: Sequence[Sequence[float]] = ()
    choices: Sequence[Choices] = ()

    @classmethod
    def of(cls, pairs: Sequence[tuple[Tokens, Tokens]]) -> "Batch":
        """A batch of (prompt, completion) pairs, whose tokens all have weight 1."""
        return cls([prompt for prompt, _ in pairs], [text for _, text in pairs], [1.0] * len(pairs))

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def pairs(self) -> list[tuple[Tokens, Tokens]]:
        return list(zip(self.prompts, self.completions, strict=True))

    @property
    def tokens(self) -> int:
        """How many tokens the completions have."""
        return sum(map(len, self.completions))

    @property
    def longest(self) -> int:
        """How many tokens the longest text has, prompt and completion."""
        return max((len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)), default=0)

    def _rows(self, start: int, end: int) -> "Batch":
        return Batch(**{field.name: getattr(self, field.name)[start:end] for field in fields(self)})

    def parts(self, most: int, whole_groups: bool) -> Iterator["Batch"]:
        """The batch in parts of at most `most` tokens, in order. A part has at least one sequence, or, with
        `whole_groups`, at least one group.

        The prompt of several sequences in a row counts once.
        """
        if len(self) and self._length(0, len(self), of_last=False) <= most:
            yield self
            return
        groups = self.groups if whole_groups and self.groups else range(len(self))
        start = end = tokens = 0
        for _, members in groupby(range(len(self)), key=lambda number: groups[number]):
            after = end + len(list(members))
            more = self._length(end, after, of_last=end > start)
            if end > start and tokens + more > most:
                yield self._rows(start, end)
                start, tokens, more = end, 0, self._length(end, after, of_last=False)
            end, tokens = after, tokens + more
        if end:
            yield self._rows(start, end)

    def share(self, rank: int, ranks: int, whole_groups: bool) -> "Batch":
        """A rank's part: in order, and about as many tokens as each other's; it may be empty.

        What shares a prompt stays together, and with `whole_groups` what is of one group.
        """
        together = self.groups if whole_groups and self.groups else self.prompts
        ends, tokens = [0], [0]  # of the first so many runs of sequences
        for _, members in groupby(range(len(self)), key=lambda number: together[number]):
            ends.append(ends[-1] + len(list(members)))
            tokens.append(tokens[-1] + self._length(ends[-2], ends[-1], of_last=False))
        off = [np.abs(np.array(tokens) * ranks - tokens[-1] * r) for r in (rank, rank + 1)]
        start, end = (ends[int(distances.argmin())] for distances in off)
        return self._rows(start, end)

    def _length(self, start: int, end: int, of_last: bool) -> int:
        """Tokens of the rows from `start` to `end`. `of_last`: a first prompt equal to the prompt of the row
        before does not count again."""
        prompts = [prompt for prompt, _ in groupby(self.prompts[start:end])]
        if of_last and prompts[0] == self.prompts[start - 1]:
            del prompts[0]
        return sum(map(len, prompts)) + sum(map(len, self.completions[start:end]))


@dataclass(frozen=True)
class Columns:
    """What an objective sees beside log-probabilities: the columns of a part, by token (N) and sequence (S).

    total_weight, total_completions, total_groups: totals of the whole batch, the first two by weight. An
        objective divides its sum over the part by one of them, so that the losses of the parts add up to the
        mean of the whole batch.
    """

    weights_N: Tensor
    advantages_N: Tensor
    sampler_N: Tensor  # empty where it is not known
    reference_N: Tensor  # empty where it is not known
    sequence_N: Tensor  # the number of each token's sequence
    advantages_S: Tensor
    group_S: Tensor  # numbered from 0 within the part
    total_weight: Tensor  # [], of all tokens
    total_completions: Tensor  # []
    total_groups: int

    @classmethod
    def of(cls, part: Batch, scored: SequenceLogprobs, whole: Batch) -> "Columns":
        device, S = scored.logprobs_N.device, len(part)

        def column(values: Sequence[float], default: float, n: int = S) -> Tensor:
            return torch.tensor(values or [default] * n, dtype=torch.float32, device=device)

        def by_token(values: Sequence[Sequence[float]]) -> Tensor:
            flat = torch.tensor(list(chain.from_iterable(values)), dtype=torch.float32, device=device)
            return flat[scored.token_N] if len(flat) else flat

        known = part.groups or range(S)
        numbers = {group: n for n, group in enumerate(dict.fromkeys(known))}
        advantages_S = column(part.advantages, 0.0)
        lengths = torch.tensor([len(completion) for completion in whole.completions], device=device)
        weights_S = column(whole.weights, 1.0, len(whole))
        return cls(
            column(part.weights, 1.0)[scored.sequence_N],
            advantages_S[scored.sequence_N],
            by_token(part.sampler),
            by_token(part.reference),
            scored.sequence_N,
            advantages_S,
            torch.tensor([numbers[group] for group in known], device=device),
            weights_S.repeat_interleave(lengths).sum(),
            weights_S.sum(),
            len(set(whole.groups)) or len(whole),
        )
