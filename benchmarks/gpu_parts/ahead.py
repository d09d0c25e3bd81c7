"""Kernels compiled before they are timed: what the parts launch is compiled and not run, in many processes.

Launches themselves say what is compiled, so that Triton finds it in its cache under the same key later. In a
dry run there is no GPU whose chip could be asked for: kernels are compiled for sm_90.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from gpu_parts.correct import HKV, reads_of
from gpu_parts.machine import Item, Machine, Row, short
from torch import Tensor

from shuhari.kernels import fused, logprobs, sampling
from shuhari.kernels.decode import decode_attention
from shuhari.kernels.packed import packed_attention
from shuhari.kernels.segments import Segments

MODELS = ((896, 4864), (1536, 8960))  # widths of the rollouts' models, and of their MLPs
V = 151_936


def items(m: Machine) -> list[Item]:
    """The largest first, so that processes end together."""
    found: list[tuple[str, Callable[[], Any]]] = []
    for D, H in m.pick(((128, 12), (64, 14)), ()):
        for dtype in (torch.bfloat16, torch.float16):
            found.append((f"packed D{D} {short(dtype)}", partial(_packed, m, D, H, dtype)))
    for D, H in m.pick(((128, 12), (64, 14)), ()):
        for name, normed in (("", False), (" normed", True)):
            found.append((f"decode D{D}{name}", partial(_decode, m, D, H // HKV, normed)))
    found.append(("vocabulary", partial(_vocabulary, m, m.pick(V, 101))))
    for C, wide in m.pick(MODELS, ((40, 48),)):
        found.append((f"width {C}", partial(_width, m, C, wide)))
    return [(name, partial(_compiled, call)) for name, call in found]


def _compiled(call: Callable[[], Any]) -> Iterator[Row]:
    """Run a call whose launches only compile, and say which kernels they were."""
    from triton.runtime.jit import KernelInterface

    names: list[str] = []

    def launch(kernel: Any, grid: Any) -> Callable[..., None]:
        def compile_only(*args: Any, **options: Any) -> None:
            kernel.warmup(*(x.dtype if isinstance(x, Tensor) else x for x in args), grid=grid, **options)
            names.append(kernel.__name__)

        return compile_only

    original = KernelInterface.__getitem__
    KernelInterface.__getitem__ = launch
    try:
        if not torch.cuda.is_available():
            _pretend()
        call()
    finally:
        KernelInterface.__getitem__ = original
    yield {"compiled": len(names), "kernels": sorted(set(names))}


def _pretend() -> None:
    """Let Triton compile for a chip that is not there."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    class Nowhere:
        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return 0

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", 90, 32)

    driver.set_active(Nowhere())


def _packed(m: Machine, D: int, H: int, dtype: torch.dtype) -> None:
    segments = Segments.pack([300, *[257] * 9], [-1, *[0] * 9], m.device)
    N = len(segments.first_N)
    q, k, v = (m.normal(N, h, D, dtype=dtype).requires_grad_() for h in (H, HKV, HKV))
    packed_attention(q, k, v, segments, "triton").sum().backward()


def _decode(m: Machine, D: int, r: int, normed: bool) -> None:
    reads = reads_of(m, B=16, G=16, P=300, S=16, r=r, D=D, shared=None, dtype=m.dtype)
    k_pool, v_pool = (m.normal(300 + 16 * 16, HKV, D) for _ in "kv")
    tables, norms = (
        (torch.rand(4096, D, device=m.device) for _ in range(2)),
        [torch.ones(D, device=m.device)] * 2,
    )
    qkv = m.normal(16, HKV * (r + 2), D)
    given = (*tables, k_pool, v_pool, reads, *(norms if normed else (None, None)))
    q_BHD = fused.rotate_and_append(qkv, *given, implementation="triton")
    decode_attention(q_BHD, k_pool, v_pool, reads, "triton")


def _vocabulary(m: Machine, V: int) -> None:
    B = 16
    logits, column = m.normal(B, V, dtype=torch.float32), torch.zeros(B, dtype=torch.int64, device=m.device)
    sampling.sample(logits, torch.ones(B, device=m.device), column, column, "triton")
    rows = logprobs._rows("triton")
    found = rows.forward(logits, column, 1.0)
    rows.backward(logits, column, 1.0, found[2], found[1], found[0], None, True)


def _width(m: Machine, C: int, wide: int) -> None:
    x, weight = m.normal(16, C, dtype=torch.float32), torch.ones(C, device=m.device)
    for delta in (None, m.normal(16, C)):
        fused.add_rms_norm(x, delta, weight, 1e-6, m.dtype, "triton")
    fused.swiglu(m.normal(16, 2 * wide), "triton")
