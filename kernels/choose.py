"""Which implementation serves a call: its definition in torch, or the Triton kernel."""

import os
from typing import Literal

import torch

Implementation = Literal["plain", "triton"]


def choose(implementation: Implementation | None, device: torch.device) -> Implementation:
    """The implementation asked for, else by rule: "triton" on CUDA, "plain" elsewhere.

    Raises ValueError where "triton" is asked for and cannot run.
    """
    if implementation is None:
        return "triton" if device.type == "cuda" else "plain"
    if implementation == "triton" and device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"implementation 'triton' runs on CUDA tensors, not on {device.type}")
    if implementation not in ("plain", "triton"):
        raise ValueError(f"no implementation {implementation!r}: 'plain' or 'triton'")
    return implementation
