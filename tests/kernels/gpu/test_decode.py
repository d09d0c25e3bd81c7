"""Decode's kernels against the definition in fp64, in pools that are NaN wherever nothing may be read."""

import random
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from harness import mutant, relative_rms, right
from torch import Tensor

from shuhari.kernels import decode
from shuhari.kernels.decode import OWN, PROMPT, SHARED, Reads, plan
from shuhari.kernels.gpu import decode as gpu
from shuhari.kernels.gpu import merge

FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16
SPLIT = 32  # in most tests, and blocks of 16: as much happens in 70 keys as in 600


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is allocated and not written is NaN: parts and log-sum-exps too."""

    def empty(*shape: int, dtype: torch.dtype = FP32, device: object = None) -> Tensor:
        return torch.full(shape, float("nan"), dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits of 32 keys, blocks of 16, tiles of 32 query rows."""
    shipped = gpu.options

    def options(D: int, dtype: torch.dtype) -> dict[str, int]:
        return {**shipped(D, dtype), "SPLIT": SPLIT, "WIDE": 32, "BLOCK_N": 16, "WIDE_N": 16}

    monkeypatch.setattr(decode, "tiling", lambda D, dtype: (SPLIT, 32))
    monkeypatch.setattr(gpu, "options", options)


# Number of each row's prompt (-1: not in use), keys of the prompts, own keys of the rows, own capacity.
LAYOUTS = {
    "one key": ([0], [0], [1], 32),
    "one prompt key": ([0, 0], [1], [1, 0], 1),
    "nothing": ([0, -1], [0], [0, 0], 40),
    "ragged": ([1, 0, 2, 0, -1, 1, 0], [33, 5, 70], [1, 31, 65, 33, 9, 0, 32], 70),
    "two tiles": ([0, 1, 0, 0, 0, 0], [65, 0], [7, 1, 0, 40, 5, 33], 64),
    "no own keys": ([2, 0, 1], [97, 64, 3], [0, 0, 0], 33),
}
CASES = [  # and head dimension, query heads for each key head, key heads
    *[("ragged", x) for x in ((32, 1, 2), (64, 2, 1), (80, 1, 1), (128, 2, 1), (256, 1, 1))],
    *[("two tiles", x) for x in ((80, 7, 1), (48, 3, 2))],
    *[("one key", x) for x in ((32, 20, 1), (128, 4, 2))],
    *[("one prompt key", x) for x in ((96, 8, 1), (256, 1, 1))],
    *[("no own keys", x) for x in ((80, 7, 1), (112, 3, 1))],
    ("nothing", (32, 1, 2)),
]


class Case:
    """Queries and a pool, NaN but for the ranges; each sequence's numbers depend on its name only."""

    def __init__(
        self, layout: tuple, D: int, r: int, Hkv: int, dtype: torch.dtype, names: list[int] | None = None
    ) -> None:
        group_B, prompt_length_N, own_length_B, self.capacity = layout
        self.group_B, self.dtype, self.shape = group_B, dtype, (r, D)
        lengths = [*prompt_length_N, *[self.capacity] * len(group_B)]
        order = list(range(len(lengths)))
        random.Random(len(lengths)).shuffle(order)
        starts, end = [0] * len(lengths), 3
        for i in order:
            starts[i], end = end, end + lengths[i] + 2
        self.prompts = starts[: len(prompt_length_N)], prompt_length_N
        self.own = starts[len(prompt_length_N) :], own_length_B
        pool = torch.full((end, 2, Hkv, D), float("nan"), dtype=dtype)
        self.k, self.v = pool.unbind(1)  # not contiguous
        rows = []
        for n, (start, length) in enumerate(zip(*self.prompts, strict=True)):
            pool[start : start + length] = normal(1000 + n, length, 2, Hkv, D).to(dtype)
        for b, (start, length) in enumerate(zip(*self.own, strict=True)):
            name = b if names is None else names[b]
            if group_B[b] >= 0:
                own = 2 * normal(name, length, 2, Hkv, D)  # the maximum is to grow
                pool[start : start + length] = own.to(dtype)
            rows.append(normal(name + 500, r * Hkv, D))
        self.q = torch.stack(rows).to(dtype)

    def reads(self, shared: bool | None, **sizes: int) -> Reads:
        return plan(
            self.group_B,
            *self.prompts,
            *self.own,
            self.capacity,
            *self.shape,
            self.dtype,
            shared=shared,
            **sizes,
        )

    def run(self, reads: Reads, module: ModuleType = gpu) -> Tensor:
        out = torch.full_like(self.q, float("nan"))
        assert module.decode(self.q, self.k, self.v, reads, self.shape[1] ** -0.5, out) is out
        return out

    def want(self, reads: Reads) -> Tensor:
        q, k, v = (x.double() for x in (self.q, self.k, self.v))
        return decode.plain(q, k, v, reads, self.shape[1] ** -0.5)

    def right(self, got: Tensor, reads: Reads) -> bool:
        want = self.want(reads)
        return right(got, want) if want.any() else torch.equal(got, torch.zeros_like(got))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", [FP32, FP16, BF16])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("layout", "shape"), CASES)
