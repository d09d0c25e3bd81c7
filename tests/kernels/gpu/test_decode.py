"""Decode's kernels against the definition in fp64, in pools that are NaN wherever nothing may be read."""

import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from mutants import mutant
from precision import relative_rms, right
from torch import Tensor

from shuhari.kernels import decode, reads
from shuhari.kernels.gpu import decode as gpu
from shuhari.kernels.gpu import merge_splits
from shuhari.kernels.gpu.rotate import rotate_and_append
from shuhari.kernels.reads import Reads, plan

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

    monkeypatch.setattr(reads, "tiling", lambda D, dtype: (SPLIT, 32))
    monkeypatch.setattr(gpu, "options", options)


# Number of each row's prompt (-1: not in use), keys of the prompts, of the completions, their capacity.
LAYOUTS = {
    "one key": ([0], [0], [1], 32),
    "one prompt key": ([0, 0], [1], [1, 0], 1),
    "nothing": ([0, -1], [0], [0, 0], 40),
    "ragged": ([1, 0, 2, 0, -1, 1, 0], [33, 5, 70], [1, 31, 65, 33, 9, 0, 32], 70),
    "two tiles": ([0, 1, 0, 0, 0, 0], [65, 0], [7, 1, 0, 40, 5, 33], 64),
    "no completions": ([2, 0, 1], [97, 64, 3], [0, 0, 0], 33),
}
CASES = [  # and head dimension, query heads for each key head, key heads
    *[("ragged", x) for x in ((32, 1, 2), (64, 2, 1), (80, 1, 1), (128, 2, 1), (256, 1, 1))],
    *[("two tiles", x) for x in ((80, 7, 1), (48, 3, 2))],
    *[("one key", x) for x in ((32, 20, 1), (128, 4, 2))],
    *[("one prompt key", x) for x in ((96, 8, 1), (256, 1, 1))],
    *[("no completions", x) for x in ((80, 7, 1), (112, 3, 1))],
    ("nothing", (32, 1, 2)),
]


class Case:
    """Queries and a pool, NaN but for the ranges; each sequence's numbers depend on its name only."""

    def __init__(
        self, layout: tuple, D: int, r: int, Hkv: int, dtype: torch.dtype, names: list[int] | None = None
    ) -> None:
        group_B, prompt_length_N, length_B, self.capacity = layout
        self.group_B, self.dtype, self.shape = group_B, dtype, (r, D)
        lengths = [*prompt_length_N, *[self.capacity] * len(group_B)]
        order = list(range(len(lengths)))
        random.Random(len(lengths)).shuffle(order)
        starts, end = [0] * len(lengths), 3
        for i in order:
            starts[i], end = end, end + lengths[i] + 2
        self.prompts = starts[: len(prompt_length_N)], prompt_length_N
        self.completions = starts[len(prompt_length_N) :], length_B
        pool = torch.full((end, 2, Hkv, D), float("nan"), dtype=dtype)
        self.k, self.v = pool.unbind(1)  # not contiguous
        rows = []
        for n, (start, length) in enumerate(zip(*self.prompts, strict=True)):
            pool[start : start + length] = normal(1000 + n, length, 2, Hkv, D).to(dtype)
        for b, (start, length) in enumerate(zip(*self.completions, strict=True)):
            name = b if names is None else names[b]
            if group_B[b] >= 0:
                completion = 2 * normal(name, length, 2, Hkv, D)  # the maximum is to grow
                pool[start : start + length] = completion.to(dtype)
            rows.append(normal(name + 500, r * Hkv, D))
        self.q = torch.stack(rows).to(dtype)

    def reads(self, shared: bool | None) -> Reads:
        ranges = (*self.prompts, *self.completions)
        return plan(self.group_B, *ranges, self.capacity, *self.shape, self.dtype, shared=shared)

    def run(self, reads: Reads, module: ModuleType = gpu) -> Tensor:
        out: Tensor = module.decode(self.q, self.k, self.v, reads)
        return out

    def want(self, reads: Reads) -> Tensor:
        return decode.plain(self.q.double(), self.k.double(), self.v.double(), reads)

    def right(self, got: Tensor, reads: Reads) -> bool:
        want = self.want(reads)
        return right(got, want) if want.any() else torch.equal(got, torch.zeros_like(got))


