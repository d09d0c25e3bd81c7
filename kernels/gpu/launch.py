"""What all kernels share: how a configuration that callers can reach is written down for the gate.

Each kernel file has `shipped()`, which lists its kernels in every configuration that its callers can reach,
made by the very function that chooses the launch (block sizes, warps, stages). The gate compiles them all.
"""

from dataclasses import dataclass
from typing import Any

import torch

HEAD_DIMS = (32, 64, 80, 96, 128, 256)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TYPE_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
LOG2E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class Shipped:
    """One kernel in one configuration.

    signature: argument -> Triton's name of its type ("*bf16", "i32"), in order, or "constexpr"
    constants: the constexpr arguments' values
    tensor_cores: whether it holds a `tl.dot` of 16-bit inputs, which tensor cores must do
    """

    name: str
    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    num_warps: int
    num_stages: int
    tensor_cores: bool
