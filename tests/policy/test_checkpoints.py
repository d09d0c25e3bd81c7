"""Checkpoints as people have them: begin-of-text, sizes that do not fit, padding, rotary scaling."""

from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from shuhari.envs import Trace
from shuhari.envs.types import RankedPair, Turn
from shuhari.loops.cli.generate import main
from shuhari.policy.character_tokenizer import build_tokenizer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Request
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.load import BASE_MARK
from shuhari.policy.policy import CheckpointError, Policy
from shuhari.policy.render import Renderer
from shuhari.policy.scoring import completion_logprobs

BOS = 0  # <pad> of our tokenizer, here its begin-of-text


def with_begin(folder: Path, *, parses: bool = False) -> Path:
    """A checkpoint whose tokenizer adds begin-of-text, as Llama's does."""
    checkpoints.write_checkpoint(folder, "llama")
    tokenizer = build_tokenizer()
    tokenizer.bos_token = "<pad>"
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<pad> $A", pair="<pad> $A <pad> $B", special_tokens=[("<pad>", BOS)]
    )
    tokenizer.split_special_tokens = not parses
    tokenizer.save_pretrained(folder)
    return folder


def test_begin_of_text_opens_every_prompt_once(tmp_path: Path) -> None:
    policy = Policy(str(with_begin(tmp_path)), rank=4, alpha=8.0)
    render, text = Renderer(policy), policy.encode
    assert AutoTokenizer.from_pretrained(tmp_path).encode("12+3=") == [BOS, *text("12+3=")]
    assert BOS not in text("12+3=")
    first = render.first("12+3=")
    assert first == (BOS, *text("12+3="))
    assert render.first("") == (BOS,)
    said = first + render.completion("15")
    assert render.following(said, "x") == said + text("x")
    assert render.completion("15") == (*text("15"), policy.eos)
    trace = Trace(prompt="b", completion="2", turns=(("a", "1"),))
    prompt, completion = render.trace(trace)
    assert prompt == (BOS, *text("a1"), policy.eos, *text("b"))
    assert completion == (*text("2"), policy.eos)
    assert render.pair(RankedPair("q", "a", "b")) == ((BOS, *text("q")), (*text("a"), 1), (*text("b"), 1))
    assert render.pair(RankedPair("b", "2", "3", trace.turns)) == (
        prompt,
        completion,
        (*text("3"), policy.eos),
    )
    (chances,) = LMPlayer(policy, render).probabilities([Turn("x.o", ("1", "2"))])
    scored = [completion_logprobs(policy, [((BOS, *text("x.o")), text(m))]).logprobs_N for m in "12"]
    assert torch.tensor(chances).float().allclose(torch.cat(scored).detach().softmax(0), atol=1e-5)
    assert policy.summary()["begin_of_text"] == "<pad>"
    assert render.notes(turns=False) == ["every prompt begins with <pad>, as the base's tokenizer says"]


def test_a_text_that_has_begin_of_text_already_gets_no_other(tmp_path: Path) -> None:
    policy = Policy(str(with_begin(tmp_path, parses=True)), rank=4, alpha=8.0)
    assert Renderer(policy).first("<pad>12") == Renderer(policy).first("12") == (BOS, *policy.encode("12"))


def test_without_begin_of_text_nothing_is_added_or_said() -> None:
    policy = Policy("math", rank=2, alpha=4.0)
    assert Renderer(policy).first("12+3=") == policy.encode("12+3=")
    assert "begin_of_text" not in policy.summary()
    assert not Renderer(policy).notes(turns=False)


