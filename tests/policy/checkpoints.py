"""Small random checkpoints of several architectures, written as Hugging Face would."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from shuhari.policy.character_tokenizer import build_tokenizer
from shuhari.policy.policy import Policy

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
EXTRA = {
    "llama": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 32},
    "mistral": {"sliding_window": None},
}
FUSED = ("llama", "qwen2", "qwen3", "mistral")


def write_checkpoint(
    folder: Path, kind: str, dtype: torch.dtype = torch.float32, shards: str = "50GB", **given: Any
) -> Path:
    """One of an architecture, `given` in its configuration; `shards`: the largest file of weights."""
    tokenizer = build_tokenizer()
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    ids["pad_token_id"] = tokenizer.pad_token_id
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **SIZES | EXTRA.get(kind, {}) | ids | given)
    )
    with torch.no_grad():
        for p in model.parameters():  # biases and norms too: at their defaults they would hide mistakes
            p.add_(torch.randn_like(p) * 0.1)
    model.to(dtype).save_pretrained(folder, max_shard_size=shards)
    tokenizer.save_pretrained(folder)
    return folder


def random_policy(folder: Path, kind: str, dtype: str = "float32", **given: Any) -> Policy:
    """A policy whose adapter is not zero."""
    policy = Policy(str(write_checkpoint(folder, kind, **given)), rank=4, alpha=8.0, seed=1, dtype=dtype)
    with torch.no_grad():
        for p in policy.parameters.values():
            p.add_(torch.randn_like(p) * 0.05)
    policy.updated()
    return policy
