"""The kernels' part of `benchmarks/gpu.py`: first that they are right, then how fast they are."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from shuhari.kernels import decode as decoding
from shuhari.kernels import fused, logprobs, sampling
from shuhari.kernels.decode import Reads, decode_attention, plan
from shuhari.kernels.packed import Segments, packed_attention

TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 5e-3}  # relative RMS


class Machine:
    """Where it runs, how things are timed there, and how large they are."""

    def __init__(self, smoke: bool) -> None:
        self.smoke = smoke
        self.device = torch.device("cpu" if smoke else "cuda")
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        self.implementation: Any = "triton" if interpreted or not smoke else "plain"

    def pick(self, real: Any, tiny: Any) -> Any:
        return tiny if self.smoke else real

    def normal(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return torch.randn(*shape, device=self.device, dtype=torch.float32).to(dtype)

    def ms(self, *actions: Callable[[], Any], rounds: int = 3) -> list[float]:
        """Median milliseconds of each, measured in turn."""
        times: list[list[float]] = [[] for _ in actions]
        for _ in range(rounds):
            for action, mine in zip(actions, times, strict=True):
                mine.append(self._once(action))
        return [statistics.median(mine) for mine in times]

    def _once(self, action: Callable[[], Any]) -> float:
        if not self.smoke:
            from triton.testing import do_bench

            return float(do_bench(action, warmup=10, rep=60, return_mode="median"))
        start = time.perf_counter()
        action()
        return 1000 * (time.perf_counter() - start)

    def copy_bandwidth(self) -> float:
        """Bytes a second, read and written together, of a large copy."""
        n = self.pick(2**30, 2**20)
        a = torch.empty(n, dtype=torch.uint8, device=self.device)
        b = torch.empty_like(a)
        (ms,) = self.ms(lambda: b.copy_(a))
        return 2 * n / ms * 1000


def error(got: Tensor, want: Tensor) -> float:
    """Relative RMS."""
    return float((got.double() - want).square().mean().sqrt() / want.square().mean().sqrt())


def reads_of(
    m: Machine, *, B: int, G: int, P: int, S: int, r: int, D: int, shared: bool | None, dtype: Any
) -> Reads:
    """B rows in groups of G: prompts of P keys first in the pool, then a range of S for each row."""
    groups = -(-B // G)
    given = (
        [b // G for b in range(B)],
        [n * P for n in range(groups)],
        [P] * groups,
        [groups * P + b * S for b in range(B)],
        [S] * B,
        S,
        r,
        D,
        dtype,
    )
    return plan(*given, shared=shared).to(m.device)


def pool_of(m: Machine, positions: int, Hkv: int, D: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return m.normal(positions, Hkv, D, dtype=dtype), m.normal(positions, Hkv, D, dtype=dtype)


def correct(m: Machine) -> dict[str, Any]:
    """Every kernel against its definition in fp64, gradients included; a row's bits whatever its batch."""
    rows: list[dict[str, Any]] = []

    def check(name: str, dtype: torch.dtype, got: Tensor, want: Tensor) -> None:
        rows.append(
            {
                "case": name,
                "dtype": str(dtype)[6:],
                "relative_rms": error(got, want),
                "limit": TOLERANCE[dtype],
            }
        )

    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for D, r in ((32, 1), (64, 7), (80, 4), (96, 2), (128, 6), (256, 8)):
            Hkv = 2
            lengths, prompts = m.pick(([300, 77, 1, 129, 513], [-1, 0, 0, 0, -1]), ([5, 3, 1], [-1, 0, -1]))
            segments = Segments.pack(lengths, prompts, m.device)
            N = sum(lengths)
            q, k, v = (m.normal(N, h, D, dtype=dtype).requires_grad_() for h in (Hkv * r, Hkv, Hkv))
            weight = m.normal(N, Hkv * r, D, dtype=dtype)
            o = packed_attention(q, k, v, segments, m.implementation)
            got = [o, *torch.autograd.grad((o * weight).sum(), (q, k, v))]
            wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
            o = packed_attention(*wide, segments, "plain")
            want = [o, *torch.autograd.grad((o * weight.double()).sum(), wide)]
            for name, a, b in zip(("o", "dq", "dk", "dv"), got, want, strict=True):
                check(f"packed {name} D{D} r{r}", dtype, a.detach(), b.detach())

            B, P, S = m.pick((13, 517, 70), (3, 5, 2))
            k_pool, v_pool = pool_of(m, 20 * (P + S), Hkv, D, dtype)
            q_BHD = m.normal(B, Hkv * r, D, dtype=dtype)
            for shared in (False, True):
                reads = reads_of(m, B=B, G=5, P=P, S=S, r=r, D=D, shared=shared, dtype=dtype)
                got_o = decode_attention(q_BHD, k_pool, v_pool, reads, m.implementation)
                want_o = decoding.plain(q_BHD.double(), k_pool.double(), v_pool.double(), reads, D**-0.5)
                check(f"decode {'shared' if shared else 'plain'} D{D} r{r}", dtype, got_o, want_o)
        V, N, C = m.pick((50_257, 300, 512), (101, 9, 16))
        h, head = m.normal(N, C, dtype=dtype), m.normal(V, C, dtype=dtype)
        targets = torch.randint(V, (N,), device=m.device)
        logits = (h * C**-0.5) @ head.T
        got_l = logprobs._rows(m.implementation).forward(logits, targets, 1.0)
        want_l = logprobs.Plain().forward(logits.double(), targets, 1.0)
        for name, a, b in zip(("logprob", "entropy"), got_l, want_l, strict=False):
            check(name, torch.float32, a, b)
        given = (
            logits,
            torch.full((N,), 0.7, device=m.device),
            torch.arange(N, device=m.device),
            torch.zeros(N, dtype=torch.int64, device=m.device),
        )
        tokens, _ = sampling.sample(*given, m.implementation)
        wanted, _ = sampling.plain(*given)
        rows.append(
            {
                "case": "sampling",
                "dtype": str(dtype)[6:],
                "other_tokens": int((tokens != wanted).sum()),
                "of": N,
            }
        )
        x, delta, w = (
            m.normal(N, C, dtype=torch.float32),
            m.normal(N, C, dtype=dtype),
            m.normal(C, dtype=torch.float32),
        )
        x_wide = x.double()
        got_n = fused.add_rms_norm(x, delta, w, 1e-6, dtype, m.implementation)
        check(
            "add_rms_norm",
            dtype,
            got_n,
            fused.add_rms_norm_plain(x_wide, delta.double(), w.double(), 1e-6, torch.float64),
        )
    invariant = _invariant(m)
    wrong = [
        row
        for row in rows
        if row.get("relative_rms", 0) > row.get("limit", 1)
        or row.get("other_tokens", 0) > 0.01 * row.get("of", 1)
    ]
    wrong += [row for row in rows if row.get("relative_rms", 0) != row.get("relative_rms", 0)]
    return {"cases": len(rows), "wrong": wrong, "decode_batch_invariant_bitwise": invariant}