def test_against_fp64(layout: str, shape: tuple[int, int, int], shared: bool, dtype: torch.dtype) -> None:
    case = Case(LAYOUTS[layout], *shape, dtype)
    reads = case.reads(shared)
    got = case.run(reads)
    assert case.right(got, reads), relative_rms(got, case.want(reads))
    for b, n in enumerate(case.group_B):
        assert n >= 0 or not got[b].any()


LONG = ([0, 0, 1, -1, 0], [515, 3], [1, 257, 0, 0, 34], 300)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("D", "r", "Hkv", "dtype"), [(128, 4, 1, BF16), (64, 7, 1, FP16), (80, 2, 1, FP32), (256, 8, 1, BF16)]
)
def test_as_shipped(D: int, r: int, Hkv: int, dtype: torch.dtype, shared: bool) -> None:
    """In the splits and blocks that a GPU runs."""
    case = Case(LONG, D, r, Hkv, dtype)
    reads = case.reads(shared)
    assert case.right(case.run(reads), reads)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("shared", [False, True])
def test_no_bit_depends_on_the_batch(shared: bool, dtype: torch.dtype) -> None:
    """Alone, among others, in another order, with more capacity or padding: the same bits."""
    everyone = ([1, 0, 0, 0, 1, 0], [40, 33], [1, 33, 0, 2, 7, 9], 40)
    case = Case(everyone, 80, 2, 1, dtype)
    want = case.run(case.reads(shared))
    for rows, capacity, padding in (
        ([1], 33, 0),
        ([5, 1], 40, 1),
        ([2, -1, 1], 90, 0),
        ([5, 4, 3, 2, 1, 0], 70, 5),
    ):
        group_B = [everyone[0][row] if row >= 0 else -1 for row in rows]
        own_B = [everyone[2][row] if row >= 0 else 5 for row in rows]
        some = Case((group_B, everyone[1], own_B, capacity), 80, 2, 1, dtype, rows)
        work, splits = decode.most_work(len(rows), 40, capacity, 80, dtype)
        got = some.run(some.reads(shared, work=work + padding, splits=splits + padding))
        for row, bits in zip(rows, got, strict=True):
            assert torch.equal(bits, want[row] if row >= 0 else torch.zeros_like(bits))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("shared", [False, True])
