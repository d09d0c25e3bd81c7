"""How fast one token's kernels are: attention plain and with shared prompts, and what stands beside it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from gpu_parts.correct import reads_of
from gpu_parts.machine import Call, Item, Machine, Row

from shuhari.kernels import fused, sampling
from shuhari.kernels.decode import decode_attention
from shuhari.kernels.reads import Reads


def plain(m: Machine) -> list[Item]:
    """Attention of rows that share nothing, its bytes a second as a share of a copy's; then small kernels."""
    found: list[Item] = []
    for D, Hkv, r in m.pick(((128, 8, 4), (128, 2, 6), (64, 2, 7), (64, 8, 4)), ((64, 2, 7),)):
        for B, length in m.pick(((128, 1024), (128, 4096), (256, 2048), (512, 1024)), ((4, 9),)):
            name = f"D{D} Hkv{Hkv} r{r} B{B} length {length}"
            found.append((name, partial(_plain, m, D, Hkv, r, B, length)))
    return [*found, ("beside attention", partial(_beside, m))]


def _plain(m: Machine, D: int, Hkv: int, r: int, B: int, length: int) -> Iterator[Row]:
    used = 2 * m.dtype.itemsize * Hkv * D * B * length
    reads = reads_of(m, B=B, G=1, P=0, S=length, r=r, D=D, shared=False, dtype=m.dtype)
    (ms,) = m.ms(m.rotated(used, partial(_attention, m, B, B * length, Hkv, r, D, [reads])))
    yield {"D": D, "ms": ms, "bytes": used, "share_of_copy": used / ms * 1000 / m.bandwidth}


def _attention(m: Machine, B: int, positions: int, Hkv: int, r: int, D: int, forms: list[Reads]) -> Call:
    """A call of attention on a pool and queries of its own; of several forms one after another."""
    k_PHD, v_PHD, q_BHD = m.normal(positions, Hkv, D), m.normal(positions, Hkv, D), m.normal(B, Hkv * r, D)
    return lambda: [decode_attention(q_BHD, k_PHD, v_PHD, reads, "triton") for reads in forms]


def shared(m: Machine) -> list[Item]:
    """Attention with shared prompts over plain attention of the same rows."""
    found: list[Item] = []
    for D, Hkv, r in m.pick(((64, 2, 7), (128, 2, 6), (128, 8, 4)), ((64, 2, 7),)):
        for P in m.pick((512, 2048, 64, 128, 256, 1024), (5,)):
            name = f"D{D} Hkv{Hkv} r{r} P{P}"
            found.append((name, partial(_shared, m, D, Hkv, r, P)))
    return found


def _shared(m: Machine, D: int, Hkv: int, r: int, P: int) -> Iterator[Row]:
    for G in m.pick((8, 16, 64, 2, 4), (2,)):
        B, S = m.pick((256, 256), (4, 3))
        positions = B // G * P + B * S
        used = 2 * m.dtype.itemsize * Hkv * D * positions
        forms = [
            reads_of(m, B=B, G=G, P=P, S=S, r=r, D=D, shared=form, dtype=m.dtype)
            for form in (False, True, None)
        ]
        made = (partial(_attention, m, B, positions, Hkv, r, D, [form]) for form in forms)
        plain_ms, shared_ms, rule_ms = m.ms(*(m.rotated(used, make) for make in made))
        ratios = {"shared_over_plain": plain_ms / shared_ms, "rule_over_plain": plain_ms / rule_ms}
        copied = used / shared_ms * 1000 / m.bandwidth
        yield {"D": D, "P": P, "G": G, "S": S, "plain_ms": plain_ms, **ratios, "share_of_copy": copied}


def _beside(m: Machine) -> Iterator[Row]:
    """The other kernels of a step of 256 rows, with the shapes of Qwen2.5-0.5B."""
    B, C, wide, V, D, Hkv, r = m.pick((256, 896, 4864, 151_936, 64, 2, 7), (4, 40, 48, 101, 16, 2, 7))
    e = m.dtype.itemsize
    reads = reads_of(m, B=B, G=1, P=0, S=8, r=r, D=D, shared=False, dtype=m.dtype)
    seeds, hot = torch.arange(B, device=m.device), torch.ones(B, device=m.device)
    tables = [torch.rand(16, D, device=m.device) for _ in range(2)]
    weight, pool = torch.ones(C, device=m.device), [m.normal(B * 8, Hkv, D) for _ in "kv"]

    def norm() -> Call:
        x, delta = m.normal(B, C, dtype=torch.float32), m.normal(B, C)
        return lambda: fused.add_rms_norm(x, delta, weight, 1e-6, m.dtype, "triton")

    def rotation() -> Call:
        qkv = m.normal(B, Hkv * (r + 2), D)
        return lambda: fused.rotate_and_append(qkv, *tables, *pool, reads, implementation="triton")

    def swiglu() -> Call:
        gate_up = m.normal(B, 2 * wide)
        return lambda: fused.swiglu(gate_up, "triton")

    def sample() -> Call:
        logits = m.normal(B, V, dtype=torch.float32)
        return lambda: sampling.sample(logits, hot, seeds, seeds, "triton")

    counted: list[tuple[Any, int]] = [
        (norm, (8 + 2 * e) * B * C),
        (rotation, 2 * e * B * Hkv * (r + 2) * D),
        (swiglu, 3 * e * B * wide),
        (sample, 4 * B * V),
    ]
    for make, used in counted:
        (ms,) = m.ms(m.rotated(used, make))
        yield {"kernel": make.__name__, "ms": ms, "share_of_copy": used / ms * 1000 / m.bandwidth}
