"""Prompts to completions, and scores of given texts. Equal prompts are computed once.

Rows of equal prompt length run as one batch, so nothing is ever padded or masked; rows that have ended
leave the batch.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shuhari.policy import lean
from shuhari.policy.lm import LEARNING, Policy

Tokens = tuple[int, ...]
FEW = 4  # most probable tokens among which exploration chooses
MAX_ROWS = 1024  # rows of one forward pass; bounds memory, and the CPU's caches like it


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion; `tokens` end with the end-of-text token where `finished`."""

    tokens: Tokens
    logprobs: tuple[float, ...]  # nats, at the temperature sampled
    text: str
    finished: bool  # False: it hit the token limit


class Generator:
    """Generates with one policy: with an adapter of its, or (`adapter=None`) with the bare base."""

    def __init__(self, policy: Policy, adapter: str | None = LEARNING) -> None:
        self.policy, self.adapter = policy, adapter
        self._encoded: dict[str, Tokens] = {}

    def encode(self, text: str) -> Tokens:
        """Tokens of a prompt, remembered: rollouts ask for the same ones again and again."""
        if text not in self._encoded:
            self._encoded[text] = self.policy.encode(text)
        return self._encoded[text]

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Tokens],
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        explore: bool = False,
    ) -> list[Completion]:
        """One completion of every prompt; temperature 0 is greedy. One seed, one result.

        With `explore`, one token of each, at a random place, is any of the most probable few: a policy
        that is sure of a mistake would hardly ever leave it by its own chances.

        Raises ValueError for a prompt that is empty or does not fit (see `fits`).
        """
        by_length: dict[int, list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts):
            if not self.fits(prompt, max_new_tokens):
                raise ValueError(
                    f"a prompt of {len(prompt)} tokens and {max_new_tokens} new ones: the policy takes 1 to "
                    f"{self.policy.max_length} in all"
                )
            by_length[len(prompt)].append(i)
        rng = torch.Generator().manual_seed(seed)
        result: dict[int, Completion] = {}
        for length in sorted(by_length):
            members = by_length[length]
            for start in range(0, len(members), MAX_ROWS):
                batch = members[start : start + MAX_ROWS]
                completions = self._batch(
                    [prompts[i] for i in batch], max_new_tokens, temperature, rng, explore
                )
                result.update(zip(batch, completions, strict=True))
        return [result[i] for i in range(len(prompts))]

    def fits(self, prompt: Tokens, max_new_tokens: int) -> bool:
        """Whether the context holds this prompt and so many new tokens."""
        return 0 < len(prompt) <= self.policy.max_length - max_new_tokens

    def _batch(
        self, prompts: list[Tokens], limit: int, temperature: float, rng: torch.Generator, explore: bool
    ) -> list[Completion]:
        """Completions of prompts of one length."""
        distinct = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        decoder = _Decoder(self.policy, self.adapter, len(prompts[0]) + limit)
        logits_NV = decoder.step(torch.tensor(list(distinct)))
        rows = torch.tensor([distinct[p] for p in prompts])
        decoder.select(rows)
        logits_NV = logits_NV[rows]
        B = len(rows)
        tokens_BT = torch.full((B, limit), self.policy.eos)
        logprobs_BT = torch.zeros(B, limit)
        live = torch.arange(B)
        lengths = torch.full((B,), limit)
        ended = torch.zeros(B, dtype=torch.bool)
        # Where a row leaves its own way, and to which of its most probable tokens.
        place, rank = (
            (torch.randint(n, (B,), generator=rng) for n in (limit, FEW)) if explore else (None, None)
        )
        for t in range(limit):
            logprobs_NV = (logits_NV / (temperature or 1.0)).log_softmax(-1)
            if temperature == 0:
                chosen = logprobs_NV.argmax(-1)
            else:
                # One draw for every row there ever was, so that what has ended does not move the others'.
                chosen = draw(logprobs_NV, torch.rand(B, generator=rng)[live])
            if place is not None and rank is not None and (here := (place[live] == t)).any():
                few = logprobs_NV[here].topk(FEW).indices
                chosen = chosen.clone()
                chosen[here] = few.gather(1, rank[live][here][:, None])[:, 0]
            tokens_BT[live, t] = chosen
            logprobs_BT[live, t] = logprobs_NV.gather(1, chosen[:, None])[:, 0]
            done = chosen == self.policy.eos
            lengths[live[done]] = t + 1
            ended[live[done]] = True
            if done.any():
                kept = torch.nonzero(~done).squeeze(1)
                live, chosen = live[kept], chosen[kept]
                decoder.select(kept)
            if len(live) == 0 or t + 1 == limit:
                break
            logits_NV = decoder.step(chosen[:, None])
        result = []
        for tokens, logprobs, length, finished in zip(
            tokens_BT.tolist(), logprobs_BT.tolist(), lengths.tolist(), ended.tolist(), strict=True
        ):
            kept_tokens = tuple(tokens[:length])
            text = self.policy.decode(kept_tokens)
            result.append(Completion(kept_tokens, tuple(logprobs[:length]), text, finished))
        return result

    @torch.no_grad()
    def score(
        self, prompts: Sequence[str], choices: Sequence[Sequence[str]]
    ) -> list[npt.NDArray[np.float64]]:
        """Log-probability, in nats, of every given text after its prompt (see `choice_rows`)."""
        result = [np.zeros(len(texts)) for texts in choices]
        rows = choice_rows(
            [self.encode(p) for p in prompts], [self.choice_tokens(texts) for texts in choices]
        )
        for group in rows:
            for start in range(0, len(group.tokens), MAX_ROWS):
                part = group.part(start, start + MAX_ROWS)
                logprobs = part.logprobs(self.policy, self.adapter).tolist()
                for prompt, choice, value in zip(part.prompt, part.choice, logprobs, strict=True):
                    result[prompt][choice] += value
        return result

    def choice_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of texts to choose among. Where one begins another, all end with end-of-text."""
        tokens = [self.encode(text) for text in texts]
        # In sorted order a text that begins another stands right before one that it begins.
        ordered = sorted(tokens)
        if any(b[: len(a)] == a for a, b in pairwise(ordered)):
            return [(*t, self.policy.eos) for t in tokens]
        return tokens


def draw(logprobs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """One token [N] of each row's distribution, by inversion of uniform numbers in [0, 1)."""
    cumulative_NV = logprobs_NV.exp().cumsum(-1)
    # Rounding may leave the last sum beside 1; and a token of no probability must never be drawn.
    below_N = uniform_N * cumulative_NV[:, -1]
    chosen_N = torch.searchsorted(cumulative_NV, below_N[:, None], right=True).squeeze(-1)
    return chosen_N.clamp(max=logprobs_NV.shape[-1] - 1)


