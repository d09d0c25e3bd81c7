"""The two objectives: pure functions of log-probabilities, which see no model and no environment."""

import torch
from torch import Tensor

CLIP_LOW, CLIP_HIGH = 0.2, 0.28
MAX_WEIGHT = 3.0


def distill(logprobs_N: Tensor, weights_N: Tensor) -> Tensor:
    """Cross-entropy of target weights: -sum(w·log p) / sum(w), in nats.

    Imitation: every token of a trace weighs 1. What search found: every legal move weighs its share of the
    target distribution, as in AlphaZero's policy loss (Silver et al. 2018) and expert iteration (Anthony et
    al. 2017); there is no value head, because values come from continuations.
    """
    return -(weights_N * logprobs_N).sum() / weights_N.sum()


def policy_gradient(logprobs_N: Tensor, sampler_logprobs_N: Tensor, advantages_N: Tensor) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017) over N tokens, with group advantages as in GRPO.

    Where it deviates: no division by the group's standard deviation and one mean over all tokens (Dr. GRPO,
    Liu et al. 2025); the upper clip is wider (DAPO, Yu et al. 2025); no KL term. The behaviour policy is the
    sampler, by the log-probabilities it reported, and a ratio beyond MAX_WEIGHT is truncated.
    """
    ratio_N = (logprobs_N - sampler_logprobs_N).exp()
    clipped_N = ratio_N.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    surrogate_N = torch.minimum(ratio_N.clamp(max=MAX_WEIGHT) * advantages_N, clipped_N * advantages_N)
    return -surrogate_N.mean()
