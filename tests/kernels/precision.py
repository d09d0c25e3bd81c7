"""How near to fp64 a result is, and when that is near enough."""

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 5e-3}  # relative RMS


def relative_rms(got: Tensor, want: Tensor) -> float:
    """RMS of the difference over RMS of `want`; not a number where `got` is not all finite."""
    difference = (got.double() - want.double()).square().mean().sqrt()
    return float(difference / want.double().square().mean().sqrt())


def right(got: Tensor, want: Tensor) -> bool:
    """Whether `got` is `want` (fp64) within its dtype's tolerance."""
    return got.shape == want.shape and relative_rms(got, want) <= TOLERANCE[got.dtype]
