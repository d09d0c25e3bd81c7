"""Log-probability and entropy of tokens, of logits or, without ever holding all logits, of hidden states.

With z = logits / temperature, lse = log Σ exp(z), p = exp(z - lse):

    log p_t = z_t - lse                        d log p_t / dz_j = [j = t] - p_j
    H       = -Σ p log p = lse - Σ p z         dH / dz_j        = -p_j (log p_j + H)

so upstream gradients g of log p_t and e of H give dz_j = g [j = t] - p_j (g + e (log p_j + H)). The softmax
is taken online (Milakov and Gimelshein 2018); the logits are made a chunk of rows at a time, and made again
for the backward pass, as in Cut Your Losses (Wijmans et al. 2024) and the fused linear cross-entropy of
Liger-Kernel (Hsu et al. 2024). Here gradients wait for the backward pass, since log p_t and H go into any
loss, and flow back through both.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from shuhari.kernels import dispatch
from shuhari.kernels.dispatch import Implementation
from shuhari.kernels.products import wide_product

CHUNK = 1 << 25  # logits held at once: 128 MiB of fp32
WIDE = 1 << 13  # tokens of a vocabulary from which on a CPU takes its rows few at a time
IN_CACHE = 1 << 18  # logits of so many rows: 1 MiB of fp32


def token_logprobs(logits_NV: Tensor, targets_N: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, both [N], in nats, in fp32."""
    logprobs_NV = (logits_NV.float() / temperature).log_softmax(-1)
    entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(-1)
    return logprobs_NV.gather(-1, targets_N[:, None]).squeeze(-1), entropy_N


