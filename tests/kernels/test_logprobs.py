"""linear_logprobs against token_logprobs of all logits: values, both gradients, memory."""

from typing import Any

import pytest
import torch
from precision import relative_rms
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from shuhari.kernels import logprobs
from shuhari.kernels.logprobs import linear_logprobs, token_logprobs


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes, views of what was there aside."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        made = result if isinstance(result, (tuple, list)) else [result]
        self.elements = max([self.elements, *(x.numel() for x in made if isinstance(x, Tensor))])
        return result


def case(N: int, V: int, C: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(N + V + C)
    h, head = torch.randn(N, C, dtype=dtype), torch.randn(V, C, dtype=dtype) * (2 / C**0.5)
    return h.requires_grad_(), head.requires_grad_(), torch.randint(V, (N,))


def exact(h: Tensor, head: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """token_logprobs in fp64."""
    logp = ((h @ head.T) / temperature).log_softmax(-1)
    return logp.gather(-1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 40, 10**6])
@pytest.mark.parametrize(("N", "V", "C"), [(1, 1, 3), (7, 11, 5), (13, 37, 8), (0, 5, 4)])
def test_values_and_gradients_in_fp64(N: int, V: int, C: int, chunk: int, temperature: float) -> None:
    h, head, targets = case(N, V, C)
    got = linear_logprobs(h, head, targets, temperature, chunk, "plain")
    want = exact(h, head, targets, temperature)
    up = torch.randn(2, N, dtype=torch.float64)
    for weights in ((1, 1), (1, 0), (0, 1)):
        sums = [
            sum((x * u).sum() for x, u, w in zip(pair, up, weights, strict=True) if w) for pair in (got, want)
        ]
        gradients = [torch.autograd.grad(x, (h, head), retain_graph=True) for x in sums]  # type: ignore[arg-type]
        torch.testing.assert_close(*gradients)
    torch.testing.assert_close(got, want)
    assert got[0].dtype == torch.float64


@pytest.mark.parametrize("chunk", [40, 10**6])
def test_gradients_by_finite_differences(chunk: int) -> None:
    h, head, targets = case(5, 9, 3)
    assert torch.autograd.gradcheck(lambda *x: linear_logprobs(*x, targets, 1.3, chunk), (h, head))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk", [70, 10**6])
def test_it_is_token_logprobs_in_the_models_dtype(dtype: torch.dtype, chunk: int) -> None:
    h, head, targets = case(9, 33, 16, dtype)
    got, want = linear_logprobs(h, head, targets, 0.9, chunk), token_logprobs(h @ head.T, targets, 0.9)
    torch.testing.assert_close(got, want)
    gradients = [torch.autograd.grad(x.sum() - e.sum(), (h, head)) for x, e in (got, want)]
    for x, y in zip(*gradients, strict=True):
        assert x.dtype == dtype
        assert relative_rms(x, y) < (2e-6 if dtype == torch.float32 else 1e-2)


def test_only_what_is_asked_for_is_computed() -> None:
    h, head, targets = case(6, 10, 4)
    frozen = linear_logprobs(h, head.detach(), targets, chunk=20)[0].sum()
    (d_h,) = torch.autograd.grad(frozen, (h,))
    torch.testing.assert_close(d_h, torch.autograd.grad(exact(h, head, targets, 1.0)[0].sum(), (h,))[0])
    only_head = linear_logprobs(h.detach(), head, targets, chunk=20)[1].sum()
    (d_head,) = torch.autograd.grad(only_head, (head,))
    torch.testing.assert_close(d_head, torch.autograd.grad(exact(h, head, targets, 1.0)[1].sum(), (head,))[0])
    with torch.no_grad():
        assert not linear_logprobs(h, head, targets)[0].requires_grad


def test_nothing_as_big_as_all_logits_is_made() -> None:
    """Measured, and the measure is shown to see the direct way's logits."""
    N, V, C, rows = 64, 50, 8, 6
    h, head, targets = case(N, V, C, torch.float32)
    with Largest() as direct:
        token_logprobs(h @ head.T, targets)[0].sum().backward()
    assert direct.elements == N * V
    with Largest() as chunked:
        logps, entropies = linear_logprobs(h, head, targets, chunk=rows * V + V - 1)
    assert chunked.elements == max(rows * V, V * C) < N * V
    with Largest() as backward:
        (logps.sum() + entropies.sum()).backward()
    assert backward.elements == max(rows * V, V * C, N * C) < N * V
    h, head, targets = case(1, V, C, torch.float32)
    linear_logprobs(h, head, targets, chunk=1)  # one row at least


def test_at_and_below_the_bound_logits_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = logprobs.Plain.forward

    def counted(self: Any, logits: Tensor, *rest: Any) -> Any:
        calls.append(len(logits))
        return forward(self, logits, *rest)

    monkeypatch.setattr(logprobs.Plain, "forward", counted)
    h, head, targets = case(6, 10, 4)
    for chunk, want in ((60, [6]), (59, [5, 1])):
        calls.clear()
        with Largest() as seen:
            linear_logprobs(h, head, targets, chunk=chunk)[0].sum().backward()
        assert calls == want
        assert seen.elements == 10 * want[0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        linear_logprobs(*case(2, 3, 4), temperature)


def test_an_implementation_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = case(2, 3, 4, torch.float32)
    with pytest.raises(ValueError, match="no implementation 'fast'"):
        linear_logprobs(*arguments, implementation="fast")  # type: ignore[arg-type]
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match="runs on CUDA tensors, not on cpu"):
        linear_logprobs(*arguments, implementation="triton")