def test_steps_in_place(shared: bool) -> None:
    """What a graph does: lengths grow on the device; each step appends and attends; a plan moves in."""
    first = Case(([0, 1, 0, -1], [40, 3], [30, 0, 1, 0], 80), 64, 2, 1, FP16)
    second = Case(([1, -1, 1, 0], [65, 7], [5, 0, 64, 31], 80), 64, 2, 1, FP16)
    sizes = dict(zip(("work", "splits"), decode.most_work(4, 65, 80, 64, FP16), strict=True))
    static = first.reads(shared, **sizes).to("cpu")
    addresses = [x.data_ptr() for x in static.tensors()]
    for case in (first, second):
        static.copy_(case.reads(shared, **sizes))
        used_B = torch.tensor(case.group_B) >= 0
        for step in range(2):
            static.own_length_B.add_(used_B)
            k_BHD, v_BHD = normal(step, 4, 2, 1, 64).half().unbind(1)
            merge.append(k_BHD, v_BHD, case.k, case.v, static)
            for b, (start, before) in enumerate(zip(*case.own, strict=True)):
                if used_B[b]:
                    assert torch.equal(case.k[start + before + step], k_BHD[b])
                    assert torch.equal(case.v[start + before + step], v_BHD[b])
            assert case.right(case.run(static), static)
    assert addresses == [x.data_ptr() for x in static.tensors()]


def appended(module: ModuleType | None, Hkv: int, D: int, dtype: torch.dtype) -> Tensor:
    """A pool after appending, NaN where nothing was written; by the definition without a module."""
    case = Case(LAYOUTS["ragged"], D, 1, Hkv, dtype)
    case.k.fill_(float("nan")), case.v.fill_(float("nan"))
    k_BHD, v_BHD = normal(0, len(case.q), 2, Hkv, D).to(dtype).unbind(1)
    (decode.append_plain if module is None else module.append)(
        k_BHD, v_BHD, case.k, case.v, case.reads(False)
    )
    return torch.stack([case.k, case.v]).nan_to_num(nan=777.0)


@pytest.mark.parametrize("dtype", [FP32, FP16, BF16])
@pytest.mark.parametrize(("Hkv", "D"), [(1, 32), (2, 80), (9, 48), (3, 256)])
def test_append(Hkv: int, D: int, dtype: torch.dtype) -> None:
    got = appended(merge, Hkv, D, dtype)
    assert torch.equal(got, appended(None, Hkv, D, dtype))
    assert int((got != 777).sum()) == 2 * 5 * Hkv * D  # of seven rows one is not in use, one has no key yet


SPLIT_MUTANTS = {
    "a wrong mask edge": ("live_N = start + n_N < n\n", "live_N = start + n_N <= n\n"),
    "a mask for loads only": ("tl.where(live_N[None, :], s_MN", "tl.where(live_N[None, :] | True, s_MN"),
    "a dropped rescale of outputs": ("v, o_MD * fade_M[:, None],", "v, o_MD,"),
    "a dropped rescale of sums": ("sum_M * fade_M + tl.sum", "sum_M + tl.sum"),
    "a stale length": (
        "        length = tl.load(own_length_B + row)",
        "        length = tl.load(own_length_B + row) - 1",
    ),
    "own parts over the prompt's": ("slot += (length + SPLIT - 1) // SPLIT", "slot += 0"),
    "a split too long": ("length - split * SPLIT, SPLIT)", "length - split * SPLIT, SPLIT + 1)"),
    "a split that starts late": ("(start + split * SPLIT)", "(start + split * SPLIT + 1)"),
    "keys of the first head": ("(block // per_kv).to", "(block * 0).to"),
    "a dropped maximum in the sums": ("top_M + tl.log2(sum_M)", "tl.log2(sum_M)"),
}
TILE_MUTANTS = {
    "a sample short": ("used_M = m_M < count * R", "used_M = m_M < tl.maximum(count * R - R, R)"),
    "one sample for all": ("rows_B + first + m_M // R", "rows_B + first + m_M * 0"),
    "samples for heads": ("block * R + m_M % R", "block * R + m_M // R"),
    "rows out of order": (
        "tl.load(rows_B + first + m_M // R, mask=used_M, other=0).to",
        "(first + m_M // R).to",
    ),
    "another group's prompt": ("row = tl.load(rows_B + place)", "row = place"),
    "the first tile's place": ("to(tl.int64) * B + place) * R", "to(tl.int64) * B + place // 2 * 2) * R"),
}
MERGE_MUTANTS = {
    "a dropped rescale of outputs": ("o_D * fade + tl.sum", "o_D + tl.sum"),
    "a dropped rescale of sums": ("total * fade + tl.sum", "total + tl.sum"),
    "a wrong mask edge": ("live_S = start + s_S < n\n", "live_S = start + s_S <= n\n"),
    "a stale number of splits": (
        "(tl.load(own_length_B + row) + SPLIT - 1) // SPLIT",
        "tl.load(own_length_B + row) // SPLIT",
    ),
    "the lengths of another row": ("row = tl.load(rows_B + place).to", "row = place.to"),
    "0 / 0 for nothing": ("tl.where(n > 0, total, 1.0)", "total"),
    "all splits alike": ("tl.exp2(l_S - higher)", "tl.where(live_S, 1.0, 0.0)"),
}
APPEND_MUTANTS = {
    "one place late": ("+ length - 1)", "+ length)"),
    "rows not in use": ("    if length <= 0:\n        return\n", "    length = tl.maximum(length, 1)\n"),
    "keys for values": ("v_HD = tl.load(v_BHD +", "v_HD = tl.load(k_BHD +"),
    "a head short": ("mask_HD = (h_H < Hkv) &", "mask_HD = (h_H < Hkv - 1) &"),
}
MERGED_MANY = (
    [0, 1, 0, 1, 0, -1],
    [300, 40],
    [40, 1, 33, 0, 2, 0],
    40,
)  # more splits than are loaded at once


