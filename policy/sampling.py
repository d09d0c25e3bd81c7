"""Drawing tokens: each row by a stream of its own, so that no row depends on its neighbours."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Seeds = npt.NDArray[np.uint64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x: Seeds) -> Seeds:
    """SplitMix64's output function (Steele, Lea & Flood 2014): 64 well-mixed bits of a counter."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seeds_B: Seeds, counters_B: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1): the `counters_B`-th of each seed's stream."""
    with np.errstate(over="ignore"):
        bits = _mixed(_mixed(seeds_B + GOLDEN) + GOLDEN * (counters_B.astype(np.uint64) + np.uint64(1)))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def spread(seed: int, n: int) -> list[int]:
    """`n` seeds from one."""
    with np.errstate(over="ignore"):
        counters = np.arange(1, n + 1, dtype=np.uint64) * GOLDEN
        return [int(x) for x in _mixed(_mixed(np.uint64(seed % 2**64) + counters))]


def draw(logprobs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """One token [N] of each row's distribution, by inversion of uniform numbers in [0, 1)."""
    cumulative_NV = logprobs_NV.exp().cumsum(-1)
    # Rounding may leave the last sum beside 1; and a token of no probability must never be drawn.
    below_N = uniform_N.to(cumulative_NV.dtype) * cumulative_NV[:, -1]
    chosen_N = torch.searchsorted(cumulative_NV, below_N[:, None], right=True).squeeze(-1)
    last_N = (cumulative_NV < cumulative_NV[:, -1:]).sum(-1)  # the last token of any probability
    return torch.minimum(chosen_N, last_N)
