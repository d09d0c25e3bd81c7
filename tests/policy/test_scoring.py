"""The learner's log-probabilities, packed or padded, in fp32 or beside a 16-bit base, are the sampler's."""

from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch

from shuhari.kernels import packed as packed_kernels
from shuhari.policy.inference.generator import Generator
from shuhari.policy.model import llama
from shuhari.policy.policy import CheckpointError, Policy
from shuhari.policy.scoring import completion_logprobs

TEXTS = ("12+3=", "x.o", "a longer prompt", "12+3=", "q")
BF16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="the processor has no bfloat16 instructions"
)


def sampled(policy: Policy, copies: int, new: int = 9) -> tuple[list[Any], torch.Tensor]:
    prompts = [policy.encode(text) for text in TEXTS for _ in range(copies)]
    completions = Generator(policy).generate(prompts, new, seed=3)
    pairs = [(p, c.tokens) for p, c in zip(prompts, completions, strict=True)]
    return pairs, torch.tensor([x for c in completions for x in c.logprobs])


def gradients(policy: Policy, pairs: list[Any], packed: bool) -> list[torch.Tensor]:
    scored = completion_logprobs(policy, pairs, packed=packed)
    weight_N = torch.linspace(-1, 1, len(scored.logprobs_N))
    loss = (weight_N * scored.logprobs_N).sum() + (weight_N.flip(0) * scored.entropy_N).sum()
    return list(torch.autograd.grad(loss, list(policy.parameters.values())))


@pytest.mark.parametrize("kind", checkpoints.FUSED)
def test_packed_is_padded_gradients_included(kind: str, tmp_path: Path) -> None:
    policy = checkpoints.random_policy(tmp_path, kind)
    pairs, sampler_N = sampled(policy, copies=4)
    plain, shared = (completion_logprobs(policy, pairs, packed=packed) for packed in (False, True))
    assert torch.equal(plain.sequence_N, shared.sequence_N)
    for got in (plain, shared):
        assert (got.logprobs_N - sampler_N).abs().max() <= 1e-5
    torch.testing.assert_close(plain.entropy_N, shared.entropy_N, atol=1e-5, rtol=0)
    for a, b in zip(*(gradients(policy, pairs, packed) for packed in (False, True)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * float(b.abs().max()), rtol=1e-3)


def test_what_repeats_is_packed_and_what_does_not_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy("math", rank=2, alpha=4.0)
    calls: list[int] = []

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(len(arguments[0]))
        return packed_kernels.packed_attention(*arguments)

    monkeypatch.setattr("shuhari.policy.model.attention_patterns.packed_attention", counted)
    completion_logprobs(policy, [((5,) * 20, (6, 7, 8))] * 8)
    assert set(calls) == {20 + 8 * 2}  # the prompt once, and no last tokens
    calls.clear()
    completion_logprobs(policy, [((5, n), (6, 7, 8)) for n in range(6, 12)])
    assert not calls


@BF16
@pytest.mark.parametrize("kind", checkpoints.FUSED)
def test_a_bf16_base_agrees_with_itself_and_nearly_with_fp32(kind: str, tmp_path: Path) -> None:
    policy = checkpoints.random_policy(tmp_path, kind, "bfloat16")
    assert policy.fused
    assert {p.dtype for p in policy.parameters.values()} == {torch.float32}
    pairs, sampler_N = sampled(policy, copies=8)
    for packed in (False, True):
        error_N = (completion_logprobs(policy, pairs, packed=packed).logprobs_N - sampler_N).abs()
        assert error_N.mean() <= 1e-3
        assert error_N.quantile(0.99) <= 1e-2
    exact = Policy(str(tmp_path), rank=4, alpha=8.0)
    exact.load_state(policy.state())
    difference_N = completion_logprobs(exact, pairs).logprobs_N - sampler_N
    assert 1e-5 < difference_N.abs().mean() < 0.1  # it is another arithmetic, of the same model


@BF16
def test_an_update_reaches_a_16_bit_snapshot_in_place(tmp_path: Path) -> None:
    policy = checkpoints.random_policy(tmp_path, "qwen2", "bfloat16")
    with torch.no_grad():
        tokens = torch.tensor([[5, 6, 7]])
        before, snapshot = policy.logits(tokens), policy.weights()
        for p in policy.parameters.values():
            p.mul_(3)
        policy.updated()
        after = policy.logits(tokens)
        assert policy.weights() is snapshot  # whoever captured its tensors goes on
        policy.freeze("the same")  # whose weights are gathered anew
        assert torch.equal(policy.logits(tokens, adapter="the same"), after)
    assert (after - before).abs().max() > 1e-2


@pytest.mark.parametrize("kind", checkpoints.FUSED)
def test_fused_weights_are_the_modules_own_memory(kind: str, tmp_path: Path) -> None:
    policy = checkpoints.random_policy(tmp_path, kind)
    bare = policy.weights(None)
    for layer, block in zip(bare.layers, policy.model.get_base_model().model.layers, strict=True):
        q = block.self_attn.q_proj.weight
        assert layer.qkv.weight.data_ptr() == q.data_ptr()
        assert layer.gate_up.weight.data_ptr() == block.mlp.gate_proj.weight.data_ptr()
        assert layer.qkv.weight.shape[0] == sum(
            getattr(block.self_attn, f"{x}_proj").weight.shape[0] for x in "qkv"
        )
    assert llama.whole([torch.ones(2, 3), torch.ones(1, 3)]).shape == (3, 3)  # apart: a copy


def test_what_cannot_be_used_is_one_line() -> None:
    for words, arguments in (
        ("^device=tpu: auto, cpu or cuda", {"device": "tpu"}),
        ("^dtype=float16", {"dtype": "float16"}),
    ):
        with pytest.raises(CheckpointError, match=words):
            Policy("math", rank=2, alpha=4.0, **arguments)
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="torch sees no GPU"):
            Policy("math", rank=2, alpha=4.0, device="cuda")
