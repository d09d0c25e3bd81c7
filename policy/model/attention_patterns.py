"""What the positions of a forward pass attend to, handed to the model as a function."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels.attention import causal_attention
from shuhari.kernels.packed import packed_attention
from shuhari.kernels.segments import Segments

FULL, SLIDING = "full_attention", "sliding_attention"  # kinds of layers, as configurations name them
# (layer, queries [B, H, K, D], keys and values [B, Hkv, T, D], window) -> [B, H, K, D]: K last of T new
# positions, each of which sees `window` positions of its text, itself included; None: all before it.
Attend = Callable[[int, Tensor, Tensor, Tensor, int | None], Tensor]


def attend_causally(layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """The new positions see each other only."""
    return causal_attention(q, k, v, window=window)


def attend_within(segments: Segments) -> Attend:
    """Attention of a forward pass whose one row holds several texts: each position sees its own text only."""

    def attend(layer: int, q_1HND: Tensor, k_1HND: Tensor, v_1HND: Tensor, window: int | None) -> Tensor:
        q_NHD, k_NHD, v_NHD = (x[0].transpose(0, 1) for x in (q_1HND, k_1HND, v_1HND))
        return packed_attention(q_NHD, k_NHD, v_NHD, segments, None, window).transpose(0, 1)[None]

    return attend


def attend_in_trie(sees_BLL: Tensor, positions_BT: Tensor) -> Attend:
    """Attention of rows that end with the L nodes of a trie.

    sees_BLL: which nodes each node sees; all see what stands before them, [B, T - L]
    """
    (B, L, _), T = sees_BLL.shape, positions_BT.shape[1]
    seen_BTT = sees_BLL.new_ones(T, T).tril().repeat(B, 1, 1)
    seen_BTT[:, T - L :, T - L :] = sees_BLL
    apart_BTT = positions_BT[:, :, None] - positions_BT[:, None]

    def attend(layer: int, q_BHKD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, window: int | None) -> Tensor:
        seen = seen_BTT if window is None else seen_BTT & (apart_BTT < window)
        mask_B1KT = seen[:, None, T - q_BHKD.shape[2] :]
        return F.scaled_dot_product_attention(q_BHKD, k_BHTD, v_BHTD, mask_B1KT, enable_gqa=True)

    return attend