class _Decoder:
    """Steps a batch through either path: our lean cache, or the module's own."""

    def __init__(self, policy: Policy, adapter: str | None, capacity: int) -> None:
        self.policy, self.adapter = policy, adapter
        self.lean_cache = lean.Cache(capacity) if policy.path == "lean" else None
        self.module_cache = None

    def step(self, tokens_BT: Tensor) -> Tensor:
        """Logits [B, V] after these tokens."""
        if self.lean_cache is not None:
            weights = self.policy.weights(self.adapter)
            return lean.forward(weights, tokens_BT, keep=1, cache=self.lean_cache)[:, -1]
        with self.policy.adapter_on(self.adapter):
            output = self.policy.model(
                input_ids=tokens_BT, past_key_values=self.module_cache, use_cache=True, logits_to_keep=1
            )
        self.module_cache = output.past_key_values
        return output.logits[:, -1].float()  # type: ignore[no-any-return]

    def select(self, rows: Tensor) -> None:
        if self.lean_cache is not None:
            self.lean_cache.select(rows)
        elif self.module_cache is not None:
            self.module_cache.batch_select_indices(rows)


@dataclass(frozen=True, slots=True)
class ChoiceRows:
    """Rows of one shape that score texts: each row is a prompt and all but the last token of some text.

    The n-th scored token reads row `row[n]` at position `at[n]` of the `keep` last, and belongs to text
    `choice[n]` of prompt `prompt[n]`.
    """

    tokens: list[Tokens]
    keep: int
    row: list[int]
    at: list[int]
    target: list[int]
    prompt: list[int]
    choice: list[int]

    def part(self, start: int, end: int) -> "ChoiceRows":
        """The rows from `start` to `end` with what they score."""
        chosen = [n for n, row in enumerate(self.row) if start <= row < end]
        if len(chosen) == len(self.row):
            return self
        columns = (self.at, self.target, self.prompt, self.choice)
        return ChoiceRows(
            self.tokens[start:end],
            self.keep,
            [self.row[n] - start for n in chosen],
            *([column[n] for n in chosen] for column in columns),
        )

    def logprobs(self, policy: Policy, adapter: str | None = LEARNING) -> Tensor:
        """Log-probability of every scored token, differentiable in the adapter."""
        logits_BKV = policy.logits(torch.tensor(self.tokens), self.keep, adapter)
        logprobs_BKV = logits_BKV.log_softmax(-1)
        return logprobs_BKV[torch.tensor(self.row), torch.tensor(self.at), torch.tensor(self.target)]


def choice_rows(prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]]) -> list[ChoiceRows]:
    """The forward passes that score every text after its prompt, grouped by shape.

    Texts that differ in their last token only share a row: where all moves of a game are single tokens,
    one row a position scores them all.
    """
    groups: dict[tuple[int, int], ChoiceRows] = {}
    known: dict[tuple[int, int], dict[Tokens, int]] = defaultdict(dict)
    for p, (prompt, texts) in enumerate(zip(prompts, choices, strict=True)):
        for c, text in enumerate(texts):
            shape = (len(prompt), len(text) - 1)
            group = groups.setdefault(shape, ChoiceRows([], len(text), [], [], [], [], []))
            tokens = prompt + text[:-1]
            row = known[shape].setdefault(tokens, len(group.tokens))
            if row == len(group.tokens):
                group.tokens.append(tokens)
            for at, target in enumerate(text):
                group.row.append(row)
                group.at.append(at)
                group.target.append(target)
                group.prompt.append(p)
                group.choice.append(c)
    return list(groups.values())