class Rows(Protocol):
    """An implementation for one chunk of logits; all [N] in fp32 (fp64 of fp64)."""

    def forward(
        self, logits_NV: Tensor, targets_N: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of the targets, entropies and lse."""
        ...

    def backward(
        self,
        logits_NV: Tensor,
        targets_N: Tensor,
        temperature: float,
        lse_N: Tensor,
        entropy_N: Tensor,
        d_logprobs_N: Tensor | None,
        d_entropy_N: Tensor | None,
        keep: bool,
    ) -> Tensor:
        """d logits, in the logits' dtype; unless `keep`, in their place."""
        ...


class Plain:
    """The definition. A wide vocabulary's rows are taken few at a time on a CPU: their passes then run in its
    caches. A row's bits do not depend on the others."""

    def forward(
        self, logits_NV: Tensor, targets_N: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        parts = [
            self._forward(logits, targets, temperature)
            for logits, targets in _chunks(_rows_at_once(logits_NV), logits_NV, targets_N)
        ]
        logprobs_N, entropy_N, lse_N = (
            torch.cat(x) if len(x) > 1 else x[0] for x in zip(*parts, strict=True)
        )
        return logprobs_N, entropy_N, lse_N

    def _forward(
        self, logits_NV: Tensor, targets_N: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        z_NV = _wide(logits_NV, temperature)
        top_N1 = z_NV.amax(-1, keepdim=True)
        below_NV = z_NV - top_N1
        e_NV = below_NV.exp()
        sum_N = e_NV.sum(-1)
        log_sum_N = sum_N.log()
        logprobs_N = below_NV.gather(-1, targets_N[:, None])[:, 0] - log_sum_N
        entropy_N = log_sum_N - e_NV.mul_(below_NV).sum(-1) / sum_N
        return logprobs_N, entropy_N, top_N1[:, 0] + log_sum_N

    def backward(
        self,
        logits_NV: Tensor,
        targets_N: Tensor,
        temperature: float,
        lse_N: Tensor,
        entropy_N: Tensor,
        d_logprobs_N: Tensor | None,
        d_entropy_N: Tensor | None,
        keep: bool,
    ) -> Tensor:
        step, given = _rows_at_once(logits_NV), (targets_N, lse_N, entropy_N, d_logprobs_N, d_entropy_N)
        if len(logits_NV) <= step:
            return self._backward(logits_NV, temperature, *given)
        d_logits_NV = torch.empty_like(logits_NV) if keep else logits_NV
        for d_logits, logits, *rest in _chunks(step, d_logits_NV, logits_NV, *given):
            d_logits.copy_(self._backward(logits, temperature, *rest))
        return d_logits_NV

    def _backward(
        self,
        logits_NV: Tensor,
        temperature: float,
        targets_N: Tensor,
        lse_N: Tensor,
        entropy_N: Tensor,
        d_logprobs_N: Tensor | None,
        d_entropy_N: Tensor | None,
    ) -> Tensor:
        logp_NV = _wide(logits_NV, temperature) - lse_N[:, None]
        d_NV = logp_NV.exp()
        if d_entropy_N is not None:
            factor_NV = logp_NV.add_(entropy_N[:, None]).mul_(-d_entropy_N[:, None] / temperature)
            d_NV.mul_(
                factor_NV if d_logprobs_N is None else factor_NV.sub_(d_logprobs_N[:, None] / temperature)
            )
        elif d_logprobs_N is not None:
            d_NV.mul_(-d_logprobs_N[:, None] / temperature)
        if d_logprobs_N is not None:
            d_NV.scatter_add_(-1, targets_N[:, None], d_logprobs_N[:, None] / temperature)
        return d_NV.to(logits_NV.dtype)


def _rows_at_once(logits_NV: Tensor) -> int:
    """Rows whose passes are made together."""
    N, V = logits_NV.shape
    return N or 1 if V < WIDE or logits_NV.device.type != "cpu" else max(1, IN_CACHE // V)


def _wide(logits_NV: Tensor, temperature: float) -> Tensor:
    """z, in fp32 at least."""
    z_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    return z_NV if temperature == 1 else z_NV / temperature


def _rows(implementation: Implementation) -> Rows:
    if implementation == "plain":
        return Plain()
    from shuhari.kernels.gpu import logprobs as gpu

    fused: Rows = gpu.Fused()
    return fused


def _logits(h_NC: Tensor, head_VC: Tensor) -> Tensor:
    """In fp32 also of 16-bit factors: what a sampler's logits are, too."""
    return wide_product(h_NC, head_VC.T, h_NC.dtype)


class _LinearLogprobs(torch.autograd.Function):
    """Keeps the logits where they are one chunk, else makes them again."""

    @staticmethod
    def forward(
        ctx: Any, h_NC: Tensor, head_VC: Tensor, targets_N: Tensor, temperature: float, step: int, rows: Rows
    ) -> tuple[Tensor, Tensor]:
        logits_NV = _logits(h_NC, head_VC) if len(h_NC) <= step else None
        parts = [
            rows.forward(_logits(h, head_VC) if logits_NV is None else logits_NV, targets, temperature)
            for h, targets in _chunks(step, h_NC, targets_N)
        ]
        logprobs_N, entropy_N, lse_N = (
            x[0] if len(x) == 1 else torch.cat(x) for x in zip(*parts, strict=True)
        )
        ctx.save_for_backward(h_NC, head_VC, targets_N, logits_NV, lse_N, entropy_N)
        ctx.temperature, ctx.step, ctx.rows = temperature, step, rows
        ctx.set_materialize_grads(False)
        return logprobs_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_logprobs_N: Tensor | None, d_entropy_N: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        h_NC, head_VC, targets_N, logits_NV, lse_N, entropy_N = ctx.saved_tensors
        if d_logprobs_N is None and d_entropy_N is None:
            return (None,) * 6
        d_h_NC = torch.empty_like(h_NC) if ctx.needs_input_grad[0] else None
        d_head_VC: Tensor | None = None
        parts = _chunks(ctx.step, h_NC, targets_N, lse_N, entropy_N, d_logprobs_N, d_entropy_N, d_h_NC)
        for h, targets, lse, entropy, d_logprobs, d_entropy, d_h in parts:
            logits = _logits(h, head_VC) if logits_NV is None else logits_NV
            keep = logits_NV is not None
            given = (lse, entropy, d_logprobs, d_entropy, keep)
            d_logits = ctx.rows.backward(logits, targets, ctx.temperature, *given).to(head_VC.dtype)
            if d_h is not None:
                if h.dtype == head_VC.dtype:
                    torch.mm(d_logits, head_VC, out=d_h)
                else:
                    d_h.copy_(wide_product(d_logits, head_VC, h.dtype))
            if ctx.needs_input_grad[1]:
                part_VC = d_logits.T @ h.to(d_logits.dtype)
                if keep:
                    d_head_VC = part_VC
                else:  # many sums of few rows each: not in 16 bits
                    d_head_VC = part_VC.to(lse.dtype) if d_head_VC is None else d_head_VC.add_(part_VC)
        if d_head_VC is not None:
            d_head_VC = d_head_VC.to(head_VC.dtype)
        return d_h_NC, d_head_VC, None, None, None, None


def _chunks(step: int, *tensors: Tensor | None) -> Iterator[list[Any]]:
    """`step` rows of each at a time; once at least."""
    first = tensors[0]
    assert first is not None
    for i in range(0, max(len(first), 1), step):
        yield [None if x is None else x[i : i + step] for x in tensors]


def linear_logprobs(
    h_NC: Tensor,
    head_VC: Tensor,
    targets_N: Tensor,
    temperature: float = 1.0,
    chunk: int = CHUNK,
    implementation: Implementation | None = None,
) -> tuple[Tensor, Tensor]:
    """`token_logprobs(h @ head^T, targets, temperature)`, holding `chunk` logits at most (or one row's).

    Both [N], in nats, in fp32 (fp64 of fp64). Differentiable once, through both, in h and head. The logits of
    16-bit factors are fp32 on CUDA, and on a CPU where the head holds its 16-bit numbers in fp32; else they
    take the factors' dtype. All after them is fp32.

    FLOPs: 2·N·V·C forward, and as many each for h's gradient, for head's, and for making the logits again
    where they are more than `chunk`. Bytes, beside those products' own: "triton" reads the logits once
    forward, and reads and writes them once backward.

    targets_N: int64 in [0, V)
    Raises ValueError where the temperature is not above 0, or "triton" is asked for and cannot run (it takes
    no fp64).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    name = dispatch.choose(implementation, h_NC.device)
    if name == "triton" and h_NC.dtype == torch.float64:
        raise ValueError("implementation 'triton' takes fp32, fp16 and bf16, not fp64")
    rows = _rows(name)
    step = max(1, chunk // len(head_VC))
    given = (h_NC, head_VC, targets_N, temperature, step, rows)
    out: tuple[Tensor, Tensor] = _LinearLogprobs.apply(*given)  # type: ignore[no-untyped-call]
    return out
