"""A fused forward pass of the dense Llama family over plain weights, differentiable; attention is handed in.

It reads the very weights of the Hugging Face module: what is fused here (queries, keys and values; gate and
up) the module sees as views. In fp32 the adapter's update is merged into a copy for each weight version
(W + s·BA: exact there, and cheaper than two skinny products a layer and token on small models); in 16 bits,
where merging would round most of a small update away, it stays beside: x W^T + (x A^T)(sB)^T. Norms, the
residual stream and logits are fp32 always. The last layer is computed only where it is asked for. Checked
against the module to rounding. Covers RMSNorm, rotary positions, grouped-query attention and SwiGLU: Llama,
Qwen2 (biases), Qwen3 (query and key norms), Mistral, with sliding windows where layers have them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shuhari.kernels import training
from shuhari.kernels.products import wide_product
from shuhari.kernels.training import low_rank_linear
from shuhari.policy.model.attention_patterns import FULL, SLIDING, Attend, attend_causally

FAMILY = ("llama", "qwen2", "qwen3", "mistral")
ROTARY = ("default", "linear", "llama3", "yarn")  # scalings whose tables depend on a token's position alone


@dataclass(frozen=True, slots=True)
class Projection:
    """x W^T + b, and (x A^T) B^T added where an adapter is not merged; B includes the adapter's scale.

    weight: [out, in]; bias: [out]; low_rank: A [R, in] and B [out, R]
    """

    weight: Tensor
    bias: Tensor | None = None
    low_rank: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """In the weight's dtype, whatever x is in."""
        x = x.to(self.weight.dtype)
        if self.low_rank is None:
            return F.linear(x, self.weight, self.bias)
        (a, b), x_NC = self.low_rank, x.flatten(0, -2)
        if self.by_hand(x):
            y_NE = low_rank_linear(x_NC, self.weight, self.bias, a, b)
            return y_NE.view(*x.shape[:-1], -1)
        y_NE = F.linear(x_NC, self.weight, self.bias)
        y_NE.addmm_(F.linear(x_NC, a), b.T)  # out of place it would copy y first
        return y_NE.view(*x.shape[:-1], -1)

    def by_hand(self, x: Tensor) -> bool:
        """Whether gradients are wanted of an adapter that is not merged, on a CPU."""
        return self.low_rank is not None and torch.is_grad_enabled() and x.device.type == "cpu"

    def rows(self, start: int, stop: int) -> "Projection":
        """The part that computes these outputs."""
        bias = None if self.bias is None else self.bias[start:stop]
        low_rank = None if self.low_rank is None else (self.low_rank[0], self.low_rank[1][start:stop])
        return Projection(self.weight[start:stop], bias, low_rank)


Project = Callable[[Sequence[nn.Module]], Projection]  # fused along the outputs, in their order


@dataclass(frozen=True, slots=True)
class Layer:
    """One block's weights; norms in fp32. `window`: positions that it looks back over, or None for all."""

    norm1: Tensor
    qkv: Projection
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Projection
    norm2: Tensor
    gate_up: Projection
    down: Projection
    window: int | None = None

    def by_hand(self, x: Tensor) -> bool:
        """Whether `shuhari.kernels.training` serves what stands between the products. A base whose adapter is
        merged is small, and is left to autograd: its published adapters hold bit for bit."""
        return any(product.by_hand(x) for product in (self.qkv, self.out, self.gate_up, self.down))


@dataclass(frozen=True, slots=True)
class Weights:
    """A model at one weight version; `kv_dtype` is what attention computes in."""

    embedding_VC: Tensor
    layers: list[Layer]
    norm: Tensor
    head_VC: Tensor
    cos_TD: Tensor
    sin_TD: Tensor
    heads: int
    kv_heads: int
    eps: float
    kv_dtype: torch.dtype
    checkpointed: bool = False  # layers keep their input only, and are computed again for gradients

    @property
    def dtype(self) -> torch.dtype:
        """What the base is in, and its products take."""
        return self.layers[0].qkv.weight.dtype


def unsupported(config: Any) -> str | None:
    """Why this architecture cannot take the fused forward pass, or None where it can."""
    if config.model_type not in FAMILY:
        return f"architecture {config.model_type!r}"
    if config.model_type in ("qwen2", "qwen3") and not {*config.layer_types} <= {FULL, SLIDING}:
        return "layers that are neither full nor sliding attention"
    if 0 in windows(config):
        return "a sliding window of 0"
    if config.model_type in ("llama", "qwen3") and getattr(config, "attention_bias", False):
        return "bias of its attention's output"
    if config.hidden_act != "silu" or getattr(config, "mlp_bias", False):
        return "activation or bias of its MLP"
    rope = config.rope_parameters or {}
    if (kind := rope.get("rope_type", "default")) not in ROTARY:
        return f"rotary scaling {kind!r}"
    if rope.get("partial_rotary_factor", 1) != 1:
        return "partial rotary positions"
    return None


