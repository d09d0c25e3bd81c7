"""How fast attention in training is, beside torch's; and a prompt computed once for its completions."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from gpu_parts.machine import Call, Item, Machine, Row
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from shuhari.kernels.packed import packed_attention
from shuhari.kernels.segments import Segments

Form = tuple[Callable[[], Tensor], list[Tensor], Tensor]  # forward, its inputs, what comes back to its output


def items(m: Machine) -> list[Item]:
    found: list[Item] = []
    for D, H, Hkv in m.pick(((128, 16, 16), (64, 14, 14), (128, 16, 4)), ((64, 2, 1),)):
        for B, T in m.pick(((8, 1024), (4, 4096), (2, 8192)), ((2, 5),)):
            found.append((f"causal D{D} H{H} Hkv{Hkv} B{B} T{T}", partial(_causal, m, D, H, Hkv, B, T)))
    for P, S, G in m.pick(((512, 256, 8), (512, 256, 16), (2048, 256, 16)), ((6, 3, 2),)):
        found.append((f"shared prompt P{P} S{S} G{G}", partial(_shared, m, P, S, G)))
    return found


def _causal(m: Machine, D: int, H: int, Hkv: int, B: int, T: int) -> Iterator[Row]:
    """Each peer in a row of its own, measured in turn with ours."""
    segments = Segments.pack([T] * B, [-1] * B, m.device)
    of_one = B * T * D * (2 * H + 2 * Hkv) * m.dtype.itemsize
    flops = 2 * B * T * (T + 1) * D * H

    def ours() -> Form:
        q, k, v = (m.normal(B * T, h, D).requires_grad_() for h in (H, Hkv, Hkv))
        return lambda: packed_attention(q, k, v, segments, "triton"), [q, k, v], m.normal(B * T, H, D)

    def peer(backend: SDPBackend) -> Form:
        inputs = [m.normal(B, h, T, D).requires_grad_() for h in (H, Hkv, Hkv)]

        def forward() -> Tensor:
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=Hkv != H)

        return forward, inputs, m.normal(B, H, T, D)

    real = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
    for name, backend in m.pick(real, {"math": SDPBackend.MATH}).items():
        row: Row = {"peer": name, "D": D, "forward_flops": flops}
        for way, make in (("forward", _forward), ("backward", _backward)):
            try:
                theirs = m.rotated(of_one, lambda make=make, backend=backend: make(peer(backend)))
                m.ms(theirs)
            except RuntimeError as reason:  # a backend that does not take these shapes is no fault of ours
                row["missing"] = str(reason).splitlines()[0][:160]
                break
            our_ms, peer_ms = m.ms(m.rotated(of_one, lambda make=make: make(ours())), theirs)
            row |= {f"{way}_ms": our_ms, f"{way}_{name}_ms": peer_ms, f"{way}_ratio": peer_ms / our_ms}
        yield row


def _forward(form: Form) -> Call:
    def call() -> Tensor:
        with torch.no_grad():
            return form[0]()

    return call


def _backward(form: Form) -> Call:
    forward, inputs, d_o = form
    o = forward()
    return lambda: torch.autograd.grad(o, inputs, d_o, retain_graph=True)


def _shared(m: Machine, P: int, S: int, G: int) -> Iterator[Row]:
    """Forward and backward of groups whose prompt is computed once, and of the same with it repeated."""
    D, H, Hkv, n = 64, *m.pick((14, 2, 4), (2, 1, 1))
    lengths = [P, *[S] * G] * n
    prompts = [x for g in range(n) for x in (-1, *[g * (G + 1)] * G)]
    once = Segments.pack(lengths, prompts, m.device)
    repeated = Segments.pack([P + S] * G * n, [-1] * G * n, m.device)

    def both(segments: Segments) -> Call:
        N = len(segments.first_N)
        q, k, v = (m.normal(N, h, D).requires_grad_() for h in (H, Hkv, Hkv))
        d_o = m.normal(N, H, D)
        return lambda: torch.autograd.grad(packed_attention(q, k, v, segments, "triton"), (q, k, v), d_o)

    of_one = sum(lengths) * D * (2 * H + 2 * Hkv) * m.dtype.itemsize
    ms = m.ms(*(m.rotated(of_one, partial(both, s)) for s in (once, repeated)))
    ratio, tokens = ms[1] / ms[0], G * (P + S) / (P + G * S)
    yield {"P": P, "S": S, "G": G, "ms": ms[0], "over_repeated": ratio, "token_ratio": tokens}
