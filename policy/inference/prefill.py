"""Prompts of any lengths in one forward pass, without padding."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from shuhari.kernels.segments import Segments
from shuhari.policy.inference.prompt_cache import CachedPrompt
from shuhari.policy.model.attention_patterns import Attend, attend_within
from shuhari.policy.policy import Policy

Keep = Callable[[int, Tensor, Tensor], None]  # takes a layer's number and its new keys and values


def keeping(attend: Attend, keep: Keep) -> Attend:
    """The same attention, which hands on the keys and values that pass by, [B, Hkv, T, D]."""

    def kept(layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        keep(layer, k, v)
        return attend(layer, q, k, v, window)

    return kept


def prefill(
    policy: Policy, adapter: str | None, prompts: Sequence[CachedPrompt], keep: Keep
) -> tuple[Tensor, Tensor]:
    """Logits [N, V] after each prompt, and where each begins, [N], in the keys and values that are kept."""
    device, lengths = policy.device, [len(prompt.tokens) for prompt in prompts]
    segments = Segments.pack(lengths, [-1] * len(lengths), device)
    tokens_1N = torch.tensor([[token for prompt in prompts for token in prompt.tokens]], device=device)
    starts_M = segments.starts_M1.long()
    attend = keeping(attend_within(segments), keep)
    logits_1NV = policy.logits(tokens_1N, starts_M[1:] - 1, adapter, attend, segments.positions_N[None])
    return logits_1NV[0], starts_M[:-1]
