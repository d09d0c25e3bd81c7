"""Requests through the generator: several adapters, stops, choices, trouble, and too small a memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch

from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Completion, Request
from shuhari.policy.inference.sampler import spread, uniform
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer

ALIKE = [pytest.param(kind, marks=pytest.mark.long) for kind in checkpoints.FUSED if kind != "llama"]
KINDS = ("llama", "gpt_neox", *ALIKE)
ADAPTERS = (LEARNING, "past", None)


@pytest.fixture(scope="module", params=KINDS)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    policy = checkpoints.random_policy(tmp_path_factory.mktemp(request.param), request.param)
    policy.freeze("past", {key: -2 * value for key, value in policy.state().items()})
    return policy  # type: ignore[no-any-return]


def greedy_alone(policy: Policy, prompt: tuple[int, ...], adapter: str | None, n: int) -> list[int]:
    """Token by token, the whole text computed anew each time."""
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(n):
            tokens.append(int(policy.logits(torch.tensor([tokens]), 1, adapter)[0, -1].argmax()))
            if tokens[-1] == policy.eos:
                break
    return tokens[len(prompt) :]


def test_mixed_requests_are_what_each_would_be_alone(policy: Policy) -> None:
    texts = ("12+3=", "x.o", "a longer prompt", "q", "12+3=")
    requests = [
        Request(policy.encode(text), 3 + i + 4 * j, temperature=0.0, adapter=adapter)
        for j, adapter in enumerate(ADAPTERS)
        for i, text in enumerate(texts)
    ]
    for request, got in zip(requests, Generator(policy).run(requests), strict=True):
        want = greedy_alone(policy, request.prompt, request.adapter, request.max_new_tokens)
        assert list(got.tokens) == want
    assert len({c.tokens[:3] for c in Generator(policy).run(requests[::5])}) == 3  # adapters differ


def test_samples_do_not_depend_on_their_neighbours(policy: Policy) -> None:
    requests = [
        Request(policy.encode(t), 12, 1.0, s) for s, t in enumerate(("12+3=", "x.o", "x.o", "abc") * 3)
    ]
    together = Generator(policy).run(requests)
    backwards = Generator(policy).run(requests[::-1])[::-1]
    alone = [Generator(policy).run([request])[0] for request in requests]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert a.tokens == b.tokens == c.tokens
        np.testing.assert_allclose(a.logprobs, c.logprobs, atol=1e-5)
    assert len({c.tokens for c in together}) == len(together)


def test_logprobs_are_the_learners_at_other_temperatures_too(policy: Policy) -> None:
    request = Request(policy.encode("12+3="), 8, temperature=1.7, seed=5)
    (got,) = Generator(policy).run([request])
    with torch.no_grad():
        logits = policy.logits(torch.tensor([request.prompt + got.tokens[:-1]]), len(got.tokens))[0]
    want = (logits / 1.7).log_softmax(-1)[range(len(got.tokens)), list(got.tokens)]
    np.testing.assert_allclose(got.logprobs, want.numpy(), atol=1e-5)


def test_a_stop_text_ends_a_completion_and_is_not_part_of_its_text(policy: Policy) -> None:
    prompt = policy.encode("12+3=")
    (free,) = Generator(policy).run([Request(prompt, 12, seed=3)])
    text = free.text
    assert len(text) > 4
    stop = text[3:5]
    stopped, other = Generator(policy).run(
        [Request(prompt, 12, seed=3, stop=(stop, "\x00")), Request(prompt, 12, seed=3)]
    )
    assert stopped.text == text[: text.index(stop)]
    assert stopped.finished
    assert free.tokens[: len(stopped.tokens)] == stopped.tokens
    assert other.tokens == free.tokens


def test_choices_are_the_only_things_said_and_as_often_as_their_probabilities(policy: Policy) -> None:
    choices = ("1", "12", "b3")
    n, generator = 3000, Generator(policy)
    prompt = policy.encode("x.o")
    seeds = spread(0, n)
    allowed = Renderer(policy).choices(choices)
    got = generator.run([Request(prompt, 4, seed=s, choices=allowed) for s in seeds])
    assert {c.text for c in got} <= set(choices)
    assert all(c.finished for c in got)
    counts = {text: sum(c.text == text for c in got) for text in choices}
    # Token by token among what is allowed: "1" or "12" against "b3" first, then how the former goes on.
    ones, ends = (_chance(policy, prompt, *pair) for pair in ((("1",), ("b",)), (("1", None), ("1", "2"))))
    for text, chance in (("1", ones * ends), ("12", ones * (1 - ends)), ("b3", 1 - ones)):
        assert abs(counts[text] - n * chance) < 5 * (n * chance * (1 - chance) + 1) ** 0.5


def _chance(
    policy: Policy, prompt: tuple[int, ...], one: tuple[str | None, ...], other: tuple[str | None, ...]
) -> float:
    """Of the last token of `one` against that of `other`."""
    ids = [policy.eos if text is None else policy.encode(text)[0] for text in (*one, other[-1])]
    with torch.no_grad():
        logits = policy.logits(torch.tensor([[*prompt, *ids[: len(one) - 1]]]), 1)[0, -1]
    return float(logits[ids[-2:]].softmax(-1)[0])


def test_what_is_refused_leaves_the_rest_alone(policy: Policy) -> None:
    good = Request(policy.encode("12+3="), 6, seed=1)
    (want,) = Generator(policy).run([good])
    small = 40 * policy.bytes_per_position + policy.bytes_of_logits
    cases = [
        (Request((), 6), "takes 1 to 128"),
        (Request((5,) * 125, 6), "takes 1 to 128"),
        (Request((5,) * 60, 6), "60 and 6 new tokens need"),
        (Request((5,), 0), "0 new ones"),
        (Request((5,), 6, temperature=-1.0), "must not be negative"),
        (Request((5,), 2, choices=Renderer(policy).choices(("far too long",))), "longer than max_new_tokens"),
    ]
    generator = Generator(policy, memory=small)
    got = generator.run([r for bad, _ in cases for r in (bad, good)])
    for (_, reason), refused, served in zip(cases, got[::2], got[1::2], strict=True):
        assert reason in refused.error
        assert not refused.finished
        assert served.tokens == want.tokens


def test_logits_that_are_not_finite_end_their_own_request_only(policy: Policy) -> None:
    bad = {key: value * float("nan") for key, value in policy.state().items()}
    policy.freeze("broken", bad)
    prompt = policy.encode("12+3=")
    requests = [Request(prompt, 6, seed=1), Request(prompt, 6, seed=1, adapter="broken")]
    served, broken = Generator(policy).run(requests)
    assert broken.error == "the policy's logits are not finite"
    assert served.tokens == Generator(policy).run(requests[:1])[0].tokens


def test_prompts_are_computed_once_while_the_weights_stay(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    logits = Policy.logits

    def counted(self: Policy, tokens: torch.Tensor, *rest: object) -> torch.Tensor:
        if tokens.shape[1] > 1:
            computed.append(len(tokens))
        return logits(self, tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Policy, "logits", counted)
    generator, prompts = Generator(policy), [policy.encode(t) for t in ("abc", "abc", "xyz")]
    generator.generate(prompts, 3)
    generator.generate(prompts, 3, seed=1)
    assert computed == [2]
    policy.updated()
    generator.generate(prompts[:1], 3)
    assert computed == [2, 1]


@pytest.mark.parametrize(
    ("n", "share"), [(300, 0.3), *(pytest.param(1000, x, marks=pytest.mark.long) for x in (0.1, 10.0))]
)
def test_many_requests_end_and_leave_no_memory_behind(n: int, share: float, tmp_path: Path) -> None:
    policy = checkpoints.random_policy(tmp_path, "qwen2")
    policy.freeze("past", {key: 2 * value for key, value in policy.state().items()})
    rng = np.random.default_rng(0)
    requests = []
    while len(requests) < n:
        prompt = tuple(rng.integers(5, 90, rng.integers(1, 40)).tolist())
        new, adapter = int(rng.integers(1, 24)), ADAPTERS[rng.integers(3)]
        stop = ("e",) if rng.random() < 0.3 else ()
        requests += [
            Request(prompt, new, float(rng.choice([0.0, 1.0])), int(rng.integers(2**62)), adapter, stop)
            for _ in range(rng.integers(1, 12))
        ]
    requests = requests[:n]
    whole = sum(r.max_new_tokens for r in requests) + sum(len(p) for p in {r.prompt for r in requests})
    generator = Generator(policy, memory=int(share * whole) * policy.bytes_per_position)
    tickets = [generator.submit(request) for request in requests]
    found: dict[int, Completion] = {}
    most = 0
    while not generator.idle:
        for ticket, completion in generator.step():
            assert ticket not in found
            found[ticket] = completion
        most = max(most, generator.engine.budget.used)
        assert generator.engine.budget.used <= generator.engine.budget.size
    assert sorted(found) == tickets
    assert most > 0.5 * generator.engine.budget.size or share > 1
    for adapter in (
        "past",
        LEARNING,
    ):
        before = generator.engine.budget.used
        policy.freeze("past", policy.state("past")) if adapter == "past" else policy.updated()
        generator.step()
        assert generator.engine.budget.used < before
    alone = Generator(policy)
    for i in rng.choice(n, 40, replace=False):
        (want,) = alone.run([requests[i]])
        assert found[tickets[i]].tokens == want.tokens
        assert not want.error


def test_streams_are_uniform_and_apart() -> None:
    seeds = np.repeat(np.array(spread(0, 200), dtype=np.uint64), 100)
    x = uniform(seeds, np.tile(np.arange(100), 200)).reshape(200, 100)
    assert ((x >= 0) & (x < 1)).all()
    assert abs(x.mean() - 0.5) < 0.01
    assert abs(x.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1]) < 0.03
    assert len(set(spread(0, 1000)) | set(spread(1, 1000))) == 2000
    assert spread(7, 3) == spread(7, 5)[:3]


def test_prompts_of_all_lengths_are_computed_in_one_pass(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [tuple(range(5, 5 + n)) for n in (1, 3, 17, 4, 30, 16, 9, 3)]
    alone = [Generator(policy).generate([p], 6, temperature=0)[0].tokens for p in prompts]
    passes: list[int] = []
    real = policy.logits

    def counted(tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        passes.append(tokens.numel())
        return real(tokens, *rest)

    monkeypatch.setattr(policy, "logits", counted)
    together = Generator(policy).generate(prompts, 6, temperature=0)
    assert [c.tokens for c in together] == alone
    assert passes[0] == sum(len(p) for p in set(prompts))


def test_exploration_stays_within_given_choices() -> None:
    policy = Policy("games", rank=4, alpha=8.0)
    generator = Generator(policy)
    request = Request(policy.encode("........."), 4, explore=4, choices=Renderer(policy).choices(("1", "52")))
    answers = generator.run([replace(request, seed=seed) for seed in range(40)])
    assert {c.text for c in answers} == {"1", "52"}
    assert not any(c.error for c in answers)
