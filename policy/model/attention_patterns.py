"""What the positions of a forward pass attend to, handed to the model as a function."""

from collections.abc import Callable

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
