"""What a base's number of parameters decides: it is read off, and never timed.

Up to SMALL a product is over before its rounding to 16 bits has paid, and merging an adapter takes fewer
operations than keeping it beside. From there on weights are what a step reads and multiplies.
"""

from typing import Any

import torch

SMALL = (
    10_000_000  # parameters; between the shipped bases' 0.2 million and the 135 million that were measured
)


def parameters(model: Any) -> int:
    """Of a base, embedding and head included, once where they are one."""
    return sum(p.numel() for p in model.parameters())


def is_small(model: Any) -> bool:
    return parameters(model) <= SMALL


def bfloat16_instructions() -> list[str]:
    """The instructions of this processor that multiply bfloat16 and add in fp32."""
    known = {"avx512_bf16": "_is_avx512_bf16_supported", "amx": "_is_amx_tile_supported"}
    return [name for name, asks in known.items() if getattr(torch.cpu, asks, bool)()]
