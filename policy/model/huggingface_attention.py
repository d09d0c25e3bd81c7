"""Our attention inside a Hugging Face model, by transformers' `AttentionInterface`.

A model that is plugged in calls `attention` once a layer. What it should attend to travels as the keyword
`attend`; without it, attention is causal. A layer's sliding window is read off the mask that transformers
makes for it. Whatever we do not compute is refused, by name, instead of dropped, and a short text must come
out as it does with the model's own attention.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from shuhari.envs.validation import first_line
from shuhari.kernels.attention import causal_attention
from shuhari.policy.model.attention_patterns import FULL, SLIDING, Attend, attend_causally

NAME = "shuhari"
PROBE = 8  # tokens of the text that is tried


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
    if attention_mask is not None and attention_mask.dim():
        raise UnsupportedModelError(f"{kind}: an attention mask; pass texts of one length, unpadded")
    window = None if attention_mask is None else int(attention_mask)
    if window is not None and window < 1:
        raise UnsupportedModelError(f"sliding_window={window} sees nothing; set it to null in config.json")
    if features.get("softcap") is not None:
        without = (
            "attn_logit_softcapping: null in config.json goes without it, and changes what the model says"
        )
        raise UnsupportedModelError(f"{kind}: softcap is not implemented; {without}")
    if features.get("s_aux") is not None:
        raise UnsupportedModelError(f"{kind}: s_aux is not implemented")
    if dropout:
        raise UnsupportedModelError(f"{kind}: attention dropout is not implemented")
    if scaling is not None:
        query = query * (scaling * query.shape[3] ** 0.5)  # ours divides by the root of D
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    output = (attend or attend_causally)(layer, query, key, value, window)
    return output.transpose(1, 2).contiguous(), None


def _mask(
    *_: Any,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    use_vmap: bool = False,
    **__: Any,
) -> Tensor | None:
    """In place of a mask the layer's window, a number, or nothing; transformers would drop a real one in
    silence where a name has no mask function."""
    if attention_mask is not None and not bool((attention_mask == 1).all()):
        raise UnsupportedModelError("an attention mask that hides something; pass texts of one length")
    if use_vmap:  # says transformers of a mask with a function of the model's own in it
        raise UnsupportedModelError("a mask that is neither causal nor a sliding window")
    return None if local_size is None else torch.tensor(local_size)


def plug_in(model: Any) -> None:
    """Make a causal LM use our attention. Raises UnsupportedModelError for one that cannot, or that then
    computes something else: because it hides, biases or remembers what our attention knows nothing of."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _mask)
    config, device = model.config.get_text_config(), model.device
    kind = config.model_type
    if others := sorted({*(getattr(config, "layer_types", None) or ())} - {FULL, SLIDING}):
        raise UnsupportedModelError(f"{kind}: layers of kind {others[0]!r} are not implemented")
    keys: dict[int, tuple[Tensor, Tensor]] = {}
    calls: list[int] = []

    def remembering(layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        calls.append(layer)
        before = keys.get(layer, (k[:, :, :0], v[:, :, :0]))
        keys[layer] = (torch.cat([before[0], k], 2), torch.cat([before[1], v], 2))
        return causal_attention(q, *keys[layer], window=window)

    places = torch.arange(PROBE, device=device)
    tokens = places * (model.get_input_embeddings().weight.shape[0] // PROBE)
    try:
        with torch.no_grad():
            want = model(input_ids=tokens[None], use_cache=False).logits[0].float()
            model.set_attn_implementation(NAME)
            got = []
            for part in (slice(0, PROBE // 2), *(slice(i, i + 1) for i in range(PROBE // 2, PROBE))):
                place = {"input_ids": tokens[None, part], "position_ids": places[None, part]}
                output = model(**place, use_cache=False, logits_to_keep=0, attend=remembering)
                got.append(output.logits[0].float())
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{kind}: {error}") from None
    except Exception as error:  # a foreign architecture can refuse in any of its own ways
        reason = first_line(error)[:120]
        raise UnsupportedModelError(f"{kind}: does not take our attention ({reason})") from None
    if sorted(calls) != sorted(list(range(config.num_hidden_layers)) * (1 + PROBE - PROBE // 2)):
        raise UnsupportedModelError(f"{kind}: does not call our attention once a layer")
    if len({x.shape for both in keys.values() for x in both}) > 1:
        raise UnsupportedModelError(f"{kind}: keys and values of several sizes are not implemented")
    off = float((torch.cat(got) - want).norm() / (want - want.mean()).norm())
    if not off <= (1e-3 if model.dtype == torch.float32 else 0.2):  # nor where it is not a number
        raise UnsupportedModelError(f"{kind}: computes something else with our attention than with its own")
