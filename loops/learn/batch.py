"""What a learner learns from: sequences in columns, one entry a sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, groupby

import numpy as np
import torch
from torch import Tensor

from shuhari.policy.inference.request import Choices
from shuhari.policy.policy import Tokens
from shuhari.policy.scoring import SequenceLogprobs


@dataclass(frozen=True)
class Batch:
    """S sequences; sequences of one group stand together.

    prompts, completions: tokens
    weights: of every token of a completion (1 where none are given)
    advantages: of every token of a completion; in a ranked group, its rank (0 where none are given)
    groups: which sequences belong together (each to itself where none are given)
    sampler, reference: log-probabilities of the completions' tokens, in nats, by who sampled them and by a
        reference policy; empty where they are not known
    choices: what each completion was drawn among, and is scored among; empty: any text
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
        """Prompts and completions whose tokens weigh 1."""
        return cls([prompt for prompt, _ in pairs], [text for _, text in pairs], [1.0] * len(pairs))

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def pairs(self) -> list[tuple[Tokens, Tokens]]:
        return list(zip(self.prompts, self.completions, strict=True))

    @property
    def tokens(self) -> int:
        """Of the completions."""
        return sum(map(len, self.completions))

    def _rows(self, start: int, end: int) -> "Batch":
        return Batch(**{field.name: getattr(self, field.name)[start:end] for field in fields(self)})

    def parts(self, most: int, whole_groups: bool) -> Iterator["Batch"]:
        """Cut into pieces of at most `most` tokens, in order; one sequence at least.

        A prompt counts once for the completions that follow it. A group is cut too, unless `whole_groups`.
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
        """Tokens of some rows; `of_last`: behind the row before, whose prompt they may share."""
        prompts = [prompt for prompt, _ in groupby(self.prompts[start:end])]
        if of_last and prompts[0] == self.prompts[start - 1]:
            del prompts[0]
        return sum(map(len, prompts)) + sum(map(len, self.completions[start:end]))


@dataclass(frozen=True)
class Columns:
    """What an objective sees beside log-probabilities: a part of a batch by token (N) and sequence (S).

    total_weight, total_groups: of the whole batch. An objective divides its sum by one of them,
    so that the parts add up to the whole's mean.
    """

    weights_N: Tensor
    advantages_N: Tensor
    sampler_N: Tensor  # empty where it is not known
    reference_N: Tensor  # empty where it is not known
    sequence_N: Tensor  # whose a token is
    advantages_S: Tensor
    group_S: Tensor  # numbered from 0 within the part
    total_weight: Tensor  # [], of all tokens
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
        return cls(
            column(part.weights, 1.0)[scored.sequence_N],
            advantages_S[scored.sequence_N],
            by_token(part.sampler),
            by_token(part.reference),
            scored.sequence_N,
            advantages_S,
            torch.tensor([numbers[group] for group in known], device=device),
            column(whole.weights, 1.0, len(whole)).repeat_interleave(lengths).sum(),
            len(set(whole.groups)) or len(whole),
        )
