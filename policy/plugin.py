"""Our attention inside a Hugging Face model, by transformers' `AttentionInterface`.

A model that is plugged in calls `attention` once a layer. What it should attend to travels as the keyword
`attend`; without it, attention is causal. Whatever we do not compute is refused, by name, instead of dropped.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from shuhari.kernels.attention import causal_attention

NAME = "shuhari"
# (layer, queries [B, H, K, D], keys and values [B, Hkv, T, D]) -> [B, H, K, D]: K last of T new positions.
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class UnsupportedModelError(ValueError):
    """The model wants attention that is not implemented."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    attend: Attend | None = None,
    **features: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: query [B, H, T, D], key and value [B, Hkv, S, D]; output [B, T, H, D]."""
    kind = type(module).__name__
    if attention_mask is not None:
        raise UnsupportedModelError(f"{kind}: an attention mask; pass texts of one length, unpadded")
    window = features.get("sliding_window")
    if window is not None and window < key.shape[2]:
        raise UnsupportedModelError(f"{kind}: a sliding window of {window}, shorter than the text")
    for feature in ("softcap", "s_aux"):
        if features.get(feature) is not None:
            raise UnsupportedModelError(f"{kind}: {feature} is not implemented")
    if dropout:
        raise UnsupportedModelError(f"{kind}: attention dropout is not implemented")
    if scaling is not None:
        query = query * (scaling * query.shape[3] ** 0.5)  # ours divides by the root of D
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    output = attend(layer, query, key, value) if attend else causal_attention(query, key, value)
    return output.transpose(1, 2).contiguous(), None


def _mask(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> None:
    """No mask at all; transformers would drop a real one in silence where a name has no mask function."""
    if attention_mask is not None and not bool((attention_mask == 1).all()):
        raise UnsupportedModelError("an attention mask that hides something; pass texts of one length")


def plug_in(model: Any) -> None:
    """Make a causal LM use our attention. Raises UnsupportedModelError for one that does not call it."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _mask)
    kind = model.config.model_type
    calls: list[int] = []

    def counted(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append(layer)
        return causal_attention(q, k, v)

    try:
        model.set_attn_implementation(NAME)
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=False, attend=counted)
    except UnsupportedModelError:
        raise
    except Exception as error:  # a foreign architecture can refuse in any of its own ways
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UnsupportedModelError(f"{kind}: does not take our attention ({reason})") from None
    if sorted(calls) != list(range(model.config.num_hidden_layers)):
        raise UnsupportedModelError(f"{kind}: does not call our attention once a layer")
