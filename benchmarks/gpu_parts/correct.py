"""Every kernel against the same in fp64, gradients included, and what a step as a whole must keep to.

Whatever a kernel allocates is no number until it writes it: torch's deterministic mode fills what is empty.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from gpu_parts import steps
from gpu_parts.machine import Item, Machine, Row, short
from torch import Tensor

from shuhari.kernels import decode as decoding
from shuhari.kernels import fused, logprobs, sampling
from shuhari.kernels.decode import decode_attention
from shuhari.kernels.gpu.packed import Given, attention
from shuhari.kernels.packed import packed_attention
from shuhari.kernels.reads import Reads, plan
from shuhari.kernels.segments import Segments

SHAPES = ((32, 1), (64, 7), (80, 4), (96, 2), (128, 6), (256, 8))  # head dimension, query heads a key head
HKV, EPS = 2, 1e-3


def items(m: Machine) -> list[Item]:
    """All of them, cases of a kernel beside each other: every nth is a fair share."""
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    found = []
    for dtype in m.pick(dtypes, dtypes[:1]):
        for D, r in m.pick(SHAPES, ((64, 2),)):
            found += _of_heads(m, D, r, dtype)
        found += [_case(m, f"{name} {short(dtype)}", check, dtype) for name, check in OTHERS.items()]
    found.append(("a row alone and among others", partial(_invariant, m)))
    return found + steps.items(m)


def smoke(m: Machine) -> list[Item]:
    """What is needed first: 16 bits, two head dimensions, and one captured step."""
    found = [
        item for D, r in m.pick(((64, 7), (128, 6)), ((128, 2),)) for item in _of_heads(m, D, r, m.dtype)
    ]
    found += [_case(m, f"{name} {short(m.dtype)}", check, m.dtype) for name, check in OTHERS.items()]
    return found + steps.items(m)[:1]


def _of_heads(m: Machine, D: int, r: int, dtype: torch.dtype) -> list[Item]:
    checks = {"packed": _packed, "shares of dK and dV": _shares, "decode": _decode, "rotation": _rotation}
    return [
        _case(m, f"{name} D{D} r{r} {short(dtype)}", check, D, r, dtype) for name, check in checks.items()
    ]


def _case(m: Machine, name: str, check: Callable[..., Iterator[Row]], *given: Any) -> Item:
    def rows() -> Iterator[Row]:
        torch.manual_seed(0)
        with poisoned():
            yield from check(m, *given)

    return name, rows


@contextmanager
def poisoned() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _packed(m: Machine, D: int, r: int, dtype: torch.dtype) -> Iterator[Row]:
    lengths, prompts = m.pick(([300, 77, 1, 129, 513], [-1, 0, 0, 0, -1]), ([5, 3, 1], [-1, 0, -1]))
    segments = Segments.pack(lengths, prompts, m.device)
    yield from _attention(m, D, r, dtype, segments, partial(packed_attention, implementation="triton"))


def _shares(m: Machine, D: int, r: int, dtype: torch.dtype) -> Iterator[Row]:
    """A prompt whose readers go on for so long that several programs share its keys."""
    lengths, share = m.pick(([300, *[257] * 6], 256), ([20, 9, 9], 16))
    segments = Segments.pack(lengths, [-1, *[0] * (len(lengths) - 1)], m.device)
    yield from _attention(m, D, r, dtype, segments, partial(attention, given=Given(share=share)))


def _attention(
    m: Machine, D: int, r: int, dtype: torch.dtype, segments: Segments, form: Callable[..., Tensor]
) -> Iterator[Row]:
    N = len(segments.first_N)
    q, k, v = (m.normal(N, h, D, dtype=dtype).requires_grad_() for h in (HKV * r, HKV, HKV))
    weight = m.normal(N, HKV * r, D, dtype=dtype)
    o = form(q, k, v, segments)
    got = [o, *torch.autograd.grad((o * weight).sum(), (q, k, v))]
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    o = packed_attention(*wide, segments, "plain")
    want = [o, *torch.autograd.grad((o * weight.double()).sum(), wide)]
    for name, a, b in zip(("o", "dq", "dk", "dv"), got, want, strict=True):
        yield m.judged(name, a.detach(), b.detach())


def reads_of(
    m: Machine, *, B: int, G: int, P: int, S: int, r: int, D: int, shared: bool | None, dtype: torch.dtype
) -> Reads:
    """B rows in groups of G: prompts of P keys first in the pool, then a range of S for each row."""
    groups = -(-B // G)
    prompts = ([b // G for b in range(B)], [n * P for n in range(groups)], [P] * groups)
    own = ([groups * P + b * S for b in range(B)], [S] * B, S)
    return plan(*prompts, *own, r, D, dtype, shared=shared).to(m.device)


def _decode(m: Machine, D: int, r: int, dtype: torch.dtype) -> Iterator[Row]:
    B, G, P, S = m.pick((13, 5, 517, 70), (3, 2, 5, 2))
    k_pool, v_pool = (m.normal(-(-B // G) * P + B * S, HKV, D, dtype=dtype) for _ in "kv")
    q_BHD = m.normal(B, HKV * r, D, dtype=dtype)
    for shared in (False, True):
        reads = reads_of(m, B=B, G=G, P=P, S=S, r=r, D=D, shared=shared, dtype=dtype)
        got = decode_attention(q_BHD, k_pool, v_pool, reads, "triton")
        want = decoding.plain(q_BHD.double(), k_pool.double(), v_pool.double(), reads)
        yield m.judged("shared" if shared else "plain", got, want)


def _rotation(m: Machine, D: int, r: int, dtype: torch.dtype) -> Iterator[Row]:
    """Queries and keys turned, with and without their norms; keys and values appended, and nothing beside."""
    B, P, S = m.pick((13, 517, 70), (3, 5, 2))
    reads = reads_of(m, B=B, G=5, P=P, S=S, r=r, D=D, shared=None, dtype=dtype)
    at_B = (reads.completion_start_B + reads.completion_length_B - 1).long()
    positions = int(at_B.max()) + 2
    angles_TD = torch.rand(P + S, D // 2, device=m.device).mul(6.3).repeat(1, 2)
    cos_TD, sin_TD = angles_TD.cos(), angles_TD.sin()
    turn = cos_TD[P + S - 1].double(), sin_TD[P + S - 1].double()
    for norms in (None, [1 + m.normal(D, dtype=torch.float32) / 4 for _ in "qk"]):
        label = "normed " if norms else ""
        qkv = m.normal(B, HKV * (r + 2), D, dtype=dtype)
        k_pool, v_pool = (torch.full((positions, HKV, D), torch.nan, device=m.device).to(dtype) for _ in "kv")
        q_BHD = fused.rotate_and_append(
            qkv, cos_TD, sin_TD, k_pool, v_pool, reads, *(norms or (None, None)), EPS, "triton"
        )
        q, k, v = qkv.double().split([HKV * r, HKV, HKV], 1)
        for name, got, x, i in (("queries", q_BHD, q, 0), ("keys", k_pool[at_B], k, 1)):
            yield m.judged(label + name, got, _turned(x, *turn, norms[i].double() if norms else None))
        written = [int((~x.isnan()).sum()) for x in (k_pool, v_pool)]
        same = torch.equal(v_pool[at_B].double(), v)
        yield {"value": label + "values", "right": same and written == [B * HKV * D] * 2}


def _turned(x_BHD: Tensor, cos_D: Tensor, sin_D: Tensor, norm_D: Tensor | None) -> Tensor:
    if norm_D is not None:
        x_BHD = x_BHD / (x_BHD.square().mean(-1, keepdim=True) + EPS).sqrt() * norm_D
    a, b = x_BHD.chunk(2, -1)
    return x_BHD * cos_D + torch.cat([-b, a], -1) * sin_D


def _swiglu(m: Machine, dtype: torch.dtype) -> Iterator[Row]:
    gate_up = m.normal(*m.pick((300, 2 * 4864), (3, 2 * 40)), dtype=dtype)
    gate, up = gate_up.double().chunk(2, -1)
    yield m.judged("swiglu", fused.swiglu(gate_up, "triton"), F.silu(gate) * up)


def _norm(m: Machine, dtype: torch.dtype) -> Iterator[Row]:
    N, C = m.pick((300, 896), (3, 40))
    x, delta = m.normal(N, C, dtype=torch.float32), m.normal(N, C, dtype=dtype)
    weight, added = m.normal(C, dtype=torch.float32), x.double() + delta.double()
    want = added / (added.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()
    yield m.judged("norm", fused.add_rms_norm(x, delta, weight, EPS, dtype, "triton"), want)
    yield m.judged("sum", x, added)


def _logprobs(m: Machine, dtype: torch.dtype) -> Iterator[Row]:
    """Both ways: log-probabilities and entropies, and what their gradients make of the logits'."""
    N, V = m.pick((300, 50_257), (5, 101))
    logits, targets = m.normal(N, V, dtype=dtype), torch.randint(V, (N,), device=m.device)
    rows, temperature = logprobs._rows("triton"), 0.7
    logprob, entropy, lse = rows.forward(logits, targets, temperature)
    wide = logits.double().requires_grad_()
    log_softmax = (wide / temperature).log_softmax(-1)
    want = log_softmax.gather(-1, targets[:, None])[:, 0], -(log_softmax.exp() * log_softmax).sum(-1)
    yield m.judged("log-probability", logprob, want[0].detach(), torch.float32)
    yield m.judged("entropy", entropy, want[1].detach(), torch.float32)
    upstream = [m.normal(N, dtype=torch.float32) for _ in want]
    got = rows.backward(logits, targets, temperature, lse, entropy, *upstream, True)
    loss = sum((x * d.double()).sum() for x, d in zip(want, upstream, strict=True))
    yield m.judged("backward", got, torch.autograd.grad(loss, wide)[0])