SMALL = ([1, 0, 1], [70, 3], [40, 0, 7], 40)
UNEQUAL = ([1, 0, 0, 1, 0, 0, 0], [65, 3], [1, 0, 40, 0, 0, 33, 7], 40)


def wrong(case: Case, shared: bool, module: ModuleType) -> bool:
    """Whether the comparison above tells that module from what is right."""
    reads = case.reads(shared, splits=20)  # room for mutants that read too far
    return not case.right(case.run(reads, module), reads)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("layout", "shape"), [(SMALL, (80, 1, 2)), (UNEQUAL, (48, 7, 1)), (MERGED_MANY, (48, 2, 1))]
)
def test_what_mutants_fail_is_passed_unchanged(layout: tuple, shape: tuple[int, int, int]) -> None:  # type: ignore[type-arg]
    case = Case(layout, *shape, FP32)
    assert not wrong(case, False, gpu)
    assert not wrong(case, True, gpu)


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", SPLIT_MUTANTS)
def test_mutants_of_splits_are_caught(name: str, tmp_path: Path) -> None:
    made = mutant(gpu, *SPLIT_MUTANTS[name], tmp_path)
    made.options = gpu.options
    assert wrong(Case(SMALL, 80, 1, 2, FP32), False, made)


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", TILE_MUTANTS)
def test_mutants_of_tiles_are_caught(name: str, tmp_path: Path) -> None:
    made = mutant(gpu, *TILE_MUTANTS[name], tmp_path)
    made.options = gpu.options
    assert wrong(Case(UNEQUAL, 48, 7, 1, FP32), True, made)


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", MERGE_MUTANTS)
def test_mutants_of_merging_are_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(MERGED_MANY, 48, 2, 1, FP32)
    monkeypatch.setattr(gpu, "merge", mutant(merge, *MERGE_MUTANTS[name], tmp_path).merge)
    assert wrong(case, True, gpu)


@pytest.mark.parametrize("name", APPEND_MUTANTS)
def test_mutants_of_appending_are_caught(name: str, tmp_path: Path) -> None:
    made = mutant(merge, *APPEND_MUTANTS[name], tmp_path)
    assert not torch.equal(appended(made, 3, 80, FP32), appended(None, 3, 80, FP32))


