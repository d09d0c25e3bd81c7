"""One more token for every row: `llama.hidden` at one position each, in few and large operations.

An engine knows where keys and values lie, and hands attention in. On a GPU the step is captured in a CUDA
graph: it reads and writes fixed addresses and never waits for the host.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels.fused import add_rms_norm, swiglu
from shuhari.policy.model import llama

# A layer and its queries, keys and values [B, H + 2·Hkv, D], not turned yet, to attention's output [B, H·D].
TurnAndAttend = Callable[[int, Tensor], Tensor]


def decode_step(w: llama.Weights, tokens_B: Tensor, attend: TurnAndAttend) -> Tensor:
    """Logits [B, V] in fp32 after each row's newest token; `attend` stores that token's keys and values."""
    dtype = w.dtype
    x_BC = F.embedding(tokens_B, w.embedding_VC).float()
    B, D, delta_BC = len(x_BC), w.cos_TD.shape[1], None
    for i, layer in enumerate(w.layers):
        h_BC = add_rms_norm(x_BC, delta_BC, layer.norm1, w.eps, dtype)
        o_BC = attend(i, layer.qkv(h_BC).view(B, -1, D))
        delta_BC = _add_to_residual(x_BC, layer.out, o_BC)
        h_BC = add_rms_norm(x_BC, delta_BC, layer.norm2, w.eps, dtype)
        delta_BC = _add_to_residual(x_BC, layer.down, _gate_and_up(layer.gate_up, h_BC))
    return llama.logits(w, add_rms_norm(x_BC, delta_BC, w.norm, w.eps, dtype))


def _add_to_residual(x_BC: Tensor, product: llama.Projection, h_BC: Tensor) -> Tensor | None:
    """Add a product to the residual stream in one operation and return None, or else return the product."""
    if product.bias is None and product.low_rank is None and product.weight.dtype == x_BC.dtype:
        x_BC.addmm_(h_BC, product.weight.T)
        return None
    return product(h_BC)


def _gate_and_up(gate_up: llama.Projection, h_BC: Tensor) -> Tensor:
    """silu(gate) · up."""
    if gate_up.weight.dtype == torch.float32 and gate_up.low_rank is None and h_BC.device.type == "cpu":
        middle, end = len(gate_up.weight) // 2, len(gate_up.weight)
        gate, up = gate_up.rows(0, middle), gate_up.rows(middle, end)  # two contiguous results
        return F.silu(gate(h_BC), inplace=True).mul_(up(h_BC))
    return swiglu(gate_up(h_BC))
