"""The interpreter that kernels are tested in computes what the hardware would, bf16 as conftest mends it."""

import pytest
import torch
import triton
import triton.language as tl
from precision import relative_rms
from torch import Tensor
from triton.runtime.interpreter import InterpreterBuilder


@triton.jit
def dot(x_MK, y_KN, out_MN, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, k = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :], tl.arange(0, K)
    x = tl.load(x_MK + m * K + k[None, :])
    y = tl.load(y_KN + k[:, None] * N + n)
    tl.store(out_MN + m * N + n, tl.dot(x, y, input_precision="ieee"))


@triton.jit
def cast(x_N, out_N, N: tl.constexpr):
    n = tl.arange(0, N)
    tl.store(out_N + n, tl.load(x_N + n).to(out_N.dtype.element_ty))


@triton.jit
def arithmetic(x_N, y_N, out_N, N: tl.constexpr):
    n = tl.arange(0, N)
    x, y = tl.load(x_N + n, mask=n < N - 1, other=1.5), tl.load(y_N + n)
    z = tl.where(x > y, x + y, -x * y) - tl.maximum(x * 2.5, y).to(tl.bfloat16)
    tl.store(out_N + n, z + (x > 0).to(tl.bfloat16) + tl.full((N,), 0.75, tl.bfloat16))


@triton.jit
def added(x_N, y_N, out_N, N: tl.constexpr):
    n = tl.arange(0, N)
    tl.store(out_N + n, tl.load(x_N + n) + tl.load(y_N + n))


@triton.jit
def reduced(x_N, out_4, N: tl.constexpr):
    x = tl.load(x_N + tl.arange(0, N))
    tl.store(out_4, tl.sum(x, 0))
    tl.store(out_4 + 1, tl.max(x, 0))
    tl.store(out_4 + 2 + tl.arange(0, 2), tl.sum(tl.reshape(x, (2, N // 2)), 1))


@triton.jit
def power(x_N, out_N, N: tl.constexpr):
    n = tl.arange(0, N)
    tl.store(out_N + n, tl.exp2(tl.load(x_N + n)))


def poisoned(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


def a_dot() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x, y, out = torch.randn(16, 32).bfloat16(), torch.randn(32, 16).bfloat16(), poisoned(16, 16)
    dot[(1,)](x, y, out, 16, 16, 32)
    return out, x.double() @ y.double()


def a_cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    out = poisoned(len(x), dtype=dtype)
    cast[(1,)](x, out, len(x))
    return out


def ties_and_others() -> Tensor:
    """Halfway between bf16 neighbours (even below, even above), just off halfway, subnormal, overflowing."""
    halfway = [1 + 1 / 256, 1 + 3 / 256, -1 - 1 / 256, -1 - 3 / 256]
    off = [1 + 1 / 256 + 2**-23, 1 + 3 / 256 - 2**-23, 2 - 2**-23, -3.999999]
    ends = [0.0, -0.0, 1e-40, -1e-45, 3.4e38, float("inf"), float("-inf"), float("nan")]
    torch.manual_seed(1)
    return torch.cat([torch.tensor(halfway + off + ends), torch.randn(48) * 10.0 ** torch.arange(-24, 24)])


def bits(x: Tensor) -> list[int]:
    return x.nan_to_num(nan=1234.0).view(torch.int16).tolist()


def test_a_dot_of_bf16_multiplies_numbers() -> None:
    assert relative_rms(*a_dot()) < 1e-6


def test_fp32_is_rounded_to_the_nearest_even_bf16() -> None:
    x = ties_and_others()
    got = a_cast(x, torch.bfloat16)
    assert got[:4].tolist() == [1.0, 1 + 4 / 256, -1.0, -1 - 4 / 256]
    assert bits(got) == bits(x.bfloat16())
    assert got[15].isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32])
def test_casts_between_bf16_and_the_rest(dtype: torch.dtype) -> None:
    x = torch.arange(-128, 128).to(dtype) * 3
    assert torch.equal(a_cast(x, torch.bfloat16), x.bfloat16())
    back = torch.linspace(-99, 99, 256).bfloat16()
    out = torch.full((256,), 77, dtype=dtype)
    cast[(1,)](back, out, 256)
    assert torch.equal(out, back.to(dtype))
    assert torch.equal(a_cast(back, torch.float32), back.float())


def test_arithmetic_on_bf16_is_rounded_step_by_step_as_torch_does() -> None:
    torch.manual_seed(2)
    x, y = torch.randn(64).bfloat16(), torch.randn(64).bfloat16()
    out = poisoned(64, dtype=torch.bfloat16)
    arithmetic[(1,)](x, y, out, 64)
    x[-1] = 1.5  # `other` of a masked load
    want = torch.where(x > y, x + y, -x * y) - torch.maximum(x * 2.5, y)
    assert torch.equal(out, want + (x > 0).bfloat16() + 0.75)


def test_sums_and_maxima_of_bf16() -> None:
    torch.manual_seed(3)
    x, out = torch.randn(64).bfloat16(), poisoned(4)
    reduced[(1,)](x, out, 64)
    sums = torch.stack([x[:32].float().sum(), x[32:].float().sum()]).bfloat16()
    assert torch.equal(out, torch.stack([x.float().sum().bfloat16(), x.max(), *sums]).float())


def test_exp2_in_fp32() -> None:
    torch.set_flush_denormal(False)  # a run in this process, as of another test, flushes them
    x, out = torch.linspace(-140, 127, 256), poisoned(256)
    power[(1,)](x, out, 256)
    torch.testing.assert_close(out.double(), x.double().exp2(), rtol=2e-7, atol=1e-45)


def test_unmended_the_interpreter_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else these tests would show nothing, or the repair be needless with the Triton that is installed."""
    x = ties_and_others()
    for name in ("create_dot", "cast_impl", "binary_op"):
        original = getattr(InterpreterBuilder, name).__wrapped__
        monkeypatch.setattr(InterpreterBuilder, name, original)
    assert relative_rms(*a_dot()) > 1
    cut_off = a_cast(x, torch.bfloat16)
    assert cut_off[:4].tolist() == [1.0, 1 + 2 / 256, -1.0, -1 - 2 / 256]
    assert bits(cut_off) != bits(x.bfloat16())
    y, out = torch.ones(64).bfloat16(), poisoned(64, dtype=torch.bfloat16)
    added[(1,)](y, y, out, 64)
    assert not torch.equal(out, y + y)
