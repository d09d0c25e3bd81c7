"""Which model families are taken: each says greedily what transformers says. README names them from here."""

from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
from peft import AutoPeftModelForCausalLM

from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import CheckpointError, Policy
from shuhari.policy.scoring import completion_logprobs

README = (Path(__file__).parents[2] / "README.md").read_text()
WINDOW = {"sliding_window": 8}
LAYERS = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
TAKEN: dict[str, tuple[str, dict[str, Any]]] = {  # architecture: its name in README, its configuration
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {"use_sliding_window": True, "max_window_layers": 1, **WINDOW}),
    "qwen3": ("Qwen3", {}),
    "mistral": ("Mistral", WINDOW),
    "apertus": ("Apertus", {}),
    "arcee": ("Arcee", {}),
    "cohere": ("Cohere", {}),
    "cohere2": ("Cohere 2", WINDOW | LAYERS),
    "ernie4_5": ("Ernie 4.5", {}),
    "exaone4": ("Exaone 4", WINDOW | LAYERS),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma3_text": ("Gemma 3 (text)", {"head_dim": 16, **WINDOW, **LAYERS}),
    "glm": ("GLM", {"head_dim": 16}),
    "glm4": ("GLM 4", {"head_dim": 16}),
    "gpt2": ("GPT-2", {}),
    "gpt_bigcode": ("GPT-BigCode", {}),
    "gpt_neox": ("GPT-NeoX", {}),
    "granite": ("Granite", {}),
    "mixtral": ("Mixtral", {"num_local_experts": 4, **WINDOW}),
    "olmo": ("OLMo", {}),
    "olmo2": ("OLMo 2", {}),
    "olmo3": ("OLMo 3", WINDOW | LAYERS),
    "opt": ("OPT", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    "phi": ("Phi", {}),
    "phi3": ("Phi-3", WINDOW),
    "qwen2_moe": ("Qwen2-MoE", EXPERTS | {"shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("Qwen3-MoE", EXPERTS),
    "seed_oss": ("Seed-OSS", {"head_dim": 16}),
    "smollm3": ("SmolLM3", {}),
    "starcoder2": ("StarCoder 2", WINDOW),
}
REFUSED = {  # architecture: its name in README, what it says
    "bert": ("BERT", "computes something else with our attention than with its own"),
    "bloom": ("Bloom", "does not call our attention once a layer"),
    "deepseek_v3": ("DeepSeek-V3", "does not take our attention"),
    "falcon": ("Falcon", "does not call our attention once a layer"),
    "gemma2": ("Gemma 2", "softcap is not implemented"),
    "gpt_oss": ("GPT-OSS", "s_aux is not implemented"),
    "jamba": ("Jamba", "layers of kind 'linear_attention'"),
    "mamba": ("Mamba", "layers of kind 'linear_attention'"),
    "mpt": ("MPT", "does not call our attention once a layer"),
    "stablelm": ("StableLM", "does not call our attention once a layer"),
}
PROMPTS = [tuple(5 + (7 * i * (n + 3)) % 85 for i in range(n)) for n in (3, 19)]
TOKENS = 8  # greedy; windows are tested over 60 (test_windows.py)
# What PEFT says of mixtures of experts, and of GPT-2's transposed weights.
PEFT = ("ignore:The following (rank|alpha)_pattern keys:RuntimeWarning", "ignore:fan_in_fan_out:UserWarning")


@pytest.mark.filterwarnings(*PEFT)
@pytest.mark.parametrize("kind", TAKEN)
def test_a_family_that_is_taken_says_what_transformers_says(kind: str, tmp_path: Path) -> None:
    _, given = TAKEN[kind]
    policy = checkpoints.random_policy(tmp_path, kind, **given)
    assert (policy.fused) == (kind in checkpoints.FUSED)
    policy.freeze("past", {key: 2 * value for key, value in policy.state().items()})
    said, sure = {}, {}
    for adapter in ("default", "past"):
        completions = Generator(policy).generate(PROMPTS, TOKENS, temperature=0, adapter=adapter)
        said[adapter] = [list(c.tokens) for c in completions]
        sure[adapter] = [c.logprobs for c in completions]
        pairs = [(p, c.tokens) for p, c in zip(PROMPTS, completions, strict=True)]
        with torch.no_grad():
            learner_N = completion_logprobs(policy, pairs, adapter=adapter).logprobs_N
        sampler_N = torch.tensor([x for c in completions for x in c.logprobs])
        assert (learner_N - sampler_N).abs().max() <= 2e-5
    policy.model.set_attn_implementation("eager")
    for adapter, texts in said.items():
        with policy.adapter_on(adapter):
            for prompt, tokens in zip(PROMPTS, texts, strict=True):
                ids = torch.tensor([prompt])
                given = {"do_sample": False, "pad_token_id": policy.eos, "eos_token_id": policy.eos}
                output = policy.model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, **given
                )
                assert tokens == output[0, len(prompt) :].tolist()
    assert sure["default"] != sure["past"]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_family_that_is_refused_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    _, words = REFUSED[kind]
    checkpoints.write_checkpoint(tmp_path, kind)
    with pytest.raises(CheckpointError) as error:
        Policy(str(tmp_path), rank=4, alpha=8.0)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_readme_names_them() -> None:
    taken, refused = (", ".join(name for name, _ in table.values()) for table in (TAKEN, REFUSED))
    text = " ".join(README.split())
    assert taken in text
    assert refused in text


TRACES = Batch.of(list(zip(PROMPTS, [(7, 8, 1), (9, 1)], strict=True)))
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 3": (
        "llama",
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, **LLAMA3}},
    ),
    "llama, float16": ("llama", {"dtype": torch.float16}),
    "llama, bfloat16": ("llama", {"dtype": torch.bfloat16}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "mistral": ("mistral", {"sliding_window": 3}),
    "gemma 2": ("gemma2", {"head_dim": 16, "attn_logit_softcapping": None, "sliding_window": 3}),
    "gemma 3": (
        "gemma3_text",
        {"head_dim": 16, "sliding_window": 3, "layer_types": LAYERS["layer_types"][:2]},
    ),
    "phi-3": ("phi3", {}),
    "gpt-2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    "qwen2, sharded": ("qwen2", {"shards": "20KB"}),
}


