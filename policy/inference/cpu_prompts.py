"""Prompts on any processor: those that are computed together and are of about one length share a batch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shuhari.policy.inference.prefill import keeping, prefill
from shuhari.policy.inference.prompt_cache import CachedPrompt
from shuhari.policy.model.attention_patterns import attend_causally
from shuhari.policy.policy import Policy

ROUNDED = 8  # prompts whose lengths are the same when rounded up to such steps share a batch


def rounded(length: int) -> int:
    """Positions that are set aside for a prompt."""
    return -(-length // ROUNDED) * ROUNDED


@dataclass(eq=False)
class PromptBatch:
    """Keys and values of N prompts of up to P tokens, per layer [N, Hkv, P, D]."""

    keys: list[Tensor]
    values: list[Tensor]
    lengths_N: Tensor | None  # None: all are P
    prompts: int  # that are still in memory: the batch goes with the last of them

    def __len__(self) -> int:
        return len(self.keys[0])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a prompt is: the `index`-th of a batch."""

    batch: PromptBatch
    index: int


def compute(policy: Policy, adapter: str | None, prompts: Sequence[CachedPrompt]) -> None:
    """Compute keys, values and logits of prompts, in one forward pass without padding."""
    device, lengths = policy.device, [len(prompt.tokens) for prompt in prompts]
    keys: list[Tensor] = []
    values: list[Tensor] = []

    def keep(layer: int, k: Tensor, v: Tensor) -> None:
        keys.append(k.contiguous())  # as projections leave them, heads alternate
        values.append(v.contiguous())

    if len(set(lengths)) == 1:
        tokens_NP = torch.tensor([prompt.tokens for prompt in prompts], device=device)
        logits_NV = policy.logits(tokens_NP, 1, adapter, keeping(attend_causally, keep))[:, -1]
        _put(prompts, PromptBatch(keys, values, None, len(prompts)), logits_NV)
        return
    logits_NV, starts_N = prefill(policy, adapter, prompts, keep)
    alike: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths):
        alike[rounded(length)].append(i)
    for members in alike.values():
        members_N = torch.tensor(members, device=device)
        lengths_N = torch.tensor([lengths[i] for i in members], device=device)
        place_P = torch.arange(max(lengths[i] for i in members), device=device)
        # Padding repeats the last position: what is masked must still be numbers.
        there_NP = starts_N[members_N][:, None] + place_P.minimum(lengths_N[:, None] - 1)
        own_keys, own_values = (
            [x[0][:, there_NP].transpose(0, 1).contiguous() for x in layers] for layers in (keys, values)
        )
        equal = len({lengths[i] for i in members}) == 1
        batch = PromptBatch(own_keys, own_values, None if equal else lengths_N, len(members))
        _put([prompts[i] for i in members], batch, logits_NV[members_N])


def _put(prompts: Sequence[CachedPrompt], batch: PromptBatch, logits_NV: Tensor) -> None:
    for i, prompt in enumerate(prompts):
        prompt.place, prompt.logits_1V, prompt.computed = Place(batch, i), logits_NV[i : i + 1], True
