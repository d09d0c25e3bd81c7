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

import torch
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.attention import plain as causal
from shuhari.kernels.dispatch import Implementation
from shuhari.kernels.rectangles import padded_attention
from shuhari.kernels.segments import Segments


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
    "torch" the padded form of `shuhari.kernels.rectangles`, "triton" the kernels of
    `shuhari.kernels.gpu.packed`, for fp32, fp16 and bf16.
    window: how many positions of its text each looks back over, itself included; None: all. The Triton
        kernels have none: if it hides a position, "torch" is the rule on any device.
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
        return padded_attention(q_NHD, k_NHD, v_NHD, segments, window)
    from shuhari.kernels.gpu.packed import attention

    return attention(q_NHD, k_NHD, v_NHD, segments)
