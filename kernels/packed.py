"""Causal attention of packed texts of any lengths, in which many completions may share one prompt.

N positions stand in one row, cut into segments. Each segment sees itself causally and, before that, the whole
of its prompt, if it reads one: a group's prompt is computed once, forward and backward, and every completion
attends to it, as in Hydragen (Juravsky et al. 2024) and Prefix Grouper (Liu et al. 2025). With P_m positions
in the prompt of segment m (0 where it reads none), L_m of its own and V = Σ L_m P_m + L_m (L_m + 1) / 2 pairs
that see each other, one call takes

    4·H·D·V FLOPs forward, 10·H·D·V backward (14 where scores are made twice), and
    (2·H + 2·Hkv)·N·D elements read or written once forward, (4·H + 4·Hkv)·N·D backward.

Repeated for each completion, a prompt of P with G completions costs G times its own P (P + 1) / 2 pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.attention import causal_attention
from shuhari.kernels.attention import plain as causal
from shuhari.kernels.dispatch import Implementation
from shuhari.kernels.shared import Prefix, shared_attention


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """N packed positions, cut into M segments; each sees itself causally and, before that, the whole of
    another: its prompt. Made by `pack`.

    lengths, prompts: what `pack` was given, on the host
    starts_M1: int32 [M + 1], segment m is positions starts[m] to starts[m + 1]
    prompt_M: int32 [M], the segment that m reads whole before itself, or -1
    positions_N: int64 [N], the place of each position in its text: a completion's count on after its prompt's
    first_N: int32 [N], where the segment of each position begins
    """

    lengths: tuple[int, ...]
    prompts: tuple[int, ...]
    starts_M1: Tensor
    prompt_M: Tensor
    positions_N: Tensor
    first_N: Tensor
    made: dict[Any, Any] = field(default_factory=dict, repr=False)  # tables, each made when first asked for

    @classmethod
    def pack(
        cls, lengths: Sequence[int], prompts: Sequence[int], device: torch.device | str = "cpu"
    ) -> "Segments":
        """Segments of so many positions (0 is allowed), each with the number of its prompt or -1.

        The readers of a prompt follow it directly, and a prompt reads nobody: prompt, its completions, next
        prompt, its completions, ... Raises ValueError where that is broken or a length is negative.
        """
        lengths, prompts = tuple(map(int, lengths)), tuple(map(int, prompts))
        if len(lengths) != len(prompts):
            raise ValueError(f"{len(lengths)} lengths, but {len(prompts)} prompts: one of each a segment")
        root = -1  # the last segment that reads nobody
        for m, (length, prompt) in enumerate(zip(lengths, prompts, strict=True)):
            if length < 0:
                raise ValueError(f"segment {m} has length {length}: 0 or more")
            if prompt not in (-1, root):
                nearest = f"{root} or -1" if root >= 0 else "-1"
                raise ValueError(f"segment {m} reads {prompt}: readers follow their prompt, here {nearest}")
            if prompt == -1:
                root = m
        sizes_M = np.array(lengths, np.int64)
        starts_M1 = np.concatenate([[0], sizes_M.cumsum()])
        before_M = np.array([0 if p < 0 else lengths[p] for p in prompts], np.int64)
        first_N = starts_M1[:-1].repeat(sizes_M)
        positions_N = np.arange(starts_M1[-1]) - first_N + before_M.repeat(sizes_M)
        tables = (
            starts_M1.astype(np.int32),
            np.array(prompts, np.int32),
            positions_N,
            first_N.astype(np.int32),
        )
        starts, prompt_M, positions, first = (sent(x, torch.device(device)) for x in tables)
        return cls(lengths, prompts, starts, prompt_M, positions, first)

    @property
    def longest(self) -> int:
        """Positions of the longest text, a reader's prompt included."""
        before = (0 if prompt < 0 else self.lengths[prompt] for prompt in self.prompts)
        return max(map(sum, zip(self.lengths, before, strict=True)), default=0)

    @property
    def device(self) -> torch.device:
        return self.positions_N.device

    def once(self, key: Any, make: Callable[["Segments"], Any]) -> Any:
        """make(self), kept under `key`: a table serves every layer and both directions."""
        if key not in self.made:
            self.made[key] = make(self)
        return self.made[key]


