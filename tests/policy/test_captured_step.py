"""The step that a GPU captures, without a GPU: torch makes shapes only, and kernels are not launched.

FakeTensorMode raises where a result's shape depends on data and where a number is asked for; a copy between
host and device it would let pass, so every tensor of every operation is looked at too.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shuhari.kernels.reads import Reads, plan
from shuhari.policy.inference import captured_step
from shuhari.policy.model import llama

triton = pytest.importorskip("triton")
C, D, H, HKV, WIDE, V, R, LAYERS, POSITIONS = 256, 64, 14, 2, 512, 5000, 16, 2, 4096
LAUNCHES = ["norm_kernel", "rotate_kernel", "split_kernel", "merge_kernel", "norm_kernel", "swiglu_kernel"]


class OnTheDevice(TorchDispatchMode):
    """Raises where an operation reads or makes a tensor of the host's."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        if elsewhere := {x.device.type for x in tensors} - {"cuda"}:
            raise AssertionError(f"{func} of a step has tensors on {elsewhere}")
        return out


class Copies(TorchFunctionMode):
    """`copy_`, which a build of torch without CUDA refuses even of shapes alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not Tensor.copy_:
            return func(*args, **(kwargs or {}))
        to, source = args
        assert (to.device.type, to.shape) == (source.device.type, source.shape)
        return to


def weights(norms: bool, bias: bool, window: int | None) -> llama.Weights:
    """A model of two layers with an adapter, all on the device; the second has the window."""

    def made(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device="cuda")

    def projection(out: int, width: int, bias: bool = False) -> llama.Projection:
        return llama.Projection(made(out, width), made(out) if bias else None, (made(R, width), made(out, R)))

    def norm(n: int) -> Tensor:
        return made(n, dtype=torch.float32)

    layers = [
        llama.Layer(
            norm1=norm(C),
            qkv=projection((H + 2 * HKV) * D, C, bias),
            q_norm=norm(D) if norms else None,
            k_norm=norm(D) if norms else None,
            out=projection(C, H * D),
            norm2=norm(C),
            gate_up=projection(2 * WIDE, C),
            down=projection(C, WIDE),
            window=window if layer else None,
        )
        for layer in range(LAYERS)
    ]
    tables = (made(POSITIONS, D, dtype=torch.float32), made(POSITIONS, D, dtype=torch.float32))
    return llama.Weights(made(V, C), layers, norm(C), made(V, C), *tables, H, HKV, 1e-6, torch.bfloat16)


@pytest.mark.parametrize(("norms", "window"), [(False, None), (True, None), (True, 40)])
def test_a_step_and_its_sampling_ask_the_device_nothing(
    norms: bool, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []

    def launch(kernel: Any, grid: Any) -> Any:
        return lambda *args, **options: launched.append(kernel.fn.__name__)

    monkeypatch.setattr(triton.runtime.jit.KernelInterface, "__getitem__", launch)
    monkeypatch.setattr(captured_step, "_captured", lambda step, device, memory: step)
    monkeypatch.setattr(Reads, "to", lambda reads, device: reads)
    # 19 rows of three prompts, one of them shared by several tiles of rows; the last rows are not in use.
    groups, own = [0] * 14 + [1, 2, 2, -1, -1], [1300 + 64 * b for b in range(19)]
    planned = plan(groups, [0, 900, 1000], [900, 77, 300], own, [1] * 19, 64, H // HKV, D, torch.bfloat16)
    with FakeTensorMode(), torch.inference_mode(), Copies():
        tables = (torch.empty(x.shape, dtype=x.dtype, device="cuda") for x in planned.tensors())
        w = weights(norms, not norms, window)
        pool_PHD = torch.empty(POSITIONS, HKV, D, dtype=torch.bfloat16, device="cuda")
        policy = SimpleNamespace(
            device=torch.device("cuda"), weights=lambda adapter: w, bytes_of_logits=4 * V
        )
        pool: Any = SimpleNamespace(policy=policy, keys=[pool_PHD] * LAYERS, values=[pool_PHD] * LAYERS)
        reads = Reads(*tables, splits=planned.splits, made_for=planned.made_for)
        step = captured_step.CapturedStep(pool, None, reads, None, lambda: None)
        with OnTheDevice():
            step.run()
            step.run()
    assert step.logits_BV.shape == (19, V)
    assert step.logits_BV.dtype == torch.float32
    assert launched == 2 * [*LAYERS * LAUNCHES, "norm_kernel", "split_kernel", "draw_kernel"]


class Names(TorchDispatchMode):
    """The operations that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.called.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8)])
def test_an_adapters_product_is_added_in_place_and_differentiable(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight, bias, a, b, x = (
        torch.randn(*n, dtype=torch.float64) for n in ((6, 8), (6,), (3, 8), (6, 3), shape)
    )
    with Names() as names, torch.no_grad():
        plain = llama.Projection(weight, None, (a, b))(x)
    assert "aten.addmm_.default" in names.called
    assert "aten.addmm.default" not in names.called  # it copies what it adds to
    torch.testing.assert_close(plain, x @ weight.T + x @ a.T @ b.T)
    for each in (a, b, x):
        each.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b, x: llama.Projection(weight, bias, (a, b))(x), (a, b, x))