def windows(config: Any) -> list[int | None]:
    """How many positions each layer of a supported configuration sees, the last ones; None: all."""
    sliding = [config.model_type == "mistral"] * config.num_hidden_layers
    if config.model_type in ("qwen2", "qwen3"):
        sliding = [kind == SLIDING for kind in config.layer_types]
    window: int | None = getattr(config, "sliding_window", None)
    if window is not None and window >= (config.max_position_embeddings or 0):
        window = None
    return [window if each else None for each in sliding]


def _fused(block: Any) -> Iterator[list[nn.Module]]:
    yield [block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj]
    yield [block.mlp.gate_proj, block.mlp.up_proj]


def fuse_storage(model: Any) -> None:
    """Put the weights that are used together in one piece of memory; the module's parameters become views."""
    for block in model.model.layers:
        for modules in _fused(block):
            for name in ("weight", "bias"):
                parts = [getattr(m, name) for m in modules]
                if parts[0] is not None:
                    whole = torch.cat([p.detach() for p in parts])
                    for p, view in zip(parts, torch.split(whole, [len(p) for p in parts]), strict=True):
                        p.data = view


def whole(parts: Sequence[Tensor]) -> Tensor:
    """The parts as one tensor along the first dimension, without a copy after `fuse_storage`."""
    first, rows = parts[0], sum(map(len, parts))
    if len(parts) == 1:
        return first
    ends, storage = first.storage_offset(), first.untyped_storage().data_ptr()
    for p in parts:
        if p.requires_grad or p.storage_offset() != ends or p.untyped_storage().data_ptr() != storage:
            return torch.cat(list(parts))
        ends += p.numel()
    return first.as_strided((rows, *first.shape[1:]), first.stride())


def gather(
    model: Any, project: Project, cos_TD: Tensor, sin_TD: Tensor, kv_dtype: torch.dtype = torch.float32
) -> Weights:
    """The weights of a Hugging Face causal LM, its projections read through `project`."""
    config, body = model.config, model.model
    layers = []
    for block, window in zip(body.layers, windows(config), strict=True):
        qkv, gate_up = _fused(block)
        q_norm, k_norm = (getattr(block.self_attn, name, None) for name in ("q_norm", "k_norm"))
        layers.append(
            Layer(
                norm1=block.input_layernorm.weight.float(),
                qkv=project(qkv),
                q_norm=q_norm.weight.float() if q_norm is not None else None,
                k_norm=k_norm.weight.float() if k_norm is not None else None,
                out=project([block.self_attn.o_proj]),
                norm2=block.post_attention_layernorm.weight.float(),
                gate_up=project(gate_up),
                down=project([block.mlp.down_proj]),
                window=window,
            )
        )
    return Weights(
        embedding_VC=body.embed_tokens.weight,
        layers=layers,
        norm=body.norm.weight.float(),
        head_VC=model.lm_head.weight,
        cos_TD=cos_TD,
        sin_TD=sin_TD,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        eps=config.rms_norm_eps,
        kv_dtype=kv_dtype,
    )


def refresh(old: Weights, new: Weights) -> None:
    """Copy an adapter's new values into the tensors of an older snapshot, which CUDA graphs have captured."""
    for a, b in zip(old.layers, new.layers, strict=True):
        for name in ("qkv", "out", "gate_up", "down"):
            mine, theirs = getattr(a, name).low_rank, getattr(b, name).low_rank
            if mine is not None:
                for x, y in zip(mine, theirs, strict=True):
                    x.copy_(y)