@pytest.mark.parametrize("shared", [False, True, None])
def test_every_split_of_every_row_is_somebodys_work_once(shared: bool | None) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        lengths = [draw.choice([0, 1, 255, 256, 300, 600]) for _ in range(4)]
        group_B = [draw.randrange(-1, 4) for _ in range(draw.randrange(30))]
        B, capacity = len(group_B), draw.choice([1, 256, 257])
        given = ([0] * 4, lengths, [0] * B, [0] * B, capacity, 7, 64, BF16)
        work, splits = decode.most_work(B, 600, capacity, 64, BF16)
        reads = plan(group_B, *given, shared=shared, work=work, splits=splits)
        assert sorted(reads.rows_B.tolist()) == list(range(B))
        done = []
        for kind, place, row, split in reads.work_W4.tolist():
            if kind == SHARED:
                assert row <= 9  # 64 // 7
                rows = reads.rows_B[place : place + row].tolist()
                assert len({group_B[b] for b in rows}) == 1
                assert shared or decode.sharing_pays(
                    group_B.count(group_B[rows[0]]), lengths[group_B[rows[0]]]
                )
            elif kind:
                rows = [row]
                assert reads.rows_B[place] == row
            else:
                rows = []
            done += [(kind == OWN, b, split) for b in rows]
        due = [(False, b, i) for b, n in enumerate(group_B) if n >= 0 for i in range(-(-lengths[n] // 256))]
        due += [(True, b, i) for b, n in enumerate(group_B) if n >= 0 for i in range(-(-capacity // 256))]
        assert sorted(done) == sorted(due)


def test_the_rule_of_sharing() -> None:
    def kinds(rows: int, length: int, shared: bool | None) -> set[int]:
        given = ([0], [length], [0] * rows, [1] * rows, 8, 1, 64, BF16)
        return set(plan([0] * rows, *given, shared=shared).work_W4[:, 0].tolist()) - {OWN}

    assert kinds(4, 256, None) == {SHARED}
    assert kinds(3, 256, None) == kinds(4, 255, None) == {PROMPT}
    assert kinds(4, 256, False) == {PROMPT}
    assert kinds(1, 1, True) == {SHARED}


def test_what_is_asked_for_wrongly_is_said_in_a_line() -> None:
    case = Case(LAYOUTS["ragged"], 64, 2, 2, FP16)
    reads = case.reads(None)
    with pytest.raises(ValueError, match="more than the capacity"):
        plan([0], [0], [1], [0], [9], 8, 2, 64, FP16)
    with pytest.raises(ValueError, match="do not fit"):
        case.reads(None, work=3)
    with pytest.raises(ValueError, match="does not fit"):
        reads.copy_(case.reads(None, splits=9))
    with pytest.raises(ValueError, match="planned for"):
        decode.decode_attention(case.q.float(), case.k.float(), case.v.float(), reads)
    with pytest.raises(ValueError, match="must be alike"):
        decode.decode_attention(case.q.float(), case.k, case.v, reads)
    with pytest.raises(ValueError, match="strides"):
        gpu.decode(case.q.mT.contiguous().mT, case.k, case.v, reads, 1.0, case.q)


def test_the_choice_is_a_rule_and_an_argument_overrules_it(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(LAYOUTS["one prompt key"], 32, 1, 1, FP32)
    given, ran = (case.q, case.k, case.v, case.reads(None)), []
    fake = SimpleNamespace(
        decode=lambda *x: ran.append("decode") or x[-1], append=lambda *x: ran.append("append")
    )
    monkeypatch.setattr(gpu, "decode", fake.decode)
    monkeypatch.setattr(merge, "append", fake.append)
    monkeypatch.setattr(decode, "plain", lambda *x: ran.append("plain") or x[0])
    monkeypatch.setattr(decode, "append_plain", lambda *x: ran.append("append plain"))
    for implementation in (None, "triton"):
        decode.decode_attention(*given, implementation)  # type: ignore[arg-type]
        decode.append(case.q, case.q, *given[1:], implementation)  # type: ignore[arg-type]
    assert ran == ["plain", "append plain", "decode", "append"]
    out = torch.full_like(case.q, float("nan"))
    assert decode.decode_attention(*given, out=out) is out
    assert torch.equal(out, case.q)


def test_every_head_dimension_and_dtype_is_shipped() -> None:
    names = {x.name for module in (gpu, merge) for x in module.shipped()}
    assert {
        f"{x} {t} D{D}" for x in ("splits", "merge", "append") for t in ("fp32", "bf16") for D in (32, 80)
    } < names
