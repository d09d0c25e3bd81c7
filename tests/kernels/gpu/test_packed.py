"""The packed kernels, forward and backward, in Triton's interpreter against the definition in fp64."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mutants import mutant
from precision import TOLERANCE, right
from torch import Tensor

from shuhari.kernels.gpu import packed as gpu
from shuhari.kernels.gpu import packed_backward, packed_forward, packed_tiles, packed_walk
from shuhari.kernels.gpu.launch import HEAD_DIMS, Blocks
from shuhari.kernels.gpu.packed import Given
from shuhari.kernels.packed import packed_attention, plain
from shuhari.kernels.segments import Segments

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
S, L = Blocks(16, 16, 4, 1), Blocks(32, 16, 4, 1)
W = Blocks(16, 32, 4, 1)
SMALL = Given(S, S, S, 32)
# lengths, prompts: one position, tiles full and not, prompts of 0, 1 and many readers, tiles over several
# readers, empty segments, an empty prompt, and what follows a prompt without readers
PACKS = [
    ([1], [-1]),
    ([16], [-1]),
    ([17, 32, 1, 5], [-1, -1, -1, -1]),
    ([1, 1, 6], [-1, 0, 0]),
    ([33, 17], [-1, 0]),
    ([19, 3, 9, 1, 6, 2], [-1, 0, 0, 0, 0, 0]),
    ([5, 21, 30], [-1, 0, 0]),
    ([0, 7, 12], [-1, 0, 0]),
    ([9, 0, 3, 0, 18, 4, 4, 1, 6], [-1, 0, 0, -1, 3, -1, 5, 5, -1]),
    ([19, 12, 36], [-1, 0, 0]),
]
MIXED = ([21, 3, 18, 5, 6, 9, 2, 17], [-1, 0, 0, 0, -1, -1, 5, 5])


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What kernels leave unwritten is NaN."""

    def empty(*sizes: int, **options: Any) -> Tensor:
        return torch.full(sizes, float("nan"), **options)

    monkeypatch.setattr(torch, "empty", empty)


def close(got: Tensor, want: Tensor) -> bool:
    """`right`, or next to nothing where `want` is 0: as the gradients of the only key's score."""
    return right(got, want) if want.any() else bool(got.abs().max() <= TOLERANCE[got.dtype])


