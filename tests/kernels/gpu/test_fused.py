"""The elementwise kernels of a decode step, and their definitions in torch, against fp64."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mutants import mutant
from precision import right
from torch import Tensor

from shuhari.kernels import fused
from shuhari.kernels.gpu import fused as gpu
from shuhari.kernels.gpu import rotate
from shuhari.kernels.gpu.launch import HEAD_DIMS
from shuhari.kernels.reads import plan

F32, F16, BF16 = DTYPES = [torch.float32, torch.float16, torch.bfloat16]
EPS = 1e-2  # so large that it is seen where it is missing
MARGIN = 8192  # elements around what is written, so that mutants write nowhere else
Implementation = Callable[..., Tensor]
beside: list[Tensor] = []  # margins of what was allocated since it was last looked at


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel does not write is no number, and so are the margins of its outputs."""

    def bad(*size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        n = math.prod(size)
        whole = torch.full((n + 2 * MARGIN,), float("nan"), dtype=dtype, device=device)
        beside.extend((whole[:MARGIN], whole[MARGIN + n :]))
        return whole[MARGIN : MARGIN + n].view(size)

    beside.clear()
    monkeypatch.setattr(torch, "empty", bad)


def margins_are_untouched() -> bool:
    untouched = all(bool(x.isnan().all()) for x in beside)
    beside.clear()
    return untouched


NORMS = [
    (N, C, delta, dtype)
    for N, C in [(1, 1), (3, 7), (2, 64), (2, 256), (3, 257), (5, 896), (2, 1536)]
    for delta, dtype in [(None, F32), (F32, F32), (F16, F16), (BF16, BF16)]
] + [
    (2, 896, F32, BF16),
    (2, 896, BF16, F32),
    (2, 300, None, F16),
    (1, 3584, BF16, BF16),
    (1, 8192, F16, F32),
]


def norm_case(N: int, C: int, delta: torch.dtype | None) -> tuple[Tensor, Tensor | None, Tensor]:
    torch.manual_seed(N + C)
    x, added = torch.randn(N, C) * 0.3 + 0.1, torch.randn(N, C)
    return x, None if delta is None else added.to(delta), torch.randn(C) + 1


def norm_is_right(
    norm: Implementation, N: int, C: int, delta: torch.dtype | None, dtype: torch.dtype
) -> bool:
    x, added, weight = norm_case(N, C, delta)
    exact = x.double() if added is None else x.double() + added.double()
    want = exact / (exact.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()
    summed = x.clone() if added is None else x + added.float()
    got = norm(x, added, weight, EPS, dtype)
    return margins_are_untouched() and torch.equal(x, summed) and got.dtype == dtype and right(got, want)


@pytest.mark.parametrize(("N", "C", "delta", "dtype"), NORMS)
def test_norms(N: int, C: int, delta: torch.dtype | None, dtype: torch.dtype) -> None:
    for norm in (gpu.add_rms_norm, fused.add_rms_norm_plain):
        assert norm_is_right(norm, N, C, delta, dtype)


NORM_MUTANTS = [
    ("mask = c < C", "mask = c < C - 1"),
    ("h = x * tl.rsqrt(tl.sum(x * x, 0) / C + eps)", "h = x * tl.rsqrt(tl.sum(x * x, 0) / BLOCK + eps)"),
    ("/ C + eps)", "/ C)"),
    ("row = tl.program_id(0).to(tl.int64) * C", "row = tl.program_id(0).to(tl.int64) * BLOCK * 0"),
    ("        tl.store(x_NC + row + c, x, mask=mask)\n", ""),
    (" * weight\n", "\n"),
]
NORM_MUTANT_CASES = [(3, 7, F32, F32), (5, 896, F16, F16)]


@pytest.mark.parametrize(("old", "new"), NORM_MUTANTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's
def test_mutants_of_norms_are_caught(old: str, new: str, tmp_path: Path) -> None:
    broken = mutant(gpu, old, new, tmp_path)
    assert not all(norm_is_right(broken.add_rms_norm, *case) for case in NORM_MUTANT_CASES)


# rows' groups (-1: not in use), H, Hkv, D, with norms, dtype
HEADS = [
    ([0], 1, 1, 16, False, F32),
    ([0, 0, -1, 1, 0], 14, 2, 64, False, BF16),
    ([-1, 1, 0], 12, 2, 128, False, BF16),
    ([0, -1], 4, 4, 32, False, F16),
    ([-1, -1], 4, 2, 32, True, F32),
    ([1, 0, -1], 16, 8, 128, True, BF16),
    ([1, -1, 0], 6, 1, 80, True, F16),
    ([0, 1], 9, 3, 96, True, F32),
    ([0, 1, 1], 3, 1, 48, True, BF16),
    ([0, -1, 1], 2, 1, 256, True, F16),
]
HEADS += [
    ([0, 1, -1, 0], 4, 2, D, norms, dtype)
    for D in (32, 64, 80, 128)
    for dtype in DTYPES
    for norms in (False, True)
]


class Pool:
    """Queries, keys and values to append, tables and a pool that is no number but where prompts are."""

    def __init__(self, groups: list[int], H: int, Hkv: int, D: int, norms: bool, dtype: torch.dtype) -> None:
        torch.manual_seed(len(groups) + H + D)
        B, T = len(groups), 33
        self.qkv_BED = torch.randn(B, H + 2 * Hkv, D).to(dtype)
        angle_TD = (torch.arange(T)[:, None] * 0.7 ** torch.arange(D // 2)).repeat(1, 2)
        self.cos_TD, self.sin_TD = angle_TD.cos(), angle_TD.sin()
        starts, lengths = [40 + 9 * b for b in range(B)], [(9, 1, 4, 2, 5)[b % 5] for b in range(B)]
        self.reads = plan(groups, [3, 20], [17, 24], starts, lengths, 9, H // Hkv, D, dtype)
        self.place_B = [[17, 24, 0][n] + s - 1 for n, s in zip(groups, lengths, strict=True)]
        used = [b for b, n in enumerate(groups) if n >= 0]
        self.used_U, self.at_U = torch.tensor(used).long(), [starts[b] + lengths[b] - 1 for b in used]
        # Keys and values as a cache of layers may keep them: beside each other, with strides of their own.
        shape = (40 + 9 * B, 2, Hkv, D)
        self.whole = torch.full((math.prod(shape) + 2 * MARGIN,), float("nan"), dtype=dtype)
        self.pool = self.whole[MARGIN:-MARGIN].view(shape)
        self.pool[3:20], self.pool[20:40] = 1.5, -2.5
        self.norms = [torch.randn(D) + 1 for _ in "qk"] if norms else [None, None]

    def run(self, turn: Implementation) -> Tensor:
        v_PHD, k_PHD = self.pool.unbind(1)
        return turn(self.qkv_BED, self.cos_TD, self.sin_TD, k_PHD, v_PHD, self.reads, *self.norms, EPS)

    def exact(self) -> tuple[Tensor, Tensor, Tensor]:
        """In fp64; queries of rows not in use are 0."""
        H = self.qkv_BED.shape[1] - 2 * self.pool.shape[2]
        q, k, v = self.qkv_BED.double().split([H, *[self.pool.shape[2]] * 2], 1)
        out = []
        for x, weight in zip((q, k), self.norms, strict=True):
            if weight is not None:
                x = x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()
            turned = torch.zeros_like(x)
            for b in self.used_U.tolist():
                a, c = x[b].chunk(2, -1)
                cos, sin = (t[self.place_B[b]].double() for t in (self.cos_TD, self.sin_TD))
                turned[b] = x[b] * cos + torch.cat([-c, a], -1) * sin
            out.append(turned)
        return out[0], out[1], v


def rotation_is_right(turn: Implementation, case: tuple[Any, ...]) -> bool:
    """Queries, new keys and values; and that no other bit of the pool or beside it is touched."""
    pool = Pool(*case)
    before = pool.whole.clone()
    q_BHD, (want_q, want_k, v_BHD) = pool.run(turn), pool.exact()
    if not (q_BHD.dtype == pool.pool.dtype and q_BHD.is_contiguous() and margins_are_untouched()):
        return False
    used = pool.used_U
    v_UHD, k_UHD = pool.pool[pool.at_U].unbind(1)
    if len(used) and not (right(q_BHD[used], want_q[used]) and right(k_UHD, want_k[used])):
        return False
    unused = torch.ones(len(q_BHD), dtype=torch.bool).index_fill(0, used, False)
    if not (torch.equal(v_UHD.double(), v_BHD[used]) and (q_BHD[unused] == 0).all()):
        return False
    pool.pool[pool.at_U] = before[MARGIN:-MARGIN].view_as(pool.pool)[pool.at_U]
    return torch.equal(pool.whole.view(torch.uint8), before.view(torch.uint8))


@pytest.mark.parametrize("case", HEADS, ids=str)
def test_rotations(case: tuple[Any, ...]) -> None:
    for turn in (rotate.rotate_and_append, fused.rotate_and_append_plain):
        assert rotation_is_right(turn, case)


ROTATION_MUTANTS = [
    ("live = d < HALF", "live = d < HALF - 1"),
    ("live = d < HALF", "live = d < BLOCK"),
    ("place = (prompt_length + completion_length - 1)", "place = (prompt_length + completion_length)"),
    ("place = (prompt_length + completion_length - 1)", "place = (completion_length - 1)"),
    ("completion_start + completion_length - 1", "completion_start + completion_length"),
    ("if completion_length <= 0:", "if completion_length < 0:"),
    ("x * cos_x - y * sin_x", "x * cos_x + y * sin_x"),
    ("/ D + eps)", "/ D)"),
    ("tl.sum(x * x + y * y, 1) / D", "tl.sum(x * x + y * y, 1) / (2 * BLOCK)"),
    ("y *= scale_H1 * tl.where(h_H < H, q_y, k_y)", "y *= scale_H1 * q_y"),
    ("tl.store(v_HD, x_in", "tl.store(v_HD, x_out"),
    ("is_key = (key_H >= 0) & (key_H < Hkv)", "is_key = (key_H >= 0) & (key_H <= Hkv)"),
    ("is_value = (value_H >= 0) & (value_H < Hkv)", "is_value = (value_H >= 0) & (value_H <= Hkv)"),
    ("out_HD = q_BHD + (row * H + h_H) * D", "out_HD = q_BHD + (row * H + h_H) * 2 * BLOCK"),
    ("        tl.store(out_HD + HALF, zero, mask=is_query)\n", ""),
]
ROTATION_MUTANT_CASES = [([-1, 0, 1], 6, 2, 48, True, F32), ([0, 1], 6, 2, 48, False, F32)]


@pytest.mark.parametrize(("old", "new"), ROTATION_MUTANTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's
def test_mutants_of_rotations_are_caught(old: str, new: str, tmp_path: Path) -> None:
    broken = mutant(rotate, old, new, tmp_path)
    assert not all(rotation_is_right(broken.rotate_and_append, case) for case in ROTATION_MUTANT_CASES)


@pytest.mark.parametrize("turn", [rotate.rotate_and_append, fused.rotate_and_append_plain])
def test_the_rotation_is_by_hand_a_quarter_turn(turn: Implementation) -> None:
    pool = Pool([0], 1, 1, 16, False, F32)
    pool.cos_TD, pool.sin_TD = torch.zeros(26, 16), torch.ones(26, 16)
    q_BHD = pool.run(turn)
    x, y = pool.qkv_BED[0, 0].chunk(2)
    assert torch.equal(q_BHD[0, 0], torch.cat([-y, x]))


def test_a_place_beyond_the_tables_is_seen() -> None:
    """Place 25 of row 0 is; that of row 1 is not. What lies behind a table is not read."""
    pool = Pool([0, 1], 4, 2, 32, False, F32)
    q_BHD = pool.run(rotate.rotate_and_append)
    pool.cos_TD, pool.sin_TD = (
        torch.cat([x[:25], torch.zeros_like(x)])[:25] for x in (pool.cos_TD, pool.sin_TD)
    )
    got = pool.run(rotate.rotate_and_append)
    assert pool.place_B == [25, 24]
    assert got[0].isnan().all()
    assert torch.equal(got[1], q_BHD[1])
    with pytest.raises(IndexError):
        pool.run(fused.rotate_and_append_plain)


@pytest.mark.parametrize("norms", [False, True])
def test_rows_do_not_depend_on_their_batch(norms: bool) -> None:
    pool = Pool([0, 1, -1, 0], 4, 2, 64, norms, BF16)
    together = pool.run(rotate.rotate_and_append)
    pool.qkv_BED[1:] = float("nan")
    assert torch.equal(pool.run(rotate.rotate_and_append)[0], together[0])
    x, delta, weight = norm_case(3, 896, F32)
    h = [gpu.add_rms_norm(x[rows].clone(), delta[rows], weight, EPS, F32) for rows in (slice(3), slice(1, 2))]  # type: ignore[index]
    assert torch.equal(h[0][1:2], h[1])


GATES = [
    (N, width, dtype) for N, width in [(1, 1), (3, 5), (2, 512), (3, 1030), (5, 4864)] for dtype in DTYPES
]


def swiglu_is_right(swiglu: Implementation, N: int, width: int, dtype: torch.dtype) -> bool:
    torch.manual_seed(N + width)
    gate_up = (torch.randn(N, 2 * width) * 3).to(dtype)
    before, got = gate_up.clone(), swiglu(gate_up)
    gate, up = gate_up.double().chunk(2, -1)
    untouched = margins_are_untouched() and torch.equal(before, gate_up)
    return untouched and got.dtype == dtype and right(got, torch.nn.functional.silu(gate) * up)


@pytest.mark.parametrize(("N", "width", "dtype"), GATES)
def test_swiglu(N: int, width: int, dtype: torch.dtype) -> None:
    for swiglu in (gpu.swiglu, fused.swiglu_plain):
        assert swiglu_is_right(swiglu, N, width, dtype)


@pytest.mark.filterwarnings("ignore:overflow")
def test_swiglu_far_out_is_finite() -> None:
    gate_up = torch.tensor([[-1e4, -200.0, -90, 90, 1e4, 0] + [2.0] * 6])
    assert torch.equal(gpu.swiglu(gate_up), torch.tensor([[0.0, 0, 0, 180, 2e4, 0]]))


SWIGLU_MUTANTS = [
    ("mask=i < width)\n\n\ndef", "mask=i < width - 1)\n\n\ndef"),
    ("gate_up_N2I + 2 * row + width + i", "gate_up_N2I + 2 * row + i"),
    ("gate_up_N2I + 2 * row + i", "gate_up_N2I + row + i"),
    ("% blocks * BLOCK + tl", "* BLOCK + tl"),
    (" * -LOG2E", ""),
    ("blocks = tl.cdiv(width, BLOCK)", "blocks = tl.maximum(width // BLOCK, 1)"),
]


@pytest.mark.parametrize(("old", "new"), SWIGLU_MUTANTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's
def test_mutants_of_swiglu_are_caught(old: str, new: str, tmp_path: Path) -> None:
    broken = mutant(gpu, old, new, tmp_path)
    assert not all(swiglu_is_right(broken.swiglu, *case) for case in [(3, 5, F32), (3, 1030, F16)])


def test_the_cases_of_mutants_are_right_without_them() -> None:
    assert all(norm_is_right(gpu.add_rms_norm, *case) for case in NORM_MUTANT_CASES)
    assert all(rotation_is_right(rotate.rotate_and_append, case) for case in ROTATION_MUTANT_CASES)
    assert all(swiglu_is_right(gpu.swiglu, *case) for case in [(3, 5, F32), (3, 1030, F16)])


def test_nothing_to_do() -> None:
    assert gpu.add_rms_norm(torch.zeros(0, 8), None, torch.ones(8), EPS, F16).shape == (0, 8)
    assert gpu.swiglu(torch.zeros(0, 8)).shape == (0, 4)
    assert gpu.swiglu(torch.zeros(3, 0)).shape == (3, 0)
    assert Pool([], 4, 2, 32, False, F32).run(rotate.rotate_and_append).shape == (0, 4, 32)


def calls(pool: Pool, **options: Any) -> list[Callable[[], Tensor]]:
    x, weight, gate_up = torch.randn(2, 8), torch.ones(8), torch.randn(2, 8)
    return [
        lambda: fused.add_rms_norm(x, None, weight, EPS, F32, **options),
        lambda: pool.run(lambda *given: fused.rotate_and_append(*given, **options)),
        lambda: fused.swiglu(gate_up, **options),
    ]


def test_the_rule_and_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, ran = Pool([0], 4, 2, 32, False, F32), list[str]()
    names = ["add_rms_norm", "rotate_and_append", "swiglu"]
    for name in names:
        module = rotate if name == "rotate_and_append" else gpu
        monkeypatch.setattr(module, name, lambda *given, name=name: ran.append(name))
        monkeypatch.setattr(fused, f"{name}_plain", lambda *given, name=name: ran.append(f"plain {name}"))
    for call in calls(pool) + calls(pool, implementation="triton"):
        call()
    assert ran == [f"plain {name}" for name in names] + names
    monkeypatch.delenv("TRITON_INTERPRET")
    for call in calls(pool, implementation="triton"):
        with pytest.raises(ValueError, match="runs on CUDA tensors, not on cpu"):
            call()


def test_no_gradients() -> None:
    pool, x = Pool([0], 4, 2, 32, False, F32), torch.randn(2, 8)
    pool.qkv_BED.requires_grad_()
    weight, gate_up = torch.ones(8, requires_grad=True), torch.randn(2, 8, requires_grad=True)
    wanted: list[Callable[[], Tensor]] = [
        lambda: pool.run(fused.rotate_and_append),
        lambda: fused.add_rms_norm(x, None, weight, EPS, F32),
        lambda: fused.swiglu(gate_up),
    ]
    for call in wanted:
        with pytest.raises(ValueError, match="no gradients"):
            call()
        with torch.no_grad():
            call()


def test_what_does_not_fit_is_answered() -> None:
    x, weight = torch.randn(2, 8), torch.ones(8)
    with pytest.raises(ValueError, match="do not fit"):
        fused.add_rms_norm(x, torch.randn(2, 7), weight, EPS, F32)
    with pytest.raises(ValueError, match="contiguous fp32"):
        fused.add_rms_norm(x.half(), None, weight, EPS, F32)
    with pytest.raises(ValueError, match="contiguous fp32"):
        fused.add_rms_norm(torch.randn(8, 2).T, None, weight, EPS, F32)
    with pytest.raises(ValueError, match=r"kind: torch\.float16"):
        fused.add_rms_norm(x, x.half(), weight, EPS, BF16, "triton")
    with pytest.raises(ValueError, match=r"kind: torch\.float32 with strides"):
        fused.add_rms_norm(x, torch.randn(8, 2).T, weight, EPS, F32, "triton")
    with pytest.raises(ValueError, match="up to 8,192 elements, not 8,193"):
        fused.add_rms_norm(torch.zeros(1, 8193), None, torch.ones(8193), EPS, F32, "triton")
    for gate_up in (torch.randn(2, 7), torch.randn(8, 2).T):
        with pytest.raises(ValueError, match="contiguous"):
            fused.swiglu(gate_up)
    with pytest.raises(ValueError, match=r"not torch\.float64"):
        fused.swiglu(torch.randn(2, 8).double(), "triton")
    pool = Pool([0, 1], 4, 2, 32, True, F16)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"qkv_BED": pool.qkv_BED[:, :6]}, "not for 2 rows and .* of 2 heads"),
        ({"qkv_BED": pool.qkv_BED[:1]}, "not for 1 rows"),
        ({"qkv_BED": pool.qkv_BED[..., :16]}, "D, dtype"),
        ({"qkv_BED": pool.qkv_BED.float()}, "qkv of the pool's dtype"),
        ({"cos_TD": pool.cos_TD.half()}, "contiguous fp32"),
        ({"cos_TD": pool.cos_TD[:7]}, "do not fit"),
        ({"norms": [None, torch.ones(32)]}, "come together"),
        ({"norms": [torch.ones(8), torch.ones(32)]}, "do not fit"),
    ]
    for change, said in changes:
        pool = Pool([0, 1], 4, 2, 32, True, F16)
        for name, value in change.items():
            setattr(pool, name, value)
        with pytest.raises(ValueError, match=said):
            pool.run(lambda *given: fused.rotate_and_append(*given, implementation="triton"))


def test_every_launch_is_shipped() -> None:
    """Their options are; and every combination of dtypes, that launches take, is listed once."""
    shipped = gpu.shipped() + rotate.shipped()
    assert len({x.name for x in shipped}) == len(shipped)
    found = {(x.kernel.__name__, x.signature.get("h_NC", x.signature.get("q_BHD"))): set() for x in shipped}
    for x in shipped:
        constants = {name: value for name, value in x.constants.items() if value is not None}
        found[x.kernel.__name__, x.signature.get("h_NC", x.signature.get("q_BHD"))].add(
            (*constants.values(), x.num_warps)
        )
    for dtype, kind in zip(DTYPES, ("*fp32", "*fp16", "*bf16"), strict=True):
        norms = {tuple(gpu.norm_options(C).values()) for C in range(1, 8193)}
        assert found["norm_kernel", kind] == norms
        assert found["rotate_kernel", kind] == {tuple(rotate.options(D, dtype).values()) for D in HEAD_DIMS}
        assert tuple(gpu.swiglu_options(dtype).values()) in found["swiglu_kernel", None]
