"""Which implementation serves a call: every public function of this package asks here, and nowhere else.

"plain"   the definition in torch: slow, and plain enough to be seen to be right
"torch"   another form by torch's own operations, where the definition is too slow for a CPU
"triton"  our kernels in `shuhari.kernels.gpu`
"""

import os
from collections.abc import Collection
from typing import Literal

import torch

Implementation = Literal["plain", "torch", "triton"]

# Tried at 11 keys only, where three small matrix products were as fast as torch's fused CPU kernel or faster,
# backward included; where the two really cross has not been measured.
SHORT = 64


def choose(
    asked: Implementation | None,
    device: torch.device,
    offered: Collection[Implementation] = ("plain", "triton"),
    keys: int | None = None,
) -> Implementation:
    """The name of the implementation that runs: the one asked for, else by rule.

    The rule takes the first that is offered of "triton" (on CUDA only), "torch" and "plain". It never times
    anything: the same seed gives the same bits.

    offered: what the calling function has
    keys: how many each query attends to, where the definition is the faster form for few of them: up to SHORT
        the rule on a CPU is "plain"

    Raises ValueError where what is asked for is not offered, or cannot run on this device.
    """
    if asked is None:
        if device.type == "cuda" and "triton" in offered:
            return "triton"
        few = keys is not None and keys <= SHORT and device.type == "cpu"
        return "torch" if "torch" in offered and not few else "plain"
    if asked not in offered:
        raise ValueError(f"no implementation {asked!r}, only {', '.join(map(repr, offered))}")
    if asked == "triton" and device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"implementation 'triton' runs on CUDA tensors, not on {device.type}")
    return asked