def _rotate(x_BHTD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    a, b = x_BHTD.chunk(2, -1)
    return torch.addcmul(x_BHTD * cos_TD, torch.cat([-b, a], -1), sin_TD)


def _swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, rounded once, as in a step of decoding. Only gate and up are kept for the gradient."""

    def product(gate: Tensor, up: Tensor) -> Tensor:
        return (F.silu(gate.float()) * up).to(up.dtype)

    gate, up = gate_up.chunk(2, -1)
    if gate.dtype == torch.float32 or not torch.is_grad_enabled():
        return product(gate, up)
    result: Tensor = checkpoint(product, gate, up, use_reentrant=False, preserve_rng_state=False)
    return result


def _norm(x: Tensor, weight_C: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    return F.rms_norm(x, weight_C.shape, weight_C, eps)  # a projection rounds it


class _Operations(NamedTuple):
    """What stands between the products, as functions."""

    norm: Callable[[Tensor, Tensor, float, torch.dtype], Tensor] = _norm
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor] = _rotate
    swiglu: Callable[[Tensor], Tensor] = _swiglu


BY_AUTOGRAD = _Operations()
BY_HAND = _Operations(training.rms_norm, training.rotate, training.swiglu)


def hidden(
    w: Weights,
    tokens_BT: Tensor,
    keep: int | None = None,
    attend: Attend | None = None,
    positions_BT: Tensor | None = None,
) -> Tensor:
    """Hidden states after the last norm, [B, K, C] in fp32, at the last `keep` (default all) of T positions.

    positions_BT: where the tokens stand; by default 0 to T - 1
    attend: what they see; by default what stands before them
    """
    x_BTC = F.embedding(tokens_BT, w.embedding_VC).float()
    T = x_BTC.shape[1]
    if positions_BT is None:
        turn = w.cos_TD[:T], w.sin_TD[:T]
    else:
        turn = w.cos_TD[positions_BT][:, None], w.sin_TD[positions_BT][:, None]
    attend, last = attend or attend_causally, len(w.layers) - 1
    for i in range(last + 1):
        # In the last layer only the positions that are asked for need a query, and all that follows it.
        K = T if i < last or keep is None else keep
        if w.checkpointed and torch.is_grad_enabled():
            given = (_block, w, i, x_BTC, K, turn, attend)
            x_BTC = checkpoint(*given, use_reentrant=False, preserve_rng_state=False)
        else:
            x_BTC = _block(w, i, x_BTC, K, turn, attend)
    return F.rms_norm(x_BTC, w.norm.shape, w.norm, w.eps)


def _block(w: Weights, i: int, x_BTC: Tensor, K: int, turn: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
    """Layer i: from the residual stream [B, T, C] before it to that after it at the last K positions."""
    (cos, sin), layer, (B, T, _), D = turn, w.layers[i], x_BTC.shape, w.cos_TD.shape[1]
    norm, rotate, swiglu = BY_HAND if layer.by_hand(x_BTC) else BY_AUTOGRAD
    q_rows, rows = w.heads * D, (w.heads + 2 * w.kv_heads) * D
    h_BTC = norm(x_BTC, layer.norm1, w.eps, w.dtype)
    if K == T and layer.q_norm is None:  # queries and keys are turned together
        fused = layer.qkv(h_BTC).view(B, T, -1, D).transpose(1, 2)
        turned, v = torch.split(fused, [w.heads + w.kv_heads, w.kv_heads], 1)
        q, k = torch.split(rotate(turned, cos, sin), [w.heads, w.kv_heads], 1)
    else:
        q = layer.qkv.rows(0, q_rows)(h_BTC[:, T - K :])
        k, v = layer.qkv.rows(q_rows, rows)(h_BTC).chunk(2, -1)
        q, k, v = (t.view(B, t.shape[1], -1, D).transpose(1, 2) for t in (q, k, v))
        if layer.q_norm is not None:
            q = F.rms_norm(q.float(), (D,), layer.q_norm, w.eps)
            k = F.rms_norm(k.float(), (D,), layer.k_norm, w.eps)
        q, k = rotate(q, cos[..., T - K :, :], sin[..., T - K :, :]), rotate(k, cos, sin)
    q, k, v = q.to(w.kv_dtype), k.to(w.kv_dtype), v.to(w.kv_dtype)
    o_BHKD = attend(i, q, k, v, layer.window)
    x_BKC = x_BTC[:, T - K :] + layer.out(o_BHKD.transpose(1, 2).reshape(B, K, q_rows))
    h_BKC = norm(x_BKC, layer.norm2, w.eps, w.dtype)
    return x_BKC + layer.down(swiglu(layer.gate_up(h_BKC)))


def logits(w: Weights, h_BKC: Tensor) -> Tensor:
    """Logits of hidden states, in fp32."""
    if w.dtype == torch.float32 or torch.is_grad_enabled():  # the product below has no gradient
        return F.linear(h_BKC.to(w.dtype).float(), w.head_VC.float())
    h_NC = h_BKC.reshape(-1, h_BKC.shape[-1])
    return wide_product(h_NC, w.head_VC.T, w.dtype).view(*h_BKC.shape[:-1], -1)