def _invariant(m: Machine) -> bool:
    """A row's attention alone and among others, compared bit for bit."""
    D, r, P, S = 128, 4, *m.pick((700, 300), (5, 3))
    k_pool, v_pool = pool_of(m, 40 * (P + S), 2, D, torch.bfloat16)
    q_BHD = m.normal(32, 2 * r, D)
    many = reads_of(m, B=32, G=1, P=P, S=S, r=r, D=D, shared=False, dtype=torch.bfloat16)
    together = decode_attention(q_BHD, k_pool, v_pool, many, m.implementation)
    for b in (0, 7, 31):
        one = plan([0], [b * P], [P], [32 * P + b * S], [S], S + 999, r, D, torch.bfloat16, shared=False).to(
            m.device
        )
        alone = decode_attention(q_BHD[b : b + 1], k_pool, v_pool, one, m.implementation)
        if not torch.equal(alone[0], together[b]):
            return False
    return True


def decode(m: Machine, bandwidth: float) -> list[dict[str, Any]]:
    """Plain decode: bytes a second, and as a share of a copy's."""
    found = []
    for D, Hkv, r in ((128, 8, 4), (128, 2, 6), (64, 2, 7), (64, 8, 4)):
        for B, length in m.pick(((128, 1024), (128, 4096), (256, 2048), (512, 1024)), ((4, 9),)):
            k_pool, v_pool = pool_of(m, B * length, Hkv, D, torch.bfloat16)
            q_BHD = m.normal(B, Hkv * r, D)
            reads = reads_of(m, B=B, G=1, P=0, S=length, r=r, D=D, shared=False, dtype=torch.bfloat16)
            (ms,) = m.ms(lambda: decode_attention(q_BHD, k_pool, v_pool, reads, m.implementation))  # noqa: B023
            used = 4 * Hkv * D * B * length
            row = {
                "D": D,
                "Hkv": Hkv,
                "r": r,
                "B": B,
                "length": length,
                "ms": ms,
                "share_of_copy": used / ms * 1000 / bandwidth,
            }
            found.append(row)
    return found


