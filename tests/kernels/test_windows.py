"""Sliding windows in every form of attention, against a mask written out."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from shuhari.kernels.attention import causal_attention
from shuhari.kernels.decode import decode_attention
from shuhari.kernels.packed import packed_attention
from shuhari.kernels.reads import plan
from shuhari.kernels.segments import Segments
from shuhari.kernels.shared_prompt import Prefix, shared_attention

H, HKV, D = 4, 2, 16
WINDOWS = [None, 1, 2, 5, 8, 30, 300, 1000]


def by_mask(q_HTD: Tensor, k_HSD: Tensor, v_HSD: Tensor, window: int | None) -> Tensor:
    """The last T of S positions, each over the `window` before and with it."""
    T, S = q_HTD.shape[1], k_HSD.shape[1]
    k_HSD, v_HSD = (x.repeat_interleave(H // HKV, 0) for x in (k_HSD, v_HSD))
    at_T1, at_S = torch.arange(S - T, S)[:, None], torch.arange(S)
    seen_TS = (at_S <= at_T1) & (at_S > at_T1 - (S if window is None else window))
    scores_HTS = q_HTD @ k_HSD.transpose(1, 2) * D**-0.5
    return scores_HTS.masked_fill(~seen_TS, -torch.inf).softmax(-1) @ v_HSD


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", ["plain", "torch"])
@pytest.mark.parametrize(("T", "S"), [(1, 1), (1, 19), (7, 7), (3, 19), (80, 80)])
def test_causal(T: int, S: int, name: str, window: int | None) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, h, n, D) for h, n in ((H, T), (HKV, S), (HKV, S)))
    got = causal_attention(q, k, v, name, window)  # type: ignore[arg-type]
    for b in range(2):
        torch.testing.assert_close(got[b], by_mask(q[b], k[b], v[b], window))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", ["plain", "torch"])
def test_packed_gradients_included(name: str, window: int | None) -> None:
    lengths, prompts = [5, 3, 0, 9, 17, 12, 1, 4], [-1, 0, 0, 0, -1, 4, 4, -1]
    segments = Segments.pack(lengths, prompts)
    assert segments.longest == 29
    torch.manual_seed(0)
    q, k, v = (torch.randn(sum(lengths), h, D, requires_grad=True) for h in (H, HKV, HKV))
    got = packed_attention(q, k, v, segments, name, window)  # type: ignore[arg-type]
    starts, want = segments.starts_M1.tolist(), []
    for prompt, (start, end) in zip(prompts, pairwise(starts), strict=True):
        before = [] if prompt < 0 else list(range(starts[prompt], starts[prompt + 1]))
        text = [*before, *range(start, end)]
        own_q, own_k, own_v = (
            x[rows].transpose(0, 1) for x, rows in ((q, range(start, end)), (k, text), (v, text))
        )
        if end > start:
            want.append(by_mask(own_q, own_k, own_v, window).transpose(0, 1))
    torch.testing.assert_close(got, torch.cat(want))
    weight = torch.randn_like(got)
    found, expected = (torch.autograd.grad((x * weight).sum(), (q, k, v)) for x in (got, torch.cat(want)))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_packed_kernels_refuse_what_they_do_not_know() -> None:
    x = torch.randn(12, HKV, D)
    with pytest.raises(ValueError, match="no sliding window"):
        packed_attention(x, x, x, Segments.pack([12], [-1]), "triton", 4)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", ["plain", "torch"])
@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("ragged", [True, False])
def test_shared(T: int, name: str, window: int | None, ragged: bool) -> None:
    """Rows of several prompts, some of which the window has left behind, others not."""
    torch.manual_seed(0)
    slabs = [[6, 9], [3], [12, 11, 12]] if ragged else [[6, 6], [3], [12, 12, 12]]
    readers = [[[0, 3, 5], [1]], [[2, 7]], [[4], [6], [8, 9]]]
    own_B = torch.tensor([3, 20, 4, 9, 3, 14, 20, 7, 5, 6]) if ragged else torch.full((10,), 11)
    parts = [(torch.randn(10, HKV, n, D), torch.randn(10, HKV, n, D)) for n in (16, 4)]
    own_k, own_v = (torch.cat(x, 2) for x in zip(*parts, strict=True))
    q = torch.randn(10, H, T, D)
    prefixes = []
    want: dict[int, Tensor] = {}
    for lengths, rows in zip(slabs, readers, strict=True):
        k, v = (torch.randn(len(lengths), HKV, max(lengths), D) for _ in range(2))
        most = max(map(len, rows))
        rows_NG = torch.tensor([x + [-1] * (most - len(x)) for x in rows])
        prefixes.append(Prefix(k, v, rows_NG, torch.tensor(lengths) if len({*lengths}) > 1 else None))
        for n, members in enumerate(rows):
            for b in members:
                text = (
                    torch.cat([x[n, :, : lengths[n]], y[b, :, : own_B[b]]], 1)
                    for x, y in ((k, own_k), (v, own_v))
                )
                want[b] = by_mask(q[b], *text, window)
    own = own_B if ragged else int(own_B[0])
    for chosen in (prefixes, prefixes[2:]):
        rows = sorted({int(b) for p in chosen for b in p.rows_NG.flatten() if b >= 0})
        if len(chosen) == 1:  # its rows alone, in order
            renamed = {b: i for i, b in enumerate(rows)}
            table = torch.tensor([[renamed.get(int(b), -1) for b in x] for x in chosen[0].rows_NG])
            chosen = [Prefix(chosen[0].k_NHPD, chosen[0].v_NHPD, table, chosen[0].lengths_N)]
        own_parts = [(k[rows], v[rows]) for k, v in parts]
        own_rows = own if isinstance(own, int) else own[rows]
        got = shared_attention(q[rows], own_parts, own_rows, chosen, name, window)  # type: ignore[arg-type]
        torch.testing.assert_close(got, torch.stack([want[b] for b in rows]))


@pytest.mark.parametrize(
    "window", [*WINDOWS[1:5], *(pytest.param(x, marks=pytest.mark.long) for x in WINDOWS[5:])]
)
@pytest.mark.parametrize("name", ["plain", "triton"])
def test_decoding_reads_narrowed_ranges(name: str, window: int) -> None:
    """One token a row from a pool, as lengths grow: ranges cut to the window read what the mask lets see."""
    torch.manual_seed(0)
    k_PHD, v_PHD = (torch.randn(900, HKV, D) for _ in range(2))
    groups, starts, lengths = [0, 1, 0, -1, 1], [0, 600], [590, 3]
    own_starts, own = [650, 700, 750, 0, 800], [1, 4, 7, 0, 2]
    plans = [
        plan(groups, starts, lengths, own_starts, own, 60, H // HKV, D, torch.float32, shared=False)
        for _ in range(2)
    ]
    reads, narrowed = plans
    for _ in range(12 if name == "plain" else 4):
        q_BHD = torch.randn(5, H, D)
        got = decode_attention(q_BHD, k_PHD, v_PHD, narrowed.narrow_(reads, window), name)  # type: ignore[arg-type]
        for b, group in enumerate(groups):
            if group >= 0:
                own_range = range(own_starts[b], own_starts[b] + int(reads.completion_length_B[b]))
                text = [*range(starts[group], starts[group] + lengths[group]), *own_range]
                want = by_mask(
                    q_BHD[b][:, None], k_PHD[text].transpose(0, 1), v_PHD[text].transpose(0, 1), window
                )
                torch.testing.assert_close(got[b], want[:, 0])
        reads.completion_length_B.add_(torch.tensor([1, 1, 1, 0, 1]))
