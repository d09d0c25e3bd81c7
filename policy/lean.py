"""A lean forward pass of the dense Llama family over plain weights, differentiable; attention is handed in.

It reads the very weights of the Hugging Face module, with the adapter's update merged into a copy for each
weight version (W + s·BA: exact in fp32, and cheaper than two skinny products per layer and token on small
models), and computes the last layer only where logits are asked for. Checked against the module to
rounding. Covers RMSNorm, rotary positions, grouped-query attention and SwiGLU: Llama, Qwen2 (biases), Qwen3
(query and key norms), Mistral without a sliding window.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shuhari.kernels.attention import causal_attention
from shuhari.policy.plugin import Attend

FAMILY = ("llama", "qwen2", "qwen3", "mistral")
# A projection's weight and bias as they stand now, the adapter included.
Project = Callable[[nn.Module], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One block's weights; `qkv` and `gate_up` are fused along the output dimension."""

    norm1: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Tensor
    norm2: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """A model at one weight version."""

    embedding_VC: Tensor
    layers: list[Layer]
    norm: Tensor
    head_VC: Tensor
    cos_TD: Tensor
    sin_TD: Tensor
    heads: int
    kv_heads: int
    eps: float


def unsupported(config: Any) -> str | None:
    """Why this architecture cannot take the lean path, or None where it can."""
    if config.model_type not in FAMILY:
        return f"architecture {config.model_type!r}"
    if getattr(config, "use_sliding_window", config.model_type == "mistral") and config.sliding_window:
        return "sliding window"
    if config.model_type in ("llama", "qwen3") and getattr(config, "attention_bias", False):
        return "bias of its attention's output"
    if config.hidden_act != "silu" or getattr(config, "mlp_bias", False):
        return "activation or bias of its MLP"
    if (config.rope_parameters or {}).get("rope_type", "default") != "default":
        return "rotary scaling"
    return None


def _fuse(project: Project, *modules: nn.Module) -> tuple[Tensor, Tensor | None]:
    weights, biases = zip(*(project(module) for module in modules), strict=True)
    bias = None if biases[0] is None else torch.cat(biases)
    return torch.cat(weights), bias


def gather(model: Any, project: Project, cos_TD: Tensor, sin_TD: Tensor) -> Weights:
    """The weights of a Hugging Face causal LM, each projection read through `project`."""
    config, body = model.config, model.model
    layers = []
    for block in body.layers:
        attention, mlp = block.self_attn, block.mlp
        qkv, qkv_bias = _fuse(project, attention.q_proj, attention.k_proj, attention.v_proj)
        q_norm, k_norm = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
        layers.append(
            Layer(
                norm1=block.input_layernorm.weight,
                qkv=qkv,
                qkv_bias=qkv_bias,
                q_norm=q_norm.weight if q_norm is not None else None,
                k_norm=k_norm.weight if k_norm is not None else None,
                out=project(attention.o_proj)[0],
                norm2=block.post_attention_layernorm.weight,
                gate_up=_fuse(project, mlp.gate_proj, mlp.up_proj)[0],
                down=project(mlp.down_proj)[0],
            )
        )
    return Weights(
        embedding_VC=body.embed_tokens.weight,
        layers=layers,
        norm=body.norm.weight,
        head_VC=model.lm_head.weight,
        cos_TD=cos_TD,
        sin_TD=sin_TD,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        eps=config.rms_norm_eps,
    )


def _rotate(x_BHTD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    a, b = x_BHTD.chunk(2, -1)
    return x_BHTD * cos_TD + torch.cat([-b, a], -1) * sin_TD


def forward(
    w: Weights,
    tokens_BT: Tensor,
    keep: int | None = None,
    attend: Attend | None = None,
    positions_BT: Tensor | None = None,
) -> Tensor:
    """Logits [B, K, V] of the last `keep` (default all) of the T given positions.

    Where the tokens stand is 0 to T - 1, or `positions_BT`; what they see is what stands before them, or
    what `attend` lets them see.
    """
    x_BTC = F.embedding(tokens_BT, w.embedding_VC)
    B, T, C = x_BTC.shape
    keep = T if keep is None else keep
    D = w.cos_TD.shape[1]
    if positions_BT is None:
        cos, sin = w.cos_TD[:T], w.sin_TD[:T]
    else:
        cos, sin = w.cos_TD[positions_BT][:, None], w.sin_TD[positions_BT][:, None]
    q_rows, kv_rows = w.heads * D, w.kv_heads * D
    for i, layer in enumerate(w.layers):
        # In the last layer only the positions that are asked for need a query, and all that follows it.
        K = keep if i == len(w.layers) - 1 else T
        h_BTC = F.rms_norm(x_BTC, (C,), layer.norm1, w.eps)
        if K == T and layer.q_norm is None:  # queries and keys are turned together
            fused = F.linear(h_BTC, layer.qkv, layer.qkv_bias).view(B, T, -1, D).transpose(1, 2)
            turned, v = torch.split(fused, [w.heads + w.kv_heads, w.kv_heads], 1)
            q, k = torch.split(_rotate(turned, cos, sin), [w.heads, w.kv_heads], 1)
        else:
            q_bias, kv_bias = (
                (None, None) if layer.qkv_bias is None else torch.split(layer.qkv_bias, [q_rows, 2 * kv_rows])
            )
            q = F.linear(h_BTC[:, T - K :], layer.qkv[:q_rows], q_bias)
            k, v = F.linear(h_BTC, layer.qkv[q_rows:], kv_bias).chunk(2, -1)
            q, k, v = (t.view(B, t.shape[1], -1, D).transpose(1, 2) for t in (q, k, v))
            if layer.q_norm is not None:
                q, k = F.rms_norm(q, (D,), layer.q_norm, w.eps), F.rms_norm(k, (D,), layer.k_norm, w.eps)
            q, k = _rotate(q, cos[..., T - K :, :], sin[..., T - K :, :]), _rotate(k, cos, sin)
        o_BHKD = attend(i, q, k, v) if attend is not None else causal_attention(q, k, v)
        o_BKC = o_BHKD.transpose(1, 2).reshape(B, K, q_rows)
        x_BTC = x_BTC[:, T - K :] + F.linear(o_BKC, layer.out)
        h_BTC = F.rms_norm(x_BTC, (C,), layer.norm2, w.eps)
        gate, up = F.linear(h_BTC, layer.gate_up).chunk(2, -1)
        x_BTC = x_BTC + F.linear(F.silu(gate) * up, layer.down)
    return F.linear(F.rms_norm(x_BTC, (C,), w.norm, w.eps), w.head_VC)
