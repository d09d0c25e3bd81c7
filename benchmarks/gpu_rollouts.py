"""The rollouts' part of `benchmarks/gpu.py`: whole generations, shapes of real models, random weights."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from gpu_kernels import Machine
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from shuhari.policy.generator import Generator
from shuhari.policy.lm import Policy
from shuhari.policy.sequences import completion_logprobs
from shuhari.policy.tokenizer import build_tokenizer

SHAPES = {
    "qwen2.5-0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "qwen2.5-1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def write_model(m: Machine, shape: str, folder: Path) -> Path:
    """A Qwen2 of that shape, with random weights."""

    tokenizer = build_tokenizer()
    ids = {
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vocabulary = m.pick(151_936, len(tokenizer))
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary, max_position_embeddings=4096, tie_word_embeddings=True, **SHAPES[shape], **ids
    )
    with m.device:
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rollouts(m: Machine, shape: str, bandwidth: float) -> dict[str, Any]:
    """Tokens a second of whole generations: ours, `generate`, transformers' continuous batching; Δ log p."""

    P, S, G, B = m.pick((512, 256, 16, 256), (6, 4, 2, 4))
    with tempfile.TemporaryDirectory() as name:
        policy = Policy(
            str(write_model(m, shape, Path(name))),
            rank=16,
            alpha=32.0,
            device=m.device.type,
            dtype=m.pick("bfloat16", "float32"),
        )
    with torch.no_grad():
        for p in policy.parameters.values():
            p.add_(0.01 * torch.randn_like(p))
    policy.updated()
    policy.eos = -1  # no sample ends early
    prompts = torch.randint(5, 90, (B // G, P)).tolist()
    rows = [tuple(prompt) for prompt in prompts for _ in range(G)]
    found: dict[str, Any] = {"shape": shape, "P": P, "S": S, "G": G, "B": B, **policy.describe()}
    synchronize = nullcontext if m.smoke else torch.cuda.synchronize

    def seconds(action: Callable[[], Any]) -> float:
        synchronize()
        start = time.perf_counter()
        action()
        synchronize()
        return time.perf_counter() - start

    completions: list[Any] = []
    for label, adapter in (("adapter", "default"), ("base", None)):
        generator = Generator(policy, adapter)
        generator.generate(rows, S, seed=0)  # captures its graphs
        times = []
        for seed in (1, 2, 3):
            policy.updated()  # as in training: prompts are computed anew
            times.append(seconds(lambda: completions.append(generator.generate(rows, S, seed=seed))))  # noqa: B023
        found[f"ours_{label}_tokens_per_second"] = B * S / statistics.median(times)
    weights = 2 * sum(
        p.numel() for p in policy.model.get_base_model().parameters() if p.ndim == 2 and not p.requires_grad
    )
    kv = policy.bytes_per_position * (B // G * P + B * S / 2)
    found["roofline_tokens_per_second"] = B / ((weights + kv) / bandwidth)
    found["share_of_roofline"] = found["ours_base_tokens_per_second"] / found["roofline_tokens_per_second"]
    pairs = [(row, c.tokens) for row, c in zip(rows, completions[2], strict=True)][: m.pick(64, 4)]
    sampler = torch.tensor([x for c in completions[2][: len(pairs)] for x in c.logprobs])
    with torch.no_grad():
        for form in (False, True):
            learner = torch.cat(
                [
                    completion_logprobs(policy, pairs[i : i + 16], packed=form).logprobs_N.cpu()
                    for i in range(0, len(pairs), 16)
                ]
            )
            delta = (learner - sampler).abs()
            found[f"delta_logprob_{'packed' if form else 'padded'}"] = {
                "mean": delta.mean().item(),
                "p99": delta.quantile(0.99).item(),
                "n": len(delta),
            }
    found["adapter_updates_without_recapture"] = _updates(policy, rows[: 2 * G])
    found |= _peers(m, policy, rows, S, seconds)
    if "generate_tokens_per_second" in found:
        found["over_generate"] = found["ours_adapter_tokens_per_second"] / found["generate_tokens_per_second"]
    return found


def _updates(policy: Any, rows: Sequence[tuple[int, ...]]) -> bool:
    """Whether a generator that has captured its graphs says, after an update, what a new one says."""

    old = Generator(policy)
    old.generate(rows, 6, temperature=0)
    with torch.no_grad():
        for p in policy.parameters.values():
            p.mul_(1.5)
    policy.updated()
    same = old.generate(rows, 6, temperature=0) == Generator(policy).generate(rows, 6, temperature=0)
    return bool(same)


def _peers(m: Machine, policy: Any, rows: Sequence[tuple[int, ...]], S: int, seconds: Any) -> dict[str, Any]:

    found: dict[str, Any] = {}
    ids = torch.tensor(rows, device=m.device)
    settings = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=S, eos_token_id=None, pad_token_id=0)
    model = policy.model

    @torch.no_grad()
    def generate() -> None:
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
        assert output.shape[1] == ids.shape[1] + S

    @torch.no_grad()
    def batched() -> None:
        base = model.get_base_model()
        outputs = base.generate_batch(inputs=[list(row) for row in rows], generation_config=settings)
        assert len(outputs) == len(rows)

    peers = {"generate": generate} | ({} if m.smoke else {"continuous_batching": batched})
    for name, action in peers.items():
        try:
            if name == "generate":
                policy.model.get_base_model().set_attn_implementation("sdpa")
            found[f"{name}_tokens_per_second"] = len(rows) * S / seconds(action)
        except Exception as reason:  # whatever a peer raises is a line of the report, not its end
            found[f"{name}_missing"] = (
                f"{type(reason).__name__}: {str(reason).splitlines()[0][:160] if str(reason) else ''}"
            )
    return found
