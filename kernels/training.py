"""What stands between the matrix products of a training step on a CPU, with gradients by hand.

autograd's own gradients of the same formulas take two to three times as many passes over memory, and a pass
costs a CPU about as much as the arithmetic of a small product. Each function here keeps only what its
gradient needs, adds in place where nobody else looks, and rounds once on the way out. All is in fp32 inside,
but for `swiglu`'s gradient, which is in the dtype of what it is the gradient of.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class _RmsNorm(torch.autograd.Function):
    """With r = (mean(x²) + eps)^-1/2, u = g·w and C columns: dx = r·u - x·r³·(u·x)/C."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        r = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight_C, r)
        return (x * r).mul_(weight_C).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_C, r = ctx.saved_tensors
        u = g.float() * weight_C
        along = (u * x).sum(-1, keepdim=True).mul_(r).mul_(r).mul_(r).div_(x.shape[-1])
        return u.mul_(r).addcmul_(x, along, value=-1), None, None, None


def rms_norm(x: Tensor, weight_C: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight in `dtype` (Zhang and Sennrich 2019); x fp32, weight frozen."""
    out: Tensor = _RmsNorm.apply(x, weight_C, eps, dtype)  # type: ignore[no-untyped-call]
    return out


class _Rotated(torch.autograd.Function):
    """x·cos + roll(x)·s, s the sines with the sign of their half. Its gradient turns the other way round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
        ctx.dtype = x.dtype
        ctx.save_for_backward(cos, signed_sin)
        return _turned(x, cos, signed_sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        cos, signed_sin = ctx.saved_tensors
        return _turned(g, cos, -signed_sin).to(ctx.dtype), None, None


def _turned(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    x = x.float()
    return torch.roll(x, x.shape[-1] // 2, -1).mul_(signed_sin).addcmul_(x, cos)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021) of [..., T, D] in fp32, as Hugging Face lays it out: halves turn
    against each other. cos, sin: fp32 [..., T, D], whose halves are equal."""
    first, second = sin.chunk(2, -1)
    out: Tensor = _Rotated.apply(x, cos, torch.cat([-first, second], -1))  # type: ignore[no-untyped-call]
    return out


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, -1)
        # Of fp32 `float` is no copy, and what was given must stay.
        silu = F.silu(gate) if gate.dtype == torch.float32 else F.silu(gate.float(), inplace=True)
        return silu.mul_(up).to(gate_up.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        d_gate_up = torch.empty_like(gate_up)
        d_gate, d_up = d_gate_up.chunk(2, -1)
        torch.mul(F.silu(gate), g, out=d_up)
        d_gate.copy_(torch.ops.aten.silu_backward(g * up, gate))
        return d_gate_up


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, [..., I] of gate and up beside each other [..., 2·I] (Shazeer 2020)."""
    out: Tensor = _SwiGLU.apply(gate_up)  # type: ignore[no-untyped-call]
    return out


class _LowRankLinear(torch.autograd.Function):
    """One product into another's sums, forward and backward; none for the weight's gradient."""

    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
        low_NR = F.linear(x_NC, a)
        ctx.save_for_backward(x_NC, weight, a, b, low_NR)
        return F.linear(x_NC, weight, bias).addmm_(low_NR, b.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_NE: Tensor) -> tuple[Tensor | None, ...]:
        x_NC, weight, a, b, low_NR = ctx.saved_tensors
        d_low_NR = g_NE @ b
        d_x = (g_NE @ weight).addmm_(d_low_NR, a) if ctx.needs_input_grad[0] else None
        return d_x, None, None, d_low_NR.T @ x_NC, g_NE.T @ low_NR


def low_rank_linear(x_NC: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """x W^T + bias + (x A^T) B^T with gradients of x, A [R, C] and B [E, R]; weight [E, C] is frozen."""
    out: Tensor = _LowRankLinear.apply(x_NC, weight, bias, a, b)  # type: ignore[no-untyped-call]
    return out