def shared(m: Machine) -> list[dict[str, Any]]:
    """Shared-prefix decode over plain decode of the same rows, S = 256 own keys."""
    found = []
    for D, Hkv, r in ((64, 2, 7), (128, 2, 6), (128, 8, 4)):
        for P in m.pick((64, 128, 256, 512, 1024, 2048), (5,)):
            for G in m.pick((2, 4, 8, 16, 64), (2,)):
                B, S = m.pick((256, 256), (4, 3))
                k_pool, v_pool = pool_of(m, B // G * P + B * S, Hkv, D, torch.bfloat16)
                q_BHD = m.normal(B, Hkv * r, D)
                forms = [
                    reads_of(m, B=B, G=G, P=P, S=S, r=r, D=D, shared=s, dtype=torch.bfloat16)
                    for s in (False, True, None)
                ]

                def form(reads: Reads, q: Tensor = q_BHD, k: Tensor = k_pool, v: Tensor = v_pool) -> Any:
                    return lambda: decode_attention(q, k, v, reads, m.implementation)

                plain_ms, shared_ms, rule_ms = m.ms(*map(form, forms))
                found.append(
                    {
                        "D": D,
                        "Hkv": Hkv,
                        "r": r,
                        "P": P,
                        "G": G,
                        "plain_ms": plain_ms,
                        "shared_over_plain": plain_ms / shared_ms,
                        "rule_over_plain": plain_ms / rule_ms,
                    }
                )
    return found


def training(m: Machine) -> dict[str, Any]:
    """Causal attention, forward and backward, beside SDPA's; a shared prompt against repeating it."""
    rows = []
    for D, H, Hkv in ((128, 16, 16), (64, 14, 14), (128, 16, 4)):
        for B, T in m.pick(((8, 1024), (4, 4096), (2, 8192)), ((2, 5),)):
            q, k, v = (m.normal(B * T, h, D).requires_grad_() for h in (H, Hkv, Hkv))
            dense = [
                x.detach().view(B, T, -1, D).transpose(1, 2).contiguous().requires_grad_() for x in (q, k, v)
            ]
            segments = Segments.pack([T] * B, [-1] * B, m.device)
            grad, row = torch.randn_like(q), {"D": D, "H": H, "Hkv": Hkv, "B": B, "T": T}
            forms: dict[str, tuple[Callable[[], Tensor], list[Tensor], Tensor]] = {
                "ours": (lambda: packed_attention(q, k, v, segments), [q, k, v], grad)  # noqa: B023
            }
            peers = m.pick(
                {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION},
                {"math": SDPBackend.MATH},
            )
            dense_grad = grad.view(B, T, H, D).transpose(1, 2).contiguous()
            for name, backend in peers.items():

                def peer(backend: Any = backend, qkv: Any = dense, gqa: bool = Hkv != H) -> Tensor:
                    with sdpa_kernel(backend):
                        return F.scaled_dot_product_attention(*qkv, is_causal=True, enable_gqa=gqa)

                try:
                    peer()
                    forms[name] = (peer, dense, dense_grad)
                except RuntimeError as reason:
                    row[f"{name}_missing"] = str(reason).splitlines()[0][:100]
            names = list(forms)
            forward = m.ms(*(form[0] for form in forms.values()))
            outputs = [form[0]() for form in forms.values()]

            def back(o: Tensor, inputs: list[Tensor], g: Tensor) -> Callable[[], Any]:
                return lambda: torch.autograd.grad(o, inputs, g, retain_graph=True)

            backward = m.ms(*(back(o, f[1], f[2]) for o, f in zip(outputs, forms.values(), strict=True)))
            row |= {f"{n}_forward_ms": t for n, t in zip(names, forward, strict=True)}
            row |= {f"{n}_backward_ms": t for n, t in zip(names, backward, strict=True)}
            for n in names[1:]:
                i = names.index(n)
                row |= {
                    f"forward_over_{n}": forward[i] / forward[0],
                    f"backward_over_{n}": backward[i] / backward[0],
                }
            rows.append(row)
    groups = []
    for P, S, G in m.pick(((512, 256, 8), (512, 256, 16), (2048, 256, 16)), ((6, 3, 2),)):
        D, H, Hkv, n = 64, 14, 2, m.pick(4, 2)
        lengths, prompts = [], []
        for g in range(n):
            lengths += [P, *[S] * G]
            prompts += [-1, *[g * (G + 1)] * G]
        tables = (
            Segments.pack(lengths, prompts, m.device),
            Segments.pack([P + S] * G * n, [-1] * G * n, m.device),
        )
        actions = []
        for segments in tables:
            N = len(segments.first_N)
            q, k, v = (m.normal(N, h, D).requires_grad_() for h in (H, Hkv, Hkv))
            g = torch.randn_like(q)

            def both(
                q: Tensor = q, k: Tensor = k, v: Tensor = v, s: Segments = segments, g: Tensor = g
            ) -> Any:
                return torch.autograd.grad(packed_attention(q, k, v, s), (q, k, v), g)

            actions.append(both)
        shared_ms, repeated_ms = m.ms(*actions)
        ratio = G * (P + S) / (P + G * S)
        groups.append(
            {
                "P": P,
                "S": S,
                "G": G,
                "speedup": repeated_ms / shared_ms,
                "token_ratio": ratio,
                "share": repeated_ms / shared_ms / ratio,
            }
        )
    return {"causal": rows, "shared_prompt": groups}