def padded(reads: Reads, work: int, splits: int) -> Reads:
    """The same with room for more, as a captured step has it."""
    return replace(reads, work_W4=F.pad(reads.work_W4, (0, 0, 0, work - len(reads.work_W4))), splits=splits)


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
        length_B = [everyone[2][row] if row >= 0 else 5 for row in rows]
        some = Case((group_B, everyone[1], length_B, capacity), 80, 2, 1, dtype, rows)
        reads = some.reads(shared)
        got = some.run(padded(reads, len(reads.work_W4) + padding, reads.splits + padding))
        for row, bits in zip(rows, got, strict=True):
            assert torch.equal(bits, want[row] if row >= 0 else torch.zeros_like(bits))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("shared", [False, True])
def test_steps_in_place(shared: bool) -> None:
    """What a graph does: lengths grow on the device, a step appends and attends, and a plan moves in."""
    first = Case(([0, 1, 0, -1], [40, 3], [30, 0, 1, 0], 80), 64, 2, 1, FP16)
    second = Case(([1, -1, 1, 0], [65, 7], [5, 0, 64, 31], 80), 64, 2, 1, FP16)
    static = padded(first.reads(shared), 30, 9).to("cpu")
    addresses = [x.data_ptr() for x in static.tensors()]
    cos_TD, sin_TD = torch.ones(200, 64), torch.zeros(200, 64)  # nothing is turned
    for case in (first, second):
        static.copy_(padded(case.reads(shared), 30, 9))
        used_B = torch.tensor(case.group_B) >= 0
        for step in range(2):
            static.completion_length_B.add_(used_B)
            qkv_BED = normal(step, 4, 4, 64).half()
            q_BHD = rotate_and_append(qkv_BED, cos_TD, sin_TD, case.k, case.v, static, None, None, 1e-6)
            assert torch.equal(q_BHD[used_B], qkv_BED[used_B, :2])
            for b, (start, before) in enumerate(zip(*case.completions, strict=True)):
                if used_B[b]:
                    assert torch.equal(case.k[start + before + step], qkv_BED[b, 2:3])
                    assert torch.equal(case.v[start + before + step], qkv_BED[b, 3:])
            assert case.right(case.run(static), static)
    assert addresses == [x.data_ptr() for x in static.tensors()]


SPLIT_MUTANTS = {
    "a wrong mask edge": ("live_N = start + n_N < n\n", "live_N = start + n_N <= n\n"),
    "a mask for loads only": ("tl.where(live_N[None, :], s_MN", "tl.where(live_N[None, :] | True, s_MN"),
    "a dropped rescale of outputs": ("v, o_MD * fade_M[:, None],", "v, o_MD,"),
    "a dropped rescale of sums": ("sum_M * fade_M + tl.sum", "sum_M + tl.sum"),
    "a stale length": (
        "        length = tl.load(completion_length_B + row)",
        "        length = tl.load(completion_length_B + row) - 1",
    ),
    "completions over the prompt's parts": ("slot += (length + SPLIT - 1) // SPLIT", "slot += 0"),
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
        "(tl.load(completion_length_B + row) + SPLIT - 1) // SPLIT",
        "tl.load(completion_length_B + row) // SPLIT",
    ),
    "the lengths of another row": ("row = tl.load(rows_B + place).to", "row = place.to"),
    "0 / 0 for nothing": ("tl.where(n > 0, total, 1.0)", "total"),
    "all splits alike": ("tl.exp2(l_S - higher)", "tl.where(live_S, 1.0, 0.0)"),
}
# More splits than are loaded at once.
MERGED_MANY = ([0, 1, 0, 1, 0, -1], [300, 40], [40, 1, 33, 0, 2, 0], 40)

SMALL = ([1, 0, 1], [70, 3], [40, 0, 7], 40)
UNEQUAL = ([1, 0, 0, 1, 0, 0, 0], [65, 3], [1, 0, 40, 0, 0, 33, 7], 40)


