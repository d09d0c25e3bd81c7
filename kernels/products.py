"""A product of 16-bit numbers that leaves fp32 sums, which logits need: bfloat16 has 8 bits of them.

On CUDA torch has it. On a CPU oneDNN has it for factors that are given in fp32, and are rounded to bfloat16
on the way into the product.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)


@contextmanager
def _rounded_factors() -> Iterator[None]:
    """In this context a CPU's products of fp32 factors round them to bfloat16. Sums stay fp32."""
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def wide_product(x_NK: Tensor, w_KM: Tensor, factors: torch.dtype) -> Tensor:
    """x @ w [N, M] of factors in `factors`, whatever x is in; in fp32 where there is a product that has it.

    w: in `factors`, or, on a CPU, 16-bit numbers that are held in fp32
    """
    if factors not in HALVES:
        return x_NK @ w_KM
    if x_NK.device.type == "cuda":
        return torch.mm(x_NK.to(factors), w_KM, out_dtype=torch.float32)
    if w_KM.dtype != torch.float32:
        return x_NK.to(factors) @ w_KM
    if factors == torch.float16:
        return x_NK.to(factors).float() @ w_KM
    with _rounded_factors():
        return x_NK.float() @ w_KM
