"""One token more for every row of a pool, by the kernels made for it: `lean.hidden` of one position.

All that a step reads and writes stays at its address, and nothing of it waits for the host: on a GPU it is
captured in a CUDA graph (`pool.py`).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels.decode import Reads, decode_attention
from shuhari.kernels.fused import add_rms_norm, rotate_and_append, swiglu
from shuhari.policy import lean


def decode_step(
    w: lean.Weights, tokens_B: Tensor, k_LPHD: Sequence[Tensor], v_LPHD: Sequence[Tensor], reads: Reads
) -> Tensor:
    """Logits [B, V] in fp32 after each row's next token, whose keys and values join the pool.

    `reads.own_length_B` counts the new position already; it is 0 of a row that is not in use.
    """
    D, dtype = w.cos_TD.shape[1], w.layers[0].qkv.weight.dtype
    x_BC = F.embedding(tokens_B, w.embedding_VC).float()
    B, delta_BC = len(x_BC), None
    for layer, k_PHD, v_PHD in zip(w.layers, k_LPHD, v_LPHD, strict=True):
        h_BC = add_rms_norm(x_BC, delta_BC, layer.norm1, w.eps, dtype)
        qkv_BED = layer.qkv(h_BC).view(B, -1, D)
        norms = (layer.q_norm, layer.k_norm, w.eps)
        q_BHD = rotate_and_append(qkv_BED, w.cos_TD, w.sin_TD, k_PHD, v_PHD, reads, *norms)
        o_BHD = decode_attention(q_BHD, k_PHD, v_PHD, reads)
        h_BC = add_rms_norm(x_BC, layer.out(o_BHD.flatten(1)), layer.norm2, w.eps, dtype)
        delta_BC = layer.down(swiglu(layer.gate_up(h_BC)))
    return lean.logits(w, add_rms_norm(x_BC, delta_BC, w.norm, w.eps, w.head_VC.dtype))
