"""Packed attention by torch alone: segments are padded to two rectangles, and each is one call.

The number of operations does not depend on the number of segments.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shuhari.kernels.attention import causal_attention
from shuhari.kernels.segments import Segments, sent
from shuhari.kernels.shared_prompt import Prefix, shared_attention


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
    """A pack to its rectangles. Each position has one place there: both ways are gathers, without sums."""

    @staticmethod
    def forward(ctx: Any, x_N: Tensor, r: Rectangles) -> Tensor:
        ctx.r = r
        return x_N.index_select(0, r.there_X)

    @staticmethod
    def backward(ctx: Any, d_X: Tensor) -> tuple[Tensor, None]:
        d_N: Tensor = _Packed.apply(d_X, ctx.r)  # type: ignore[no-untyped-call]
        return d_N, None


class _Packed(torch.autograd.Function):
    """The rectangles to their pack."""

    @staticmethod
    def forward(ctx: Any, x_X: Tensor, r: Rectangles) -> Tensor:
        ctx.r = r
        return x_X.index_select(0, r.place_N)

    @staticmethod
    def backward(ctx: Any, d_N: Tensor) -> tuple[Tensor, None]:
        d_X: Tensor = _Padded.apply(d_N, ctx.r)  # type: ignore[no-untyped-call]
        return d_X.masked_fill(~ctx.r.valid_X[:, None, None], 0), None


def padded_attention(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, segments: Segments, window: int | None = None
) -> Tensor:
    """All segments that read nobody in one causal call, all readers in another, of `packed_attention`.

    Padding stands on the right, where causal attention cannot see it: there is no mask.
    """
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

    (q, readers_q), (k, readers_k), (v, readers_v) = (padded(x) for x in (q_NHD, k_NHD, v_NHD))
    parts = [causal_attention(q, k, v, window=window)]
    if readers_q.numel() and r.longest_prompt:
        prompt_k, prompt_v = (x[:, :, : r.longest_prompt].index_select(0, r.prompts_G) for x in (k, v))
        prefix = Prefix(prompt_k, prompt_v, r.rows_GB, r.lengths_G, r.in_order)
        parts.append(
            shared_attention(
                readers_q, [(readers_k, readers_v)], readers_k.shape[2], [prefix], "torch", window
            )
        )
    else:
        parts.append(causal_attention(readers_q, readers_k, readers_v, window=window))
    o_XHD = torch.cat([x.transpose(1, 2).flatten(0, 1) for x in parts])
    return o_XHD if r.whole else _Packed.apply(o_XHD, r)  # type: ignore[no-untyped-call]
