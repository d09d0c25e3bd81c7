"""Models with the shapes of real ones and random weights, and policies on them."""

import json
import tempfile
from typing import Any

import torch
from gpu_parts.machine import Machine
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from shuhari.policy.character_tokenizer import build_tokenizer
from shuhari.policy.policy import Policy


def _shape(kind: str, C: int, wide: int, layers: int, H: int, D: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": kind,
        "hidden_size": C,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": H,
        "num_key_value_heads": 2,
        "head_dim": D,
        "vocab_size": vocabulary,
    }


SHAPES = {
    "qwen2.5-0.5b": _shape("qwen2", 896, 4864, 24, 14, 64, 151_936),
    "qwen2.5-1.5b": _shape("qwen2", 1536, 8960, 28, 12, 128, 151_936),
    "D64": _shape("qwen2", 256, 512, 2, 4, 64, 1024),
    "D128": _shape("qwen2", 512, 512, 2, 4, 128, 1024),
    "D128 normed": _shape("qwen3", 256, 512, 2, 4, 128, 1024),
    "tiny": _shape("qwen2", 32, 48, 1, 2, 16, 512),
}


def _as_large(tokenizer: Any, rows: int) -> Any:
    """The tokenizer with as many tokens as the embedding has rows: rows beyond it would never be sampled."""
    inside = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = inside["model"]["vocab"]
    vocabulary |= {f"<row {i}>": i for i in range(len(vocabulary), rows)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(inside)),
        pad_token=tokenizer.pad_token,
        eos_token=tokenizer.eos_token,
    )


def policy_of(m: Machine, shape: str) -> Policy:
    """Of that shape, with an adapter of rank 16 that is not zero."""
    sizes = dict(SHAPES[shape])
    tokenizer = _as_large(build_tokenizer(), sizes["vocab_size"])
    ids = {
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "pad_token_id": tokenizer.pad_token_id,
    }
    sizes |= {"max_position_embeddings": 4096, "tie_word_embeddings": True}
    torch.manual_seed(0)
    config = AutoConfig.for_model(sizes.pop("model_type"), **sizes, **ids)
    with m.device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name)
        tokenizer.save_pretrained(name)
        del model
        dtype = m.pick("bfloat16", "float32")
        policy = Policy(name, rank=16, alpha=32.0, device=m.device.type, dtype=dtype)
    with torch.no_grad():
        for p in policy.parameters.values():
            p.add_(0.01 * torch.randn_like(p))
    policy.updated()
    policy.ends = set()  # no sample ends early
    return policy


def prompts(n: int, P: int, G: int) -> list[tuple[int, ...]]:
    """n prompts of P tokens, drawn anew with each call, each G times."""
    return [tuple(row) for row in torch.randint(5, 90, (n, P)).tolist() for _ in range(G)]
