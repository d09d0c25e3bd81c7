"""A policy as two files: weights with the adapter merged, and the program `run_policy.py` beside them."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from shuhari.loops.export import run_policy
from shuhari.loops.export.destination import CannotExportError
from shuhari.loops.export.merged import BEGINNINGS
from shuhari.loops.export.plain_tokenizer import describe
from shuhari.policy.chat_renderer import build_renderer
from shuhari.policy.chat_template import QUESTION, ChatTemplate
from shuhari.policy.model import llama
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer

PROGRAM, WEIGHTS = "policy.py", "policy.safetensors"
LARGEST = 1e-3  # nats, between two programs' fp32 log-probabilities of one token; more is no rounding
NEW_TOKENS = 8  # of each compared answer
# Questions that are to become the same tokens: marks, spaces, lines, other scripts, half a template.
QUESTIONS = (
    *BEGINNINGS,
    "1",
    "a  b\n\n c\t<|im_end|> <eos> </s>",
    "  d'accord 12345 \u00e9\u4f60\u597d\U0001f600\u2167  ",
)


@dataclass(frozen=True)
class PromptForm:
    """How a question becomes a prompt: as `build_renderer` takes it."""

    format: str = "auto"
    instructions: str = ""
    template: Mapping[str, Any] = field(default_factory=dict)


def write_two_files(
    policy: Policy, form: PromptForm, folder: Path, *, half: bool, max_new_tokens: int, card: str
) -> float:
    """Write both files. `half`: matrices in fp16. Returns the largest difference in log-probability between
    the program and us on a few answers. Raises CannotExportError and CheckpointError."""
    if not policy.fused:
        reason = policy.forward_pass.removeprefix("module (").removesuffix(")")
        raise CannotExportError(f"two-files: the program has no place for this: {reason}; take merged")
    renderer = build_renderer(policy, form.instructions, format=form.format, template=form.template)
    about = {
        "prompt": _prompt(policy, renderer, form),
        "tokenizer": describe(policy.tokenizer),
        "sizes": _sizes(policy),
        "ends": sorted(policy.ends),  # once the renderer has added the template's
        "end": renderer.completion("")[-1],
        "max_new_tokens": max_new_tokens,
        "card": card,
    }
    with torch.no_grad():
        tensors = _tensors(policy, torch.float16 if half else torch.float32)
    save_file(tensors, folder / WEIGHTS, metadata={"policy": json.dumps(about, ensure_ascii=False)})
    del tensors
    shutil.copyfile(run_policy.__file__, folder / PROGRAM)
    difference = _compare(run_policy.Policy(folder / WEIGHTS), policy, renderer)
    if not half and not difference <= LARGEST:
        raise CannotExportError(f"two-files: the program differs by {difference:.2g} nats from the adapter")
    return difference


def _prompt(policy: Policy, renderer: Renderer, form: PromptForm) -> dict[str, Any]:
    """What stands before and after a question. Raises CannotExportError where a template does more."""
    if renderer.format == "plain":
        return {"begin": [*policy.begin], "before": "", "after": "", "strip": False}
    template = ChatTemplate(policy, form.template)
    before, _, after = template.opening(QUESTION, form.instructions).partition(QUESTION)
    for text in (text.strip() for text in QUESTIONS):
        if template.opening(text, form.instructions) != before + text + after:
            raise CannotExportError(
                "two-files: the chat template does more than to write around a question; take --format plain"
            )
    return {"begin": [], "before": before, "after": after, "strip": True}


def _sizes(policy: Policy) -> dict[str, Any]:
    base = policy.model.get_base_model()
    return {
        "layers": policy.layers,
        "heads": policy.heads,
        "kv_heads": policy.kv_heads,
        "head_dim": policy.head_dim,
        "eps": base.config.rms_norm_eps,
        "windows": llama.windows(base.config),
        "context": policy.max_length,
        "rotary_scale": float(base.model.rotary_emb.attention_scaling),
    }


def _tensors(policy: Policy, dtype: torch.dtype) -> dict[str, Tensor]:
    """The merged weights by the program's names for them: matrices in `dtype`, all else in fp32."""
    w = policy.weights()
    V = len(w.head_VC)  # rows of an embedding beyond the tokenizer's tokens stand for no text
    found = {"embedding": w.embedding_VC[:V], "norm": w.norm}
    if w.head_VC.data_ptr() != w.embedding_VC.data_ptr():
        found["head"] = w.head_VC
    for i, layer in enumerate(w.layers):
        for name in ("norm1", "norm2", "q_norm", "k_norm"):
            if (vector := getattr(layer, name)) is not None:
                found[f"{i}.{name}"] = vector
        for name in ("qkv", "out", "gate_up", "down"):
            product = getattr(layer, name)
            assert product.low_rank is None, "in fp32 on a CPU adapters are merged"
            found[f"{i}.{name}"] = product.weight
            if product.bias is not None:
                found[f"{i}.{name}.bias"] = product.bias
    stored = {name: t.detach().to(dtype if t.dim() == 2 else torch.float32) for name, t in found.items()}
    if broken := [name for name, t in stored.items() if not t.isfinite().all()]:
        raise CannotExportError(f"two-files: {broken[0]} has numbers beyond {dtype}; take --dtype float32")
    stored["inverse_frequencies"] = policy.model.get_base_model().model.rotary_emb.inv_freq.float()
    # Each tensor with memory of its own: safetensors refuses those that share one.
    return {name: t.clone(memory_format=torch.contiguous_format) for name, t in stored.items()}


def _compare(program: run_policy.Policy, policy: Policy, renderer: Renderer) -> float:
    """Raises CannotExportError where the program reads a question or writes an answer otherwise than we."""
    for text in QUESTIONS:
        tokens = renderer.first(text)
        if program.ask(text) != [*tokens] or program.tokenizer.decode(tokens) != policy.decode(tokens):
            raise CannotExportError(
                f"two-files: the program reads {text!r} otherwise than the tokenizer; take merged"
            )
    differences = []
    for text in BEGINNINGS:
        prompt = program.ask(text)
        new, answer, theirs = prompt, list[int](), []
        cache = run_policy.Cache(policy.layers, policy.kv_heads, len(prompt) + NEW_TOKENS, policy.head_dim)
        for _ in range(NEW_TOKENS):
            z_V = program.logits(new, cache).astype(np.float64)
            new = [int(z_V.argmax())]
            answer += new
            theirs.append(z_V[new[0]] - z_V.max() - np.log(np.exp(z_V - z_V.max()).sum()))
        with policy.inference():
            logits_BKV = policy.logits(torch.tensor([[*prompt, *answer[:-1]]]), keep=NEW_TOKENS)
            ours_K = logits_BKV[0].double().log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        differences.append(np.abs(ours_K.numpy() - np.array(theirs)).max())
    return float(max(differences))
