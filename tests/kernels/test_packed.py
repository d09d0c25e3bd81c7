"""Packed attention on the CPU: the definition against a mask over all pairs, the padded form against both."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from shuhari.kernels import packed
from shuhari.kernels.dispatch import Implementation
from shuhari.kernels.packed import packed_attention
from shuhari.kernels.segments import Segments

# lengths, prompts
PACKS = [
    ([5], [-1]),
    ([1], [-1]),
    ([4, 4], [-1, -1]),
    ([5, 3, 7], [-1, 0, 0]),
    ([1, 1], [-1, 0]),
    ([3, 4, 4], [-1, 0, 0]),
    ([4, 4, 4], [-1, 0, 0]),
    ([3, 3, 3], [-1, 0, -1]),
    ([3, 0, 0], [-1, 0, 0]),
    ([0, 3, 2], [-1, 0, 0]),
    ([5, 0, 3, 0, 2, 4, 4, 1, 6], [-1, 0, 0, -1, 3, -1, 5, 5, -1]),
    ([80, 3, 70, 2, 2], [-1, -1, 1, 1, 1]),
]
HEADS = [(2, 2), (4, 2), (7, 1)]


def draw(segments: Segments, H: int, Hkv: int, D: int = 8) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(len(segments.lengths) + H)
    N = sum(segments.lengths)
    q, k, v, up = (torch.randn(N, h, D, dtype=torch.float64) for h in (H, Hkv, Hkv, H))
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), up


def masked(q: Tensor, k: Tensor, v: Tensor, segments: Segments) -> Tensor:
    """Softmax over all pairs of positions, those hidden that must not be seen."""
    N, H, D = q.shape
    of_N = torch.arange(len(segments.lengths)).repeat_interleave(torch.tensor(segments.lengths))
    prompt_N = torch.tensor(segments.prompts)[of_N]
    own_NN = (of_N[:, None] == of_N) & (torch.arange(N)[:, None] >= torch.arange(N))
    seen_NN = own_NN | ((prompt_N[:, None] == of_N) & (prompt_N[:, None] >= 0))
    k, v = (x.repeat_interleave(H // x.shape[1], 1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * D**-0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen_NN, -torch.inf).softmax(-1), v)


@pytest.mark.parametrize("implementation", ["plain", "torch"])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("pack", PACKS)
def test_values_and_gradients(
    pack: tuple[list[int], list[int]], heads: tuple[int, int], implementation: Implementation
) -> None:
    segments = Segments.pack(*pack)
    q, k, v, up = draw(segments, *heads)
    got = packed_attention(q, k, v, segments, implementation)
    want = masked(q, k, v, segments)
    torch.testing.assert_close(got, want)
    assert got.dtype == torch.float64
    gradients = (torch.autograd.grad((x * up).sum(), (q, k, v)) for x in (got, want))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("implementation", ["plain", "torch"])
def test_a_shared_prompt_is_one_repeated_for_each_completion(implementation: Implementation) -> None:
    lengths, prompts = [6, 3, 5, 1, 4, 2], [-1, 0, 0, 0, -1, 4]
    shared = Segments.pack(lengths, prompts)
    spans = [range(a, b) for a, b in pairwise(shared.starts_M1.tolist())]
    texts = [[*(spans[p] if p >= 0 else []), *span] for span, p in zip(spans, prompts, strict=True)]
    repeated = Segments.pack([len(x) for x in texts], [-1] * len(texts))
    places = torch.tensor([i for text in texts for i in text])
    last = [i for n, span in zip(repeated.starts_M1[1:].tolist(), spans, strict=True)
            for i in range(n - len(span), n)]  # fmt: skip
    q, k, v, up = draw(shared, 4, 2)
    got = packed_attention(q, k, v, shared, implementation)
    want = packed_attention(q[places], k[places], v[places], repeated, "plain")[last]
    torch.testing.assert_close(got, want)
    assert torch.equal(shared.positions_N, repeated.positions_N[last])
    gradients = (torch.autograd.grad((x * up).sum(), (q, k, v)) for x in (got, want))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_by_finite_differences() -> None:
    segments = Segments.pack([3, 2, 1], [-1, 0, 0])
    q, k, v, _ = draw(segments, 2, 1, 2)
    assert torch.autograd.gradcheck(lambda *x: packed_attention(*x, segments, "torch"), (q, k, v))
    assert torch.autograd.gradgradcheck(lambda *x: packed_attention(*x, segments, "torch"), (q, k, v))


class Counted(TorchDispatchMode):
    """How many operations ran."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.operations += 1
        return function(*args, **(kwargs or {}))


