"""The fused log-probabilities in the interpreter, held to fp64; mutants show that the comparison sees."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from mutants import mutant
from precision import TOLERANCE, relative_rms
from torch import Tensor

from shuhari.kernels import logprobs as rule
from shuhari.kernels.gpu import logprobs as gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [
    (1, 1),
    (3, 2),
    (5, 101),
    (4, 127),
    (3, 128),
    (2, 129),
    (3, 5000),
    (2, 8192),
    (2, 8193),
    (1, 20_000),
]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a kernel does not write is not a number."""
    empty, like = torch.empty, torch.empty_like
    for name, original in (("empty", empty), ("empty_like", like)):
        monkeypatch.setattr(torch, name, lambda *a, original=original, **k: nan_if_float(original(*a, **k)))


def nan_if_float(x: Tensor) -> Tensor:
    return x.fill_(float("nan")) if x.is_floating_point() else x


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels launched."""
    seen: list[str] = []
    for name in ("forward_kernel", "backward_kernel"):
        kernel = getattr(gpu, name)
        monkeypatch.setattr(gpu, name, Counted(kernel, name, seen))
    return seen


class Counted:
    def __init__(self, kernel: Any, name: str, seen: list[str]) -> None:
        self.kernel, self.name, self.seen = kernel, name, seen

    def __getitem__(self, grid: Any) -> Any:
        self.seen.append(self.name)
        return self.kernel[grid]


def case(N: int, V: int, dtype: torch.dtype, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits that rise, so that maxima are met late, the highest at the very end."""
    torch.manual_seed(N + V)
    logits = torch.randn(N, V) * spread + torch.linspace(0, 2, V)
    logits[:, -1] = logits.amax(-1) + 1
    return logits.to(dtype), torch.randint(V, (N,))


def forward_exact(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    z = logits.double() / temperature
    logp = z.log_softmax(-1)
    p = logp.exp()
    entropy = -torch.where(p > 0, p * logp, 0.0).sum(-1)
    return logp.gather(-1, targets[:, None])[:, 0], entropy, z.logsumexp(-1)


def backward_exact(logits: Tensor, targets: Tensor, temperature: float, ups: list[Tensor | None]) -> Tensor:
    z = logits.double().requires_grad_()
    logp, entropy, _ = forward_exact(z, targets, temperature)
    total = sum((x * u.double()).sum() for x, u in zip((logp, entropy), ups, strict=True) if u is not None)
    assert isinstance(total, Tensor)
    return torch.autograd.grad(total, z)[0]


def close(got: Tensor, want: Tensor, tolerance: float = 2e-6) -> bool:
    """By the size of the whole: an entropy of 0 or a log-probability near 0 has no relative error."""
    scale = want.double().square().mean().sqrt().clamp(min=0.1)
    error = (got.double() - want.double()).square().mean().sqrt()
    return got.shape == want.shape and bool(error <= tolerance * scale)


def forward_is_right(module: ModuleType, N: int, V: int, dtype: torch.dtype, temperature: float) -> bool:
    logits, targets = case(N, V, dtype)
    got = module.Fused().forward(logits, targets, temperature)
    return all(map(close, got, forward_exact(logits, targets, temperature)))


def backward_is_right(
    module: ModuleType, N: int, V: int, dtype: torch.dtype, temperature: float, has: str, keep: bool = False
) -> bool:
    logits, targets = case(N, V, dtype)
    torch.manual_seed(0)
    ups = [torch.randn(N) if x in has else None for x in "ge"]
    want = backward_exact(logits, targets, temperature, ups)
    _, entropy, lse = (x.float() for x in forward_exact(logits, targets, temperature))
    before = logits.clone()
    got = module.Fused().backward(logits, targets, temperature, lse, entropy, *ups, keep)
    in_place = got.data_ptr() == logits.data_ptr()
    if keep == in_place or (keep and not torch.equal(logits, before)):
        return False
    if V == 1:  # exactly 0, but for rounding of lse
        return close(got, want, 1e-5)
    return got.dtype == dtype and relative_rms(got, want) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "V"), SHAPES)
def test_forward(N: int, V: int, dtype: torch.dtype, launches: list[str]) -> None:
    assert forward_is_right(gpu, N, V, dtype, 0.8)
    assert launches == ["forward_kernel"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "V"), SHAPES)
def test_backward_in_place(N: int, V: int, dtype: torch.dtype, launches: list[str]) -> None:
    assert backward_is_right(gpu, N, V, dtype, 0.8, "ge")
    assert launches == ["backward_kernel"]


@pytest.mark.parametrize("has", ["g", "e", "ge"])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_backward_of_one_or_both(has: str, keep: bool, temperature: float) -> None:
    assert backward_is_right(gpu, 3, 301, torch.float32, temperature, has, keep)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [45 * 2, 10**6])
def test_through_the_chooser(dtype: torch.dtype, chunk: int, launches: list[str]) -> None:
    """The autograd function with this implementation, chunked and not, beside the plain one."""
    torch.manual_seed(1)
    h, head = torch.randn(5, 16).to(dtype).requires_grad_(), torch.randn(45, 16).to(dtype).requires_grad_()
    targets = torch.randint(45, (5,))
    found = []
    for implementation in ("triton", "plain"):
        logps, entropies = rule.linear_logprobs(h, head, targets, 0.9, chunk, implementation)  # type: ignore[arg-type]
        found.append([logps, entropies, *torch.autograd.grad((logps - 0.3 * entropies).sum(), (h, head))])
    for got, want in zip(*found, strict=True):
        assert got.dtype == want.dtype
        assert relative_rms(got.detach(), want.detach()) <= TOLERANCE[dtype]
    passes = 1 if chunk > 1000 else 3
    assert launches == ["forward_kernel"] * passes + ["backward_kernel"] * passes