def test_generate_begins_with_it_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = Policy(str(with_begin(tmp_path)), rank=1, alpha=1.0)
    (want,) = Generator(policy).run([Request((BOS, *policy.encode("12+3=")), 9, 0.0, adapter=None)])
    asked = ["12+3=", "--base", str(tmp_path), "-n", "1", "--max-new-tokens", "9", "--temperature", "0"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert f"1: {want.text}" in out
    assert "note: every prompt begins with <pad>" in out


def tokenizer_of(folder: Path, change: Any) -> None:
    tokenizer = build_tokenizer()
    change(tokenizer)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
@pytest.mark.parametrize(
    ("given", "change", "words"),
    [
        ({"vocab_size": 300}, None, "its tokenizer has 354 tokens, its embedding 300 rows; resize"),
        ({}, lambda t: t.add_tokens(["word"]), "its tokenizer has 355 tokens, its embedding 354 rows"),
        ({}, lambda t: t.add_special_tokens({"eos_token": "<end>"}), "355 tokens, its embedding 354 rows"),
        ({}, lambda t: setattr(t, "eos_token", None), "no end-of-text token; name it as eos_token"),
        ({"eos_token_id": 9999}, None, "eos_token_id=9999 in config.json is outside the vocabulary of 354"),
        ({"eos_token_id": [1, 400]}, None, "is outside the vocabulary of 354"),
        ({"max_position_embeddings": 0}, None, "says texts may have 0 tokens; set max_position_embeddings"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(
    tmp_path: Path, kind: str, given: dict[str, Any], change: Any, words: str
) -> None:
    checkpoints.write_checkpoint(tmp_path, kind, **given)
    if change:
        tokenizer_of(tmp_path, change)
    with pytest.raises(CheckpointError) as error:
        Policy(str(tmp_path), rank=4, alpha=8.0)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_special_tokens_beyond_the_embedding_are_never_made_of_text(tmp_path: Path) -> None:
    def change(tokenizer: Any) -> None:
        tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<image>", special=True)]})
        tokenizer.split_special_tokens = False

    checkpoints.write_checkpoint(tmp_path, "llama")
    tokenizer_of(tmp_path, change)
    policy = Policy(str(tmp_path), rank=4, alpha=8.0)
    assert max(policy.tokenizer.encode("a<image>")) == 354
    assert policy.decode(policy.encode("a<image>")) == "a<image>"
    assert Generator(policy).generate([policy.encode("a<image>")], 3)[0].tokens


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("kind", "engine"),
    [("llama", "cpu"), ("gpt_neox", "cpu"), pytest.param("llama", "gpu", marks=pytest.mark.long)],
)
def test_padding_of_the_vocabulary_is_never_said(tmp_path: Path, kind: str, engine: Any, tied: bool) -> None:
    """By sampler and learner alike: rows beyond the tokenizer stand for no text."""
    checkpoints.write_checkpoint(tmp_path, kind, vocab_size=400, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():  # of what lies beyond every other row would be likelier than all others
        head = model.get_output_embeddings().weight
        head[354::2] = 9 * head[:23]
    model.save_pretrained(tmp_path)
    policy = Policy(str(tmp_path), rank=4, alpha=8.0)
    prompts = [policy.encode(text) for text in ("12+3=", "x.o", "a longer prompt")] * 20
    with torch.no_grad():
        raw_V = policy.model(input_ids=torch.tensor([prompts[0]])).logits[0, -1]
    assert raw_V.softmax(-1)[354:].sum() > 0.3
    completions = Generator(policy, engine=engine).generate(prompts, 12, seed=1)
    assert max(t for c in completions for t in c.tokens) < 354
    first = torch.tensor([c.logprobs[0] for c in completions if c.tokens])[0]
    assert first == pytest.approx(raw_V[:354].log_softmax(-1)[completions[0].tokens[0]].item(), abs=1e-4)
    pairs = [(p, c.tokens) for p, c in zip(prompts, completions, strict=True)]
    sampler_N = torch.tensor([x for c in completions for x in c.logprobs])
    assert (completion_logprobs(policy, pairs).logprobs_N - sampler_N).abs().max() <= 2e-5


ROTARY: dict[str, dict[str, Any]] = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "longrope": {
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
        "original_max_position_embeddings": 64,
        "factor": 2.0,
    },
}


@pytest.mark.parametrize(
    "scaling", [x if x == "llama3" else pytest.param(x, marks=pytest.mark.long) for x in ROTARY]
)
def test_rotary_scaling_is_transformers_as_far_as_a_text_may_go(tmp_path: Path, scaling: str) -> None:
    rope = {"rope_type": scaling, "rope_theta": 10000.0, **ROTARY[scaling]}
    policy = checkpoints.random_policy(tmp_path, "llama", rope_parameters=rope)
    assert policy.max_length == (64 if scaling == "longrope" else 128)
    assert policy.fused == (scaling in ("linear", "yarn", "llama3"))
    prompts = [tuple(5 + (7 * i * (n + 3)) % 85 for i in range(n)) for n in (3, 20)]
    new = policy.max_length - 20
    completions = Generator(policy).generate(prompts, new, temperature=0)
    pairs = [(p, c.tokens) for p, c in zip(prompts, completions, strict=True)]
    with torch.no_grad():
        learner_N = completion_logprobs(policy, pairs).logprobs_N
    assert (learner_N - torch.tensor([x for c in completions for x in c.logprobs])).abs().max() <= 2e-5
    longest_1T = torch.tensor([prompts[1] + completions[1].tokens])
    with torch.no_grad():
        ours = policy.logits(longest_1T)
        policy.model.set_attn_implementation("eager")
        torch.testing.assert_close(ours, policy.model(input_ids=longest_1T).logits, atol=2e-5, rtol=1e-4)
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = torch.tensor([prompt])
        given = {"do_sample": False, "pad_token_id": policy.eos, "max_new_tokens": new}
        want = policy.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **given)
        assert list(completion.tokens) == want[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("qwen2", {}, "was trained on another base, a LlamaForCausalLM, and this one is a Qwen2ForCausalLM"),
        ("gpt2", {}, "was trained on another base, a LlamaForCausalLM, and this one is a GPT2LMHeadModel"),
        (
            "llama",
            {"num_hidden_layers": 2},
            "it adapts model.layers.2.mlp.down_proj, which this base has not",
        ),
        ("llama", {"num_hidden_layers": 4}, "Found missing adapter keys"),
        ("llama", {"hidden_size": 32}, "size mismatch"),
    ],
)
def test_anyones_adapter_of_another_base_is_one_line(
    tmp_path: Path, kind: str, given: dict[str, Any], words: str
) -> None:
    """Without the mark that ours have: its own files say what it is of."""
    policy = checkpoints.random_policy(tmp_path / "llama", "llama")
    policy.save(tmp_path / "adapter")
    (tmp_path / "adapter" / BASE_MARK).unlink()
    other = checkpoints.write_checkpoint(tmp_path / "other", kind, **given)
    with pytest.raises(CheckpointError) as error:
        Policy(str(other), rank=4, alpha=8.0, adapter=tmp_path / "adapter")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    if kind != "gpt2":
        with pytest.raises(CheckpointError, match="which="):
            Policy(str(other), rank=4, alpha=8.0).adapter_named(str(tmp_path / "adapter"), "which")
    Policy(str(tmp_path / "llama"), rank=4, alpha=8.0, adapter=tmp_path / "adapter")


def test_padding_that_is_the_end_of_text_changes_nothing(tmp_path: Path) -> None:
    checkpoints.write_checkpoint(tmp_path, "llama")
    prompts = [(5, 6, 7), (8, 9, 10, 11)]
    told = []
    for pad in ("<pad>", "<eos>"):
        tokenizer_of(tmp_path, lambda t, pad=pad: setattr(t, "pad_token", pad))
        policy = Policy(str(tmp_path), rank=4, alpha=8.0)
        completions = Generator(policy).generate(prompts, 30, seed=2)
        pairs = [(p, c.tokens) for p, c in zip(prompts, completions, strict=True)]
        told.append((completions, completion_logprobs(policy, pairs).logprobs_N.tolist()))
    assert told[0] == told[1]