def wrong(case: Case, shared: bool, module: ModuleType) -> bool:
    """Whether the comparison above tells that module from what is right."""
    reads = case.reads(shared)
    reads = padded(reads, len(reads.work_W4), 20)  # room for mutants that read too far
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
    monkeypatch.setattr(gpu, "merge", mutant(merge_splits, *MERGE_MUTANTS[name], tmp_path).merge)
    assert wrong(case, True, gpu)


@pytest.mark.parametrize("shared", [False, True, None])
def test_every_split_of_every_row_is_somebodys_work_once(shared: bool | None) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        lengths = [draw.choice([0, 1, 255, 256, 300, 600]) for _ in range(4)]
        group_B = [draw.randrange(-1, 4) for _ in range(draw.randrange(30))]
        B, capacity = len(group_B), draw.choice([1, 256, 257])
        given = ([0] * 4, lengths, [0] * B, [0] * B, capacity, 7, 64, BF16)
        planned = plan(group_B, *given, shared=shared)
        assert sorted(planned.rows_B.tolist()) == list(range(B))
        done = []
        for kind, place, row, split in planned.work_W4.tolist():
            if kind == reads.SHARED:
                assert row <= 9  # 64 // 7
                rows = planned.rows_B[place : place + row].tolist()
                assert len({group_B[b] for b in rows}) == 1
                group = group_B[rows[0]]
                assert shared or reads.sharing_pays(group_B.count(group), lengths[group])
            else:
                assert kind in (reads.PROMPT, reads.COMPLETION)
                assert planned.rows_B[place] == row
                rows = [row]
            done += [(kind == reads.COMPLETION, b, split) for b in rows]
        due = [(False, b, i) for b, n in enumerate(group_B) if n >= 0 for i in range(-(-lengths[n] // 256))]
        due += [(True, b, i) for b, n in enumerate(group_B) if n >= 0 for i in range(-(-capacity // 256))]
        assert sorted(done) == sorted(due)


def test_the_rule_of_sharing() -> None:
    def kinds(rows: int, length: int, shared: bool | None) -> set[int]:
        given = ([0], [length], [0] * rows, [1] * rows, 8, 1, 64, BF16)
        return set(plan([0] * rows, *given, shared=shared).work_W4[:, 0].tolist()) - {reads.COMPLETION}

    assert kinds(4, 256, None) == {reads.SHARED}
    assert kinds(3, 256, None) == kinds(4, 255, None) == {reads.PROMPT}
    assert kinds(4, 256, False) == {reads.PROMPT}
    assert kinds(1, 1, True) == {reads.SHARED}


def test_what_is_asked_for_wrongly_is_said_in_a_line() -> None:
    case = Case(LAYOUTS["ragged"], 64, 2, 2, FP16)
    q, k, v, planned = case.q, case.k, case.v, case.reads(None)
    with pytest.raises(ValueError, match="a completion of 9 is more than the capacity of 8"):
        plan([0], [0], [1], [0], [9], 8, 2, 64, FP16)
    with pytest.raises(ValueError, match="does not fit"):
        planned.copy_(replace(planned, splits=9))
    with pytest.raises(ValueError, match="planned for"):
        decode.decode_attention(q.float(), k.float(), v.float(), planned)
    with pytest.raises(ValueError, match="must be alike"):
        decode.decode_attention(q.float(), k, v, planned)
    with pytest.raises(ValueError, match="strides"):
        gpu.decode(q.mT.contiguous().mT, k, v, planned)


def test_the_rule_and_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(LAYOUTS["one prompt key"], 32, 1, 1, FP32)
    given, ran = (case.q, case.k, case.v, case.reads(None)), []
    monkeypatch.setattr(gpu, "decode", lambda *x: ran.append("triton") or x[0])
    monkeypatch.setattr(decode, "plain", lambda *x: ran.append("plain") or x[0])
    for implementation in (None, "triton"):
        decode.decode_attention(*given, implementation)  # type: ignore[arg-type]
    assert ran == ["plain", "triton"]


def test_every_head_dimension_and_dtype_is_shipped() -> None:
    names = {x.name for module in (gpu, merge_splits) for x in module.shipped()}
    assert {f"{x} {t} D{D}" for x in ("splits", "merge") for t in ("fp32", "bf16") for D in (32, 80)} < names
