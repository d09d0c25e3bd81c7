"""What all launches share: strides as kernels take them, and how a launch is written down for the gate.

Each kernel file has `shipped()`, which lists its kernels in every configuration that its callers can reach,
made by the very function that chooses the launch (block sizes, warps, stages). The gate compiles them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from shuhari.kernels.constants import UNIT

HEAD_DIMS = (32, 64, 80, 96, 128, 256)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TYPE_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def wide(x: Tensor) -> bool:
    """Whether rows can be read by wide loads: the last axis contiguous, other strides multiples of UNIT."""
    *outer, inner = x.stride()
    return inner == 1 and not any(stride % UNIT for stride in outer)


def in_units(*tensors: Tensor) -> list[int]:
    """The two outer strides of each, in units of UNIT elements."""
    return [stride // UNIT for x in tensors for stride in x.stride()[:2]]


def strides(*tensors: Tensor) -> list[int]:
    """`in_units`, of tensors that must not be copied. Raises ValueError where one is not `wide`."""
    if not all(map(wide, tensors)):
        shown = [x.stride() for x in tensors]
        raise ValueError(f"strides must be multiples of {UNIT} elements, the last 1; they are {shown}")
    return in_units(*tensors)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Of packed attention: queries and keys of a block, warps of a program, stages of its loads."""

    queries: int
    keys: int
    warps: int
    stages: int

    def options(self, D: int) -> dict[str, int]:
        """Constants, warps and stages of a launch."""
        blocks = {
            "BLOCK_D": max(16, triton.next_power_of_2(D)),
            "BLOCK_M": self.queries,
            "BLOCK_N": self.keys,
        }
        return {"D": D, **blocks, "num_warps": self.warps, "num_stages": self.stages}


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


def listed(
    name: str,
    kernel: Any,
    types: Mapping[str, str | None],
    options: dict[str, int],
    tensor_cores: bool = False,
) -> Shipped:
    """A kernel with the options of a launch: its constants, num_warps, and num_stages where they are given.

    types: of the arguments that are no constants, in order; where one is None, the argument is None
    """
    launch = {"num_warps", "num_stages"}
    constants: dict[str, Any] = {x: None for x, kind in types.items() if kind is None}
    constants |= {x: value for x, value in options.items() if x not in launch}
    signature = {x: kind or "constexpr" for x, kind in types.items()} | dict.fromkeys(constants, "constexpr")
    stages = options.get("num_stages", 3)  # as Triton does
    return Shipped(name, kernel, signature, constants, options["num_warps"], stages, tensor_cores)