def sent(table: "np.ndarray[Any, Any]", device: torch.device) -> Tensor:
    """A table on a device, by a copy that the host does not wait for."""
    tensor = torch.from_numpy(table)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def plain(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, window: int | None = None
) -> Tensor:
    """The definition, segment by segment."""
    lengths = list(segments.lengths)
    q, k, v = (torch.split(x.transpose(0, 1)[None], lengths, 2) for x in (q_NHD, k_NHD, v_NHD))
    result = []
    for m, prompt in enumerate(segments.prompts):
        keys, values = ((x[m] if prompt < 0 else torch.cat([x[prompt], x[m]], 2)) for x in (k, v))
        result.append(causal(q[m], keys, values, window)[0].transpose(0, 1))
    return torch.cat(result) if result else q_NHD.clone()


@dataclass(frozen=True, slots=True)
class Rectangles:
    """Segments padded on the right: those that read nobody, [R, longest], then the readers, [B, longest].

    there_X: the position that each place of both rectangles, flattened, holds; 0 where it is padding
    valid_X: whether it is one; place_N: the place of each position
    whole: nothing is padded and nothing moves
    roots, readers: rows and columns of each
    prompts_G, lengths_G: the rows (among the roots) that are prompts, and their lengths
    longest_prompt: the longest of them; rows_GB: rows of the readers of each, -1 in unused places
    """

    there_X: Tensor
    valid_X: Tensor
    place_N: Tensor
    whole: bool
    roots: tuple[int, int]
    readers: tuple[int, int]
    prompts_G: Tensor
    lengths_G: Tensor
    longest_prompt: int
    rows_GB: Tensor
    in_order: bool

    @classmethod
    def of(cls, segments: Segments) -> "Rectangles":
        lengths_M, prompts_M = np.array(segments.lengths, np.int64), np.array(segments.prompts, np.int64)
        starts_M = lengths_M.cumsum() - lengths_M
        groups = [np.flatnonzero(prompts_M < 0), np.flatnonzero(prompts_M >= 0)]
        there, valid, shapes = [], [], []
        for rows in groups:
            columns = np.arange(lengths_M[rows].max(initial=0))
            inside = columns < lengths_M[rows][:, None]
            there.append(np.where(inside, starts_M[rows][:, None] + columns, 0).ravel())
            valid.append(inside.ravel())
            shapes.append(inside.shape)
        there_X, valid_X = np.concatenate(there), np.concatenate(valid)
        place_N = np.empty(lengths_M.sum(), np.int64)
        place_N[there_X[valid_X]] = np.flatnonzero(valid_X)
        prompts, counts = np.unique(prompts_M[groups[1]], return_counts=True)
        width = counts.max(initial=0)
        used = np.arange(width) < counts[:, None]
        rows_GB = np.full(used.shape, -1)
        rows_GB[used] = np.arange(used.sum())
        shape_of_roots, shape_of_readers = shapes
        tables = (there_X, valid_X, place_N, np.searchsorted(groups[0], prompts), lengths_M[prompts], rows_GB)
        there_t, valid_t, place_t, prompts_t, lengths_t, rows_t = (sent(x, segments.device) for x in tables)
        return cls(
            there_t,
            valid_t,
            place_t,
            bool(valid_X.all() and (np.diff(there_X) == 1).all()),
            shape_of_roots,
            shape_of_readers,
            prompts_t,
            lengths_t,
            int(lengths_M[prompts].max(initial=0)),
            rows_t,
            bool(used.all()),
        )


class _Padded(torch.autograd.Function):
    """Rows to their places in the rectangles. A position has one place: both ways are gathers, no sums."""

    @staticmethod
    def forward(ctx: Any, x_N: Tensor, r: Rectangles) -> Tensor:
        ctx.r = r
        return x_N.index_select(0, r.there_X)

    @staticmethod
    def backward(ctx: Any, d_X: Tensor) -> tuple[Tensor, None]:
        d_N: Tensor = _Packed.apply(d_X, ctx.r)  # type: ignore[no-untyped-call]
        return d_N, None