def test_the_padded_form_takes_no_more_operations_for_more_segments() -> None:
    counts = []
    for groups in (2, 20):
        lengths = [5, *(1 + i % 4 for i in range(3))] * groups
        segments = Segments.pack(lengths, [p for g in range(groups) for p in (-1, 4 * g, 4 * g, 4 * g)])
        q, k, v, _ = draw(segments, 2, 2)
        packed_attention(q, k, v, segments, "torch")  # tables
        with Counted() as counted:
            packed_attention(q, k, v, segments, "torch").sum().backward()
        counts.append(counted.operations)
    assert counts[0] == counts[1]


def test_strided_inputs_and_no_positions() -> None:
    segments = Segments.pack([3, 2, 2], [-1, 0, 0])
    qkv = torch.randn(7, 4, 8, dtype=torch.float64)
    q, k, v = qkv[:, :2], qkv[:, 2:3], qkv[:, 3:]
    got = packed_attention(q, k, v, segments, "torch")
    torch.testing.assert_close(got, packed_attention(q, k, v, segments, "plain"))
    for nothing in (Segments.pack([], []), Segments.pack([0, 0], [-1, 0])):
        for name in ("plain", "torch"):
            assert packed_attention(q[:0], k[:0], v[:0], nothing, name).shape == (0, 2, 8)  # type: ignore[arg-type]


def test_tables_of_segments() -> None:
    segments = Segments.pack([3, 2, 0, 1, 2], [-1, 0, 0, -1, 3])
    assert segments.starts_M1.tolist() == [0, 3, 5, 5, 6, 8]
    assert segments.positions_N.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert segments.first_N.tolist() == [0, 0, 0, 3, 3, 5, 6, 6]
    assert segments.starts_M1.dtype == segments.first_N.dtype == torch.int32
    assert segments.positions_N.dtype == torch.int64
    made: list[Segments] = []
    assert segments.once("x", lambda s: made.append(s) or 1) == segments.once("x", lambda s: 2) == 1  # type: ignore[func-returns-value]
    assert len(made) == 1


@pytest.mark.parametrize(
    ("lengths", "prompts", "message"),
    [
        ([3], [-1, 0], "1 lengths, but 2 prompts"),
        ([3, -1], [-1, -1], "segment 1 has length -1"),
        ([3], [0], "segment 0 reads 0: readers follow their prompt, here -1"),
        ([3, 2, 2], [-1, 0, 1], "segment 2 reads 1: readers follow their prompt, here 0 or -1"),
        ([3, 2, 2], [-1, -1, 0], "segment 2 reads 0: readers follow their prompt, here 1 or -1"),
        ([3, 2], [-1, -2], "segment 1 reads -2"),
    ],
)
def test_what_breaks_the_order_is_named(lengths: list[int], prompts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segments.pack(lengths, prompts)


def test_what_does_not_fit_is_named() -> None:
    segments = Segments.pack([3], [-1])
    x = torch.zeros(3, 4, 8)
    for q, k, v, message in (
        (x, x[:, :3], x[:, :3], "do not fit together"),
        (x, x, x[:, :2], "do not fit together"),
        (x[:2], x[:2], x[:2], "segments of 3 positions, but 2 queries"),
        (x, x.double(), x, "one dtype for all"),
        (x.to("meta"), x.to("meta"), x.to("meta"), "segments on cpu, queries on meta"),
    ):
        with pytest.raises(ValueError, match=message):
            packed_attention(q, k, v, segments)


def test_the_padded_form_is_a_cpus_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(packed, "padded_attention", lambda *x: ran.append("torch") or packed.plain(*x))  # type: ignore[func-returns-value]
    x, segments = torch.zeros(3, 4, 8), Segments.pack([3], [-1])
    for name in (None, "plain", "torch"):
        packed_attention(x, x, x, segments, name)  # type: ignore[arg-type]
    assert ran == ["torch", "torch"]