def _sampling(m: Machine, dtype: torch.dtype) -> Iterator[Row]:
    N, V = m.pick((300, 50_257), (9, 101))
    logits, temperature = m.normal(N, V, dtype=dtype), torch.full((N,), 0.7, device=m.device)
    seeds, counters = torch.arange(N, device=m.device), torch.zeros(N, dtype=torch.int64, device=m.device)
    tokens, got = sampling.sample(logits, temperature, seeds, counters, "triton")
    wanted, _ = sampling.plain(logits, temperature, seeds, counters)
    others = int((tokens != wanted).sum())
    yield {"value": "tokens", "other_tokens": others, "of": N, "right": others <= 0.01 * N}
    want = (logits.double() / 0.7).log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    yield m.judged("log-probability", got, want, torch.float32)


OTHERS: dict[str, Callable[..., Iterator[Row]]] = {
    "swiglu": _swiglu,
    "norm": _norm,
    "log-probabilities": _logprobs,
    "sampling": _sampling,
}


def _invariant(m: Machine) -> Iterator[Row]:
    """A row's attention alone and among others, compared bit for bit."""
    D, r, (B, P, S) = 128, 4, m.pick((32, 700, 300), (3, 5, 3))
    k_pool, v_pool = (m.normal(B * (P + S), HKV, D) for _ in "kv")
    q_BHD = m.normal(B, HKV * r, D)
    many = reads_of(m, B=B, G=1, P=P, S=S, r=r, D=D, shared=False, dtype=m.dtype)
    together = decode_attention(q_BHD, k_pool, v_pool, many, "triton")
    for b in {0, B // 4, B - 1}:
        given = ([0], [b * P], [P], [B * P + b * S], [S], S + m.pick(999, 9), r, D, m.dtype)
        one = plan(*given, shared=False).to(m.device)
        alone = decode_attention(q_BHD[b : b + 1], k_pool, v_pool, one, "triton")
        yield {"value": f"row {b}", "right": torch.equal(alone[0], together[b])}