@pytest.mark.filterwarnings(*PEFT)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_both_phases_leave_an_adapter_that_plain_peft_reads_as_we_do(name: str, tmp_path: Path) -> None:
    kind, given = CHECKPOINTS[name]
    base = checkpoints.write_checkpoint(tmp_path / "base", kind, **SMALL | given)
    policy = Policy(str(base), rank=4, alpha=8.0)
    assert policy.fused == (kind in checkpoints.FUSED)
    parameters = list(policy.parameters.values())
    optimizer = Optimizer([], learning_rate=0.02, rest=parameters, rest_learning_rate=0.02, steps=4)
    imitate, improve = (
        Learner(policy, OBJECTIVES[name].config(), optimizer, micro_batch=512, reference=None)
        for name in ("distill", "policy_gradient")
    )
    losses = [imitate.learn(TRACES)["loss"] for _ in range(2)]
    assert losses[1] < losses[0]
    taught = policy.state()
    for seed in range(2):  # what is to be said are even tokens
        sampled = Generator(policy).generate(PROMPTS * 4, 5, seed=seed)
        even = torch.tensor([sum(t % 2 == 0 for t in c.tokens) / max(1, len(c.tokens)) for c in sampled])
        told = {"completions": [c.tokens for c in sampled], "sampler": [list(c.logprobs) for c in sampled]}
        improve.learn(Batch(PROMPTS * 4, **told, advantages=(even - even.mean()).tolist()))
    assert any(not x.equal(taught[key]) for key, x in policy.state().items())
    policy.save(tmp_path / "adapter")
    plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.float32).eval()
    for prompt, completion in zip(PROMPTS, Generator(policy).generate(PROMPTS, 5, seed=3), strict=True):
        with torch.no_grad():
            logits_TV = plain(torch.tensor([[*prompt, *completion.tokens]])).logits[0, len(prompt) - 1 : -1]
        want_TV = logits_TV[:, :354].log_softmax(-1)
        want_T = want_TV[range(len(completion.tokens)), list(completion.tokens)]
        torch.testing.assert_close(torch.tensor(completion.logprobs), want_T, atol=1e-4, rtol=0)
