"""The training step's operations against autograd of their definitions in fp64."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from precision import relative_rms
from torch import Tensor

from shuhari.kernels import logprobs, training
from shuhari.kernels.products import wide_product

WITHIN = {torch.float32: 2e-6, torch.bfloat16: 8e-3}


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def halves(T: int, D: int) -> Tensor:
    """A table whose halves are equal."""
    return torch.rand(T, D // 2).repeat(1, 2)


def low_rank(x: Tensor, w: Tensor, bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return F.linear(x, w, bias) + x @ a.T @ b.T


def cases(
    dtype: torch.dtype,
) -> list[tuple[str, Callable[..., Tensor], Callable[..., Tensor], Sequence[Tensor], int]]:
    """Name, ours, the definition, its arguments, and how many of the first have a gradient or are frozen."""
    torch.manual_seed(0)
    x, weight, cos, sin = torch.randn(3, 5, 8) * 3, torch.rand(8), halves(5, 8), halves(5, 8)
    linear = [torch.randn(shape).to(dtype) for shape in ((7, 6), (5, 6), (5,), (2, 6), (5, 2))]
    return [
        (
            "norm",
            lambda x, w: training.rms_norm(x, w, 1e-3, dtype),
            lambda x, w: F.rms_norm(x, (8,), w, 1e-3),
            [x, weight],
            1,
        ),
        ("rotate", training.rotate, turned, [x.to(dtype), cos, sin], 1),
        ("swiglu", training.swiglu, lambda x: F.silu(x[..., :4]) * x[..., 4:], [x.to(dtype)], 1),
        ("linear", training.low_rank_linear, low_rank, linear, 5),
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("dtype", list(WITHIN))
def test_values_and_gradients(dtype: torch.dtype, number: int) -> None:
    name, ours, definition, given, n = cases(dtype)[number]
    wanted = [i for i in range(n) if not (name == "linear" and i in (1, 2))]  # weight and bias are frozen
    found = []
    for function, kind in ((ours, None), (definition, torch.float64)):
        arguments = [x.detach().clone() if kind is None else x.double() for x in given]
        for i in wanted:
            arguments[i].requires_grad_()
        out = function(*arguments)
        up = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
        found.append((out, *torch.autograd.grad((out * up).sum(), [arguments[i] for i in wanted])))
    for got, want in zip(*found, strict=True):
        assert relative_rms(got.detach(), want.detach()) < WITHIN[dtype]


def test_what_is_given_stays() -> None:
    for _, ours, _, given, _ in cases(torch.float32):
        before = [x.clone() for x in given]
        x = given[0].requires_grad_()
        ours(*given).sum().backward()
        assert x.grad is not None
        for a, b in zip(given, before, strict=True):
            assert torch.equal(a, b)


def test_a_wide_vocabularys_rows_a_few_at_a_time_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(9, 40) * 4, torch.randint(40, (9,))
    d_logprobs, d_entropy, found, sizes = torch.rand(9), torch.rand(9), [], []
    forward = logprobs.Plain._forward
    monkeypatch.setattr(
        logprobs.Plain, "_forward", lambda self, x, *rest: sizes.append(len(x)) or forward(self, x, *rest)
    )
    for wide in (10**6, 1):
        monkeypatch.setattr(logprobs, "WIDE", wide)
        monkeypatch.setattr(logprobs, "IN_CACHE", 2 * 40 + 1)
        plain = logprobs.Plain()
        logps, entropy, lse = plain.forward(logits, targets, 0.7)
        for keep in (True, False):
            z = logits.clone()
            d = plain.backward(z, targets, 0.7, lse, entropy, d_logprobs, d_entropy, keep)
            assert torch.equal(z, logits) or not keep
            found.append((logps, entropy, lse, d))
    assert sizes == [9, 2, 2, 2, 2, 1]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_a_product_of_16_bit_numbers_has_fp32_sums() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(70, 96), torch.randn(96, 130).bfloat16()
    exact = x.bfloat16().double() @ w.double()
    kept = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    assert relative_rms(wide_product(x, w.float(), torch.bfloat16), exact) < 2e-6 or not amx()
    assert relative_rms(wide_product(x.bfloat16(), w.float(), torch.bfloat16), exact) < 2e-6
    assert (
        relative_rms(wide_product(x, w, torch.bfloat16), exact) > 1e-4
    )  # rounded sums, where w is in 16 bits
    assert relative_rms(wide_product(x, w.float(), torch.float32), x.double() @ w.double()) < 2e-6
    assert torch.backends.mkldnn.matmul.fp32_precision == kept  # type: ignore[attr-defined]


def amx() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
