"""Sliding windows: text and log-probabilities are transformers', in both engines and on both paths."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch

from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Request
from shuhari.policy.policy import CheckpointError, Policy
from shuhari.policy.scoring import completion_logprobs

WINDOW, NEW = 8, 60
KINDS = ["full_attention", "sliding_attention", "full_attention"]
CASES = {  # name: architecture, its windows, path
    "mistral": ("mistral", {"sliding_window": WINDOW}, "fused"),
    "qwen2": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        "fused",
    ),
    "qwen3": ("qwen3", {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": KINDS}, "fused"),
    "narrow": ("mistral", {"sliding_window": 2}, "fused"),
    "starcoder2": ("starcoder2", {"sliding_window": WINDOW}, "module"),
    "gemma3": ("gemma3_text", {"sliding_window": WINDOW, "layer_types": KINDS, "head_dim": 16}, "module"),
    "rotary": (  # of a fused family, on its module's own forward pass
        "mistral",
        {
            "sliding_window": WINDOW,
            "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
        },
        "module",
    ),
}
WHERE = [(case, "cpu") for case in CASES] + [
    (case, "gpu") for case, (*_, path) in CASES.items() if path == "fused"
]
FEW = (("qwen3", "cpu"), ("narrow", "gpu"))
ENGINES = [where if where in FEW else pytest.param(*where, marks=pytest.mark.long) for where in WHERE]


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Policy]:
    made = {}
    for case, (kind, windows, _) in CASES.items():
        made[case] = checkpoints.random_policy(tmp_path_factory.mktemp(case), kind, **windows)
    return made


def wanted(policy: Policy, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    """Greedy by transformers, with its own attention and its own cache."""
    model = policy.model
    ours = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        outputs = [
            model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=NEW,
                do_sample=False,
                pad_token_id=policy.eos,
            )[0, len(prompt) :].tolist()
            for prompt in prompts
        ]
    finally:
        model.set_attn_implementation(ours)
    return outputs


PROMPTS = [tuple(5 + (7 * i * (n + 3)) % 85 for i in range(n)) for n in (3, 7, 8, 9, 23, 40)]


@pytest.mark.parametrize(("case", "engine"), ENGINES)
def test_greedy_text_is_transformers(policies: dict[str, Policy], case: str, engine: Any) -> None:
    """Prompts shorter and longer than the window, alone, together, shared by several, and remembered."""
    policy = policies[case]
    assert policy.forward_pass.startswith(CASES[case][2])
    want = wanted(policy, PROMPTS)
    assert max(map(len, want)) == NEW
    assert len({tuple(x) for x in want}) == len(want)
    generator = Generator(policy, engine=engine)
    for prompt, tokens in zip(PROMPTS, want, strict=True):
        (alone,) = Generator(policy, engine=engine).run([Request(prompt, NEW, 0.0)])
        assert list(alone.tokens) == tokens
    requests = [Request(prompt, NEW, 0.0, seed=i) for prompt in PROMPTS for i in range(3)]
    for _ in range(2):  # the second time prompts are remembered
        got = generator.run([*requests[::2], *requests[1::2]])
        for request, completion in zip([*requests[::2], *requests[1::2]], got, strict=True):
            assert list(completion.tokens) == want[PROMPTS.index(request.prompt)]
    shortened = generator.run([replace(r, max_new_tokens=5 + i) for i, r in enumerate(requests)])
    for i, (request, completion) in enumerate(zip(requests, shortened, strict=True)):
        assert list(completion.tokens) == want[PROMPTS.index(request.prompt)][: 5 + i]


@pytest.mark.parametrize(("case", "engine"), ENGINES)
def test_samplers_and_learners_logprobs_are_the_modules(
    policies: dict[str, Policy], case: str, engine: Any
) -> None:
    policy = policies[case]
    prompts = [prompt for prompt in PROMPTS for _ in range(4)]
    completions = Generator(policy, engine=engine).generate(prompts, 30, seed=3)
    pairs = [(p, c.tokens) for p, c in zip(prompts, completions, strict=True)]
    sampler_N = torch.tensor([x for c in completions for x in c.logprobs])
    ours = policy.model.config._attn_implementation
    policy.model.set_attn_implementation("eager")
    want, gradients = [], []
    try:
        for prompt, tokens in pairs:
            logits = policy.model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
            want.append(logits.log_softmax(-1)[range(len(tokens)), list(tokens)])
        want_N = torch.cat(want)
        gradients.append(torch.autograd.grad(want_N.sum(), list(policy.parameters.values())))
    finally:
        policy.model.set_attn_implementation(ours)
    assert (want_N - sampler_N).abs().max() <= 2e-5
    for packed in (False, True) if policy.fused else (False,):
        learner_N = completion_logprobs(policy, pairs, packed=packed).logprobs_N
        assert (learner_N - want_N).abs().max() <= 2e-5
        got = torch.autograd.grad(learner_N.sum(), list(policy.parameters.values()))
        for a, b in zip(got, gradients[0], strict=True):
            torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()), rtol=1e-3)


def test_rows_of_other_prompts_windows_and_lengths_change_nothing(policies: dict[str, Policy]) -> None:
    """Rows come and go, at other places of their texts, beside rows that a window has left far behind."""
    policy, rng = policies["qwen2"], np.random.default_rng(0)
    requests = [
        Request(PROMPTS[rng.integers(len(PROMPTS))], int(rng.integers(1, 50)), 1.0, int(rng.integers(2**62)))
        for _ in range(60)
    ]
    for engine in ("cpu", "gpu"):
        together = Generator(policy, engine=engine).run(requests)
        for request, completion in zip(requests[::6], together[::6], strict=True):
            (alone,) = Generator(policy, engine=engine).run([request])
            assert alone.tokens == completion.tokens
            assert np.allclose(alone.logprobs, completion.logprobs, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "windows", "words"),
    [
        ("mistral", {"sliding_window": 0}, "sliding_window=0 sees nothing"),
        ("llama4_text", {"layer_types": ["chunked_attention"] * 3}, "chunked_attention"),
        ("gpt_oss", {}, "s_aux is not implemented"),
    ],
)
def test_windows_that_we_do_not_compute_are_refused(
    tmp_path: Path, kind: str, windows: dict[str, Any], words: str
) -> None:
    checkpoints.write_checkpoint(tmp_path, kind, **windows)
    with pytest.raises(CheckpointError, match=words) as error:
        Policy(str(tmp_path), rank=4, alpha=8.0)
    assert "\n" not in str(error.value)
