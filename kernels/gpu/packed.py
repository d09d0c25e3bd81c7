"""Packed attention as an autograd function: `packed_forward` and `packed_backward` joined."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from shuhari.kernels.gpu.launch import DTYPES
from shuhari.kernels.gpu.packed_backward import SHARE, backward
from shuhari.kernels.gpu.packed_forward import Blocks, forward
from shuhari.kernels.packed import Segments


class Given(NamedTuple):
    """Launch configurations other than the shipped ones, for tests and measurements."""

    forward: Blocks | None = None
    for_queries: Blocks | None = None
    for_keys: Blocks | None = None
    share: int = SHARE


class _Attention(torch.autograd.Function):
    """Keeps q, k, v, o and the log-sum-exps, 4·H·N bytes."""

    @staticmethod
    def forward(
        ctx: Any, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, given: Given
    ) -> Tensor:
        o_NHD, lse_HN = forward(q_NHD, k_NHD, v_NHD, segments, given.forward)
        ctx.save_for_backward(q_NHD, k_NHD, v_NHD, o_NHD, lse_HN)
        ctx.segments, ctx.given = segments, given
        return o_NHD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o_NHD: Tensor) -> tuple[Tensor | None, ...]:
        gradients = backward(*ctx.saved_tensors, d_o_NHD, ctx.segments, *ctx.given[1:])
        return *gradients, None, None


def attention(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, given: Given | None = None
) -> Tensor:
    """`shuhari.kernels.packed.packed_attention` on one GPU, in fp32, fp16 or bf16, differentiable once.

    Strided inputs, such as parts of a fused projection, are read where they stand if D is contiguous and the
    other strides are multiples of 8, else copied. The first call with some `segments` makes their tables;
    nothing waits for the device. Raises ValueError where D is no multiple of 8 or above 256, or the dtype is
    another.
    """
    D = q_NHD.shape[2]
    if D % 8 or not 8 <= D <= 256:
        raise ValueError(
            f"implementation 'triton' takes head dims that are multiples of 8 up to 256, not {D}"
        )
    if q_NHD.dtype not in DTYPES:
        raise ValueError(f"implementation 'triton' takes fp32, fp16 and bf16, not {q_NHD.dtype}")
    o_NHD: Tensor = _Attention.apply(q_NHD, k_NHD, v_NHD, segments, given or Given())
    return o_NHD