def draw(segments: Segments, D: int, H: int, Hkv: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """q, k, v and the gradient of o."""
    torch.manual_seed(D + H)
    N = sum(segments.lengths)
    return tuple(torch.randn(N, heads, D).to(dtype) for heads in (H, Hkv, Hkv, H))


def exact(q: Tensor, k: Tensor, v: Tensor, up: Tensor, segments: Segments) -> list[Tensor]:
    """o and the gradients, in fp64."""
    leaves = [x.detach().double().requires_grad_() for x in (q, k, v)]
    o = plain(*leaves, segments)
    return [o.detach(), *torch.autograd.grad(o, leaves, up.double())]


def agrees(
    pack: tuple[list[int], list[int]],
    D: int,
    H: int,
    Hkv: int,
    dtype: torch.dtype,
    given: Given | None = None,
    module: Any = gpu,
) -> bool:
    """Whether the kernels' o and gradients are right."""
    segments = Segments.pack(*pack)
    q, k, v, up = draw(segments, D, H, Hkv, dtype)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    o = module.attention(*leaves, segments, given)
    got = [o.detach(), *torch.autograd.grad(o, leaves, up)]
    assert [x.dtype for x in got] == [dtype] * 4
    return all(map(close, got, exact(q, k, v, up, segments)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pack", PACKS)
def test_packs(pack: tuple[list[int], list[int]], dtype: torch.dtype) -> None:
    assert agrees(pack, 32, 1, 1, dtype, SMALL)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("H", "Hkv"), [(3, 3), (4, 2), (4, 1), (7, 1)])
def test_heads(H: int, Hkv: int, dtype: torch.dtype) -> None:
    assert agrees(([17 if H == 4 else 9, 2, 3], [-1, 0, 0]), 32, H, Hkv, dtype, SMALL)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", [8, 40, 80, 96, 128, 256])
def test_head_dims(D: int, dtype: torch.dtype) -> None:
    assert agrees(([18, 5, 3], [-1, 0, 0]), D, 1, 1, dtype, SMALL)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", [Given(L, L, L, 16), Given(W, W, W, 40), Given(L, W, W), Given(W, L, S)])
def test_blocks(given: Given, dtype: torch.dtype) -> None:
    assert agrees(MIXED, 32, 1, 1, dtype, given)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", HEAD_DIMS)
def test_shipped_configurations(D: int, dtype: torch.dtype) -> None:
    pack = ([34, 3, 15], [-1, 0, 0]) if dtype == torch.float32 else ([70, 9, 121], [-1, 0, 0])
    assert agrees(pack, D, 1, 1, dtype)


@pytest.mark.long
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", HEAD_DIMS)
def test_shipped_configurations_at_length(D: int, dtype: torch.dtype) -> None:
    lengths = [150, 9, 300, 1, 131, 64, 257]
    if dtype == torch.float32:  # smaller blocks
        lengths = [-(-n // 4) for n in lengths]
    assert agrees((lengths, [-1, 0, 0, -1, -1, 4, 4]), D, 4, 2, dtype)


@pytest.mark.long
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_shipped_shares(dtype: torch.dtype) -> None:
    assert agrees(([20, 900, 900, 500], [-1, 0, 0, 0]), 64, 1, 1, dtype)


def test_forward_by_itself() -> None:
    segments = Segments.pack(*MIXED)
    q, k, v, _ = draw(segments, 32, 2, 1, torch.float32)
    o, lse = packed_forward.forward(q, k, v, segments, S)
    assert right(o, plain(q.double(), k.double(), v.double(), segments))
    keys = torch.cat([k[53:62], k[64:]])  # of the last position: its prompt's and its segment's
    scores = torch.einsum("hd,khd->hk", q[-1].double(), keys.double().repeat_interleave(2, 1)) * 32**-0.5
    assert right(lse[:, -1], scores.logsumexp(1) / torch.log(torch.tensor(2.0)).double())


def test_strided_inputs_are_read_where_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments.pack([18, 5, 3], [-1, 0, 0])
    qkv = torch.randn(26, 4, 32)
    q, k, v = qkv[:, :2], qkv[:, 2:3], qkv[:, 3:]
    up = torch.randn(2, 32, 26).permute(2, 0, 1)
    want = exact(q, k, v, up, segments)
    leaf = qkv.clone().requires_grad_()
    o = gpu.attention(leaf[:, :2], leaf[:, 2:3], leaf[:, 3:], segments, SMALL)
    (gradient,) = torch.autograd.grad(o, leaf, up)
    assert right(o.detach(), want[0])
    assert right(gradient, torch.cat(want[1:], 1))
    copies: list[Tensor] = []
    contiguous = Tensor.contiguous
    monkeypatch.setattr(Tensor, "contiguous", lambda x: copies.append(x) or contiguous(x))  # type: ignore[func-returns-value]
    packed_forward.forward(q, k, v, segments, S)
    assert not copies
    odd = torch.randn(26, 2, 33)[..., :32]
    o, _ = packed_forward.forward(odd, k, v, segments, S)
    assert len(copies) == 1
    assert right(o, plain(odd.double(), k.double(), v.double(), segments))


def test_no_positions() -> None:
    segments = Segments.pack([0, 0], [-1, 0])
    q, k, v, up = draw(segments, 32, 2, 1, torch.float32)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    o = gpu.attention(*leaves, segments)
    assert [x.shape for x in torch.autograd.grad(o, leaves, up)] == [x.shape for x in leaves]


def test_the_chooser_reaches_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments.pack([18, 5, 3], [-1, 0, 0])
    q, k, v, _ = draw(segments, 32, 2, 1, torch.float32)
    ran = []
    original = gpu.forward
    monkeypatch.setattr(gpu, "forward", lambda *x: ran.append(1) or original(*x))  # type: ignore[func-returns-value]
    o = packed_attention(q, k, v, segments, "triton")
    assert ran == [1]
    assert right(o, plain(q.double(), k.double(), v.double(), segments))


@pytest.mark.parametrize(
    ("D", "dtype", "message"), [(36, torch.float32, "multiples of 8"), (264, torch.float32, "up to 256"),
                                (32, torch.float64, "not torch.float64")]
)  # fmt: skip
def test_what_cannot_run_is_named(D: int, dtype: torch.dtype, message: str) -> None:
    x = torch.zeros(3, 1, D, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        packed_attention(x, x, x, Segments.pack([3], [-1]), "triton")


def test_the_same_bits_whatever_else_is_in_the_pack() -> None:
    alone = Segments.pack([18, 5, 3], [-1, 0, 0])
    among = Segments.pack([7, 18, 5, 3, 9], [-1, -1, 1, 1, -1])
    q, k, v, up = draw(among, 32, 2, 1, torch.float32)
    results = []
    for segments, span in ((alone, slice(7, 33)), (among, slice(None))):
        leaves = [x[span].clone().requires_grad_() for x in (q, k, v)]
        o = gpu.attention(*leaves, segments, SMALL)
        results.append([o, *torch.autograd.grad(o, leaves, up[span])])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b[7:33])


def test_tiles_hold_every_pair_once_and_the_heaviest_come_first() -> None:
    segments = Segments.pack(*MIXED)
    rows = packed_tiles.query_tiles(segments, 16).tolist()
    positions = [i for start, run_end, *_ in rows for i in range(start, min(start + 16, run_end))]
    assert sorted(positions) == list(range(81))
    keys = [
        min(start + 16, run_end) - segment + prompt_end - prompt_start
        for start, run_end, segment, _, prompt_start, prompt_end in rows
    ]
    assert keys == sorted(keys, reverse=True)
    table, sums, slots = packed_tiles.key_tiles(segments, 16, 32)
    spans = [last - first for _, _, first, _, last, _ in table.tolist()]
    assert spans == sorted(spans, reverse=True)
    assert max(spans) <= 32
    used = sorted(slot for *_, slot in table.tolist() if slot >= 0)
    assert used == list(range(slots)) == [i for _, _, slot, n in sums.tolist() for i in range(slot, slot + n)]


def drawing() -> str:
    """The picture in `packed_tiles`, made of its tables as kernels walk over them."""
    segments, size, names = Segments.pack([6, 5, 3], [-1, 0, 0]), 4, "PPPPPPAAAAABBB"
    first = segments.first_N.tolist()
    left, right = ([[" "] * len(names) for _ in names] for _ in range(2))
    tiles = sorted(packed_tiles.query_tiles(segments, size).tolist())
    for start, run_end, segment, whole_end, prompt_start, prompt_end in tiles:
        end = min(start + size, run_end)
        for q in range(start, end):
            for k in [*range(prompt_start, prompt_end), *range(segment, whole_end)]:
                left[q][k] = "#"
            for k in range(whole_end, end):
                left[q][k] = "+" if first[q] <= k <= q else "."
    for start, run_end, first_query, masked_end, queries_end, _ in packed_tiles.key_tiles(segments, size)[0]:
        for q in range(first_query, queries_end):
            for k in range(start, min(start + size, run_end)):
                seen = first[q] <= k <= q or first[q] >= run_end
                right[q][k] = "#" if q >= masked_end else "+" if seen else "."
    starts = [start for start, *_ in tiles]

    def columns(row: Sequence[str]) -> str:
        return "".join(("|" if k in starts else " ") + x for k, x in enumerate(row))[1:]

    lines = [f"          {' '.join(names)}          {columns(names)}"]
    for q, name in enumerate(names):
        if q in starts:
            lines.append(f"          {'-' * 27}          {columns(' ' * len(names))}")
        lines.append(f"    {name} {q:2}  {' '.join(left[q])}          {columns(right[q])}")
    return "\n".join(line.rstrip() for line in lines)


def test_the_drawing_is_what_the_tables_say() -> None:
    assert drawing() in (packed_tiles.__doc__ or "")


MUTANTS = [
    # the walk of forward and dQ
    (packed_walk, "keys_N[None, :] <= to_M[:, None]", "keys_N[None, :] < to_M[:, None]"),
    (packed_walk, "keys_N[None, :] >= from_M[:, None]", "keys_N[None, :] >= 0"),
    (packed_walk, "prompt_end - 1, rows_M", "prompt_end, rows_M"),
    (packed_walk, "segment += (count - of_prompt) * BLOCK_N", "segment += 0"),
    (packed_walk, "prompt_start += of_prompt * BLOCK_N", "prompt_start += 0"),
    # tiles
    (packed_tiles, "np.where(x.one_segment, x.start, x.segment)", "x.start"),
    (packed_tiles, "np.where(x.one_segment, x.end, x.queries_end)[tile]", "x.end[tile]"),
    # forward
    (packed_forward, "sum_M * fade_M + tl.sum", "sum_M + tl.sum"),
    (packed_forward, "o_MD = o_MD * fade_M[:, None]", "o_MD = o_MD * 1.0"),
    (packed_forward, "top_M + tl.log2(sum_M)", "top_M"),
    (packed_forward, 'tl.where(higher_M == float("-inf"), 0.0, higher_M)', "higher_M"),
    # delta
    (gpu, "o_RD.to(tl.float32) * d_o_RD", "d_o_RD.to(tl.float32) * d_o_RD"),
    (gpu, "keep_R = start + r_R < N", "keep_R = start + r_R < N - 1"),
    (gpu, "(head * UNIT).to(tl.int64) * d_o_head", "(head * UNIT).to(tl.int64) * 0"),
    # dQ
    (packed_backward, "tl.where(seen(block), p_MN, 0.0)", "p_MN"),
    (packed_backward, "p_MN * (d_p_MN - delta_M[:, None])", "p_MN * d_p_MN"),
    (packed_backward, "d_q_MD * d_scale", "d_q_MD"),
    # dK and dV
    (packed_backward, "tl.where(first_M < run_end, first_M, 0)", "first_M"),
    (packed_backward, "keys_N[:, None] >= from_M[None, :]", "keys_N[:, None] >= 0"),
    (packed_backward, "keys_N[:, None] <= rows_M[None, :]", "keys_N[:, None] < rows_M[None, :]"),
    (packed_backward, "i // divisor", "0"),
    (packed_backward, "keep_M = rows_M < queries_end", "keep_M = rows_M < N"),
    (packed_backward, "d_k_ND *= d_scale", "d_k_ND *= 1.0"),
    # sums of shares
    (gpu, "range(0, slots)", "range(1, slots)"),
    (gpu, "((slot + i) * key_heads", "(slot * key_heads"),
    (gpu, "d_v_RD += tl.load(place_RD + BLOCK_N * BLOCK_D)", "d_v_RD += tl.load(place_RD)"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NaN
@pytest.mark.parametrize("module, old, new".split(", "), MUTANTS)
def test_mutants_are_caught(
    module: Any, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = mutant(module, old, new, tmp_path)
    if module is packed_forward:
        monkeypatch.setattr(gpu, "forward", changed.forward)
    elif module is packed_backward:
        for name in ("query_kernel", "key_kernel"):
            monkeypatch.setattr(packed_backward, name, getattr(changed, name))
    elif module is packed_tiles:
        for name in ("query_tiles", "key_tiles"):
            monkeypatch.setattr(packed_tiles, name, getattr(changed, name))
    elif module is packed_walk:
        for user in (packed_forward, packed_backward):
            for name in ("walk", "seen"):
                monkeypatch.setattr(user, name, getattr(changed, name))
    prompt = (
        0 if "-inf" in old else 17
    )  # only a query without a prompt may meet keys that it does not see first
    pack = [prompt, 3, 30, 5, 4], [-1, 0, 0, 0, -1]
    heads = 2 if "head" in old or "divisor" in old else 1
    assert not agrees(pack, 32, heads, 1, torch.float32, SMALL, changed if module is gpu else gpu)
