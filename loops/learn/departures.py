"""How far the policy has gone from the one that sampled: figures that no loss depends on."""

from math import inf
from typing import Any

import torch
from torch import Tensor

MOST = 20.0  # nats: a figure stays finite
DEPARTURES = ("sampler_drift", "approx_kl", "importance_weight", "clip_fraction")


def departures(log_ratio_N: Tensor, cfg: Any) -> Tensor:
    """Sums of `DEPARTURES` over N tokens, [4].

    log_ratio_N: log r with r = π/sampler, in nats
    cfg: of the objective; without a clip no token is outside of it
    The divergence of π from the sampler is estimated by r - 1 - log r, which is at least 0 (Schulman 2020).
    """
    bounded_N = log_ratio_N.clamp(-MOST, MOST)
    ratio_N = bounded_N.exp()
    low, high = 1 - getattr(cfg, "clip_low", inf), 1 + getattr(cfg, "clip_high", inf)
    outside_N = (ratio_N < low) | (ratio_N > high)
    return torch.stack(
        [bounded_N.abs().sum(), (ratio_N - 1 - bounded_N).sum(), ratio_N.sum(), outside_N.to(ratio_N).sum()]
    )