def test_no_rows() -> None:
    logits, targets = torch.empty(0, 7), torch.empty(0, dtype=torch.long)
    empty = gpu.Fused().forward(logits, targets, 1.0)
    assert [x.shape for x in empty] == [(0,)] * 3
    assert gpu.Fused().backward(logits, targets, 1.0, *empty, empty[0], False).shape == (0, 7)


def test_rows_that_are_far_apart_or_lack_tokens() -> None:
    """Logits of 10^4 beside -10^4, of -inf for a whole block, and a NaN, which stays in its row."""
    logits, targets = case(4, 9000, torch.float32)
    logits[0, 3], logits[0, 4] = 1e4, -1e4
    logits[1, :8192] = -torch.inf
    logits[2, 8999] = torch.nan
    targets[:] = torch.tensor([3, 8500, 1, 2])
    got = gpu.Fused().forward(logits, targets, 1.0)
    for x, y in zip(got, forward_exact(logits, targets, 1.0), strict=True):
        assert x[2].isnan()
        assert close(x[[0, 1, 3]], y[[0, 1, 3]], 1e-5)


def test_a_target_outside_the_vocabulary_is_not_a_number() -> None:
    logits, _ = case(3, 10, torch.float32)
    logps, entropies, _ = gpu.Fused().forward(logits, torch.tensor([-100, 3, 10]), 1.0)
    assert logps.isnan().tolist() == [True, False, True]
    assert entropies.isfinite().all()


def test_fp64_is_refused() -> None:
    h = torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="not fp64"):
        rule.linear_logprobs(h, h, torch.zeros(2, dtype=torch.long), implementation="triton")


FORWARD_MUTANTS = [
    ("valid_B = start + v_B < V", "valid_B = start + v_B < V - 1"),
    ("s = s * fade + tl.sum(e_B, 0)", "s = s + tl.sum(e_B, 0)"),
    ("fade * (t + s * shrink)", "fade * t"),
    ("log2_s - t / s * scale", "log2_s - t / s"),
    ("for start in range(0, V, BLOCK):", "for start in range(0, V - 1, BLOCK):"),
    ("    m = tl.full((), LOWEST, tl.float32)", "    m = tl.full((), 0.0, tl.float32)"),
]
BACKWARD_MUTANTS = [
    ("d_B += tl.where(v_B == tl.load(targets_N + n), g, 0.0) - p_B * g", "d_B -= p_B * g"),
    ("(log2_p_B * LN2 + tl.load(entropy_N + n))", "(log2_p_B * LN2)"),
    ("(log2_p_B * LN2 + tl", "(log2_p_B + tl"),
    ("(d_B * d_scale).to", "d_B.to"),
    ("v_B = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)", "v_B = tl.arange(0, BLOCK)"),
    ("valid_B = v_B < V", "valid_B = v_B < V - 1"),
]


@pytest.mark.parametrize(("old", "new"), FORWARD_MUTANTS)
def test_forward_mutants_are_caught(old: str, new: str, tmp_path: Path) -> None:
    broken = mutant(gpu, old, new, tmp_path)
    cases = [(2, 8193), (1, 1), (3, 5000)]
    if "0.0, tl.float32" in new:  # a maximum that starts at 0 harms only rows far below it
        assert not far_below_is_right(broken)
        assert far_below_is_right(gpu)
        return
    assert not all(forward_is_right(broken, N, V, torch.float32, 0.8) for N, V in cases)
    assert all(forward_is_right(gpu, N, V, torch.float32, 0.8) for N, V in cases)


def far_below_is_right(module: ModuleType) -> bool:
    logits, targets = case(2, 50, torch.float32)
    logits = logits - 500
    with np.errstate(all="ignore"):  # the mutant's
        got = module.Fused().forward(logits, targets, 1.0)
    return all(close(x, y, 1e-5) for x, y in zip(got, forward_exact(logits, targets, 1.0), strict=True))


@pytest.mark.parametrize(("old", "new"), BACKWARD_MUTANTS)
def test_backward_mutants_are_caught(old: str, new: str, tmp_path: Path) -> None:
    broken = mutant(gpu, old, new, tmp_path)
    assert not backward_is_right(broken, 2, 8193, torch.float32, 0.8, "ge", True)
    assert backward_is_right(gpu, 2, 8193, torch.float32, 0.8, "ge", True)


def test_every_launch_is_shipped() -> None:
    """Of every vocabulary, and with every set of gradients."""
    shipped = {(x.constants["BLOCK"], x.num_warps) for x in gpu.shipped()}
    assert shipped == {gpu.blocks(V) for V in [*range(1, 10_000), 50_257, 128_256, 151_936, 262_144]}
    flags = {(x.constants.get("HAS_LOGPROBS"), x.constants.get("HAS_ENTROPY")) for x in gpu.shipped()}
    assert flags == {(None, None), (True, False), (False, True), (True, True)}