class _Packed(torch.autograd.Function):
    """And back."""

    @staticmethod
    def forward(ctx: Any, x_X: Tensor, r: Rectangles) -> Tensor:
        ctx.r = r
        return x_X.index_select(0, r.place_N)

    @staticmethod
    def backward(ctx: Any, d_N: Tensor) -> tuple[Tensor, None]:
        d_X: Tensor = _Padded.apply(d_N, ctx.r)  # type: ignore[no-untyped-call]
        return d_X.masked_fill(~ctx.r.valid_X[:, None, None], 0), None


def batched(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, window: int | None = None
) -> Tensor:
    """All that read nobody in one padded causal call, all readers in another: no mask sees the padding."""
    if len(q_NHD) == 0:
        return q_NHD.clone()
    r: Rectangles = segments.once("rectangles", Rectangles.of)

    def padded(x_NHD: Tensor) -> tuple[Tensor, Tensor]:
        x_XHD: Tensor = x_NHD if r.whole else _Padded.apply(x_NHD, r)  # type: ignore[no-untyped-call]
        sizes = [r.roots[0] * r.roots[1], r.readers[0] * r.readers[1]]
        first, second = (
            x.view(*shape, *x.shape[1:]).transpose(1, 2)
            for x, shape in zip(torch.split(x_XHD, sizes), (r.roots, r.readers), strict=True)
        )
        return first, second

    (q, own_q), (k, own_k), (v, own_v) = (padded(x) for x in (q_NHD, k_NHD, v_NHD))
    parts = [causal_attention(q, k, v, window=window)]
    if own_q.numel() and r.longest_prompt:
        prompt_k, prompt_v = (x[:, :, : r.longest_prompt].index_select(0, r.prompts_G) for x in (k, v))
        prefix = Prefix(prompt_k, prompt_v, r.rows_GB, r.lengths_G, r.in_order)
        parts.append(shared_attention(own_q, [(own_k, own_v)], own_k.shape[2], [prefix], "torch", window))
    else:
        parts.append(causal_attention(own_q, own_k, own_v, window=window))
    o_XHD = torch.cat([x.transpose(1, 2).flatten(0, 1) for x in parts])
    return o_XHD if r.whole else _Packed.apply(o_XHD, r)  # type: ignore[no-untyped-call]


def packed_attention(
    q_NHD: Tensor,
    k_NHD: Tensor,
    v_NHD: Tensor,
    segments: Segments,
    implementation: Implementation | None = None,
    window: int | None = None,
) -> Tensor:
    """Attention [N, H, D] of every position to what it sees, differentiable in q, k and v.

    H may be a multiple of the heads of k and v; scores are scaled by D^-0.5. "plain" is the definition,
    "torch" the padded form, "triton" the kernels of `shuhari.kernels.gpu.packed`, for fp32, fp16 and bf16.
    window: how many positions of its text each looks back over, itself included; None: all. The kernels know
        none: where it hides something, "torch" is the rule on any device.
    Raises ValueError where shapes, dtypes or devices do not fit, or "triton" is asked for and cannot run.
    """
    offered: tuple[Implementation, ...] = ("plain", "torch", "triton")
    if window is not None and window >= segments.longest:
        window = None
    if window is not None:
        if implementation == "triton":
            raise ValueError(f"implementation 'triton' has no sliding window, here {window}")
        offered = ("plain", "torch")
    name = dispatch.choose(implementation, q_NHD.device, offered)
    N, H, D = q_NHD.shape
    if k_NHD.shape != v_NHD.shape or k_NHD.shape[::2] != (N, D) or H % k_NHD.shape[1]:
        raise ValueError(f"q {[*q_NHD.shape]}, k {[*k_NHD.shape]}, v {[*v_NHD.shape]} do not fit together")
    if len(segments.first_N) != N:
        raise ValueError(f"segments of {len(segments.first_N)} positions, but {N} queries")
    if not q_NHD.dtype == k_NHD.dtype == v_NHD.dtype:
        raise ValueError(f"q, k and v are {q_NHD.dtype}, {k_NHD.dtype} and {v_NHD.dtype}: one dtype for all")
    if segments.device != q_NHD.device:
        raise ValueError(f"segments on {segments.device}, queries on {q_NHD.device}")
    if name == "plain":
        return plain(q_NHD, k_NHD, v_NHD, segments, window)
    if name == "torch":
        return batched(q_NHD, k_NHD, v_NHD, segments, window)
    from shuhari.kernels.gpu.packed import attention

    return attention(q_NHD, k_NHD, v_NHD, segments)
