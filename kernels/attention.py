"""Causal attention: its definition, and torch's fused form.

Cost of one call: 4·B·H·T·S·D FLOPs (half of it masked when T = S) and, read once, 4·B·(H·T + Hkv·S)·D bytes
of fp32 queries, outputs, keys and values.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.dispatch import Implementation


def plain(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, window: int | None = None) -> Tensor:
    """The definition: query t sees keys 0..S-T+t, the last `window` of them where that is given. H may be a
    multiple of the heads of k and v."""
    groups = q_BHTD.shape[1] // k_BHSD.shape[1]
    if groups > 1:
        k_BHSD, v_BHSD = k_BHSD.repeat_interleave(groups, 1), v_BHSD.repeat_interleave(groups, 1)
    T, S = q_BHTD.shape[2], k_BHSD.shape[2]
    scores_BHTS: Tensor = (q_BHTD * q_BHTD.shape[3] ** -0.5) @ k_BHSD.transpose(2, 3)
    if T > 1:
        hidden_TS = torch.full((T, S), -torch.inf, dtype=q_BHTD.dtype, device=q_BHTD.device).triu(S - T + 1)
        scores_BHTS = scores_BHTS + hidden_TS
    if window is not None and window < S:
        seen_TS = torch.ones(T, S, dtype=torch.bool, device=q_BHTD.device).triu(S - T - window + 1)
        scores_BHTS = scores_BHTS.masked_fill(~seen_TS, -torch.inf)
    return scores_BHTS.softmax(-1) @ v_BHSD


def sdpa(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, window: int | None = None) -> Tensor:
    """The same by `torch.nn.functional.scaled_dot_product_attention`."""
    T, S = q_BHTD.shape[2], k_BHSD.shape[2]
    gqa = q_BHTD.shape[1] != k_BHSD.shape[1]
    if window is None and (T == S or T == 1):
        return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, is_causal=T > 1, enable_gqa=gqa)
    seen_TS = torch.ones(T, S, dtype=torch.bool, device=q_BHTD.device).tril(S - T)
    if window is not None:
        seen_TS = seen_TS.triu(S - T - window + 1)
    return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, attn_mask=seen_TS, enable_gqa=gqa)


def causal_attention(
    q_BHTD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    implementation: Implementation | None = None,
    window: int | None = None,
) -> Tensor:
    """Attention of the last T of S positions, [B, H, T, D].

    implementation: "plain" or "torch"; None: by the rule of `shuhari.kernels.dispatch`
    window: how many positions each looks back over, itself included (Beltagy et al. 2020); None: all

    Raises ValueError where another implementation is asked for.
    """
    if window is not None:
        reach = window + q_BHTD.shape[2] - 1  # keys before these nobody sees
        k_BHSD, v_BHSD = k_BHSD[:, :, -reach:], v_BHSD[:, :, -reach:]
        window = None if window >= k_BHSD.shape[2] else window
    name = dispatch.choose(implementation, q_BHTD.device, ("plain", "torch"), k_BHSD.shape[2])
    return (plain if name == "plain" else sdpa)(q_BHTD, k_BHSD, v_BHSD, window)
