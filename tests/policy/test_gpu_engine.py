"""The GPU's engine, run on a CPU by its kernels' definitions: it says what the other engine says."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch

from shuhari.policy.character_tokenizer import build_tokenizer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.gpu_engine import GPUEngine
from shuhari.policy.inference.key_value_pool import Ranges
from shuhari.policy.inference.request import Completion, Request
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.scoring import completion_logprobs

tokenizer = build_tokenizer()
CHOICES = tuple((*tokenizer.encode(text), tokenizer.eos_token_id) for text in ("a", "ab", "b"))


@pytest.fixture(scope="module", params=checkpoints.FUSED)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    made: Policy = checkpoints.random_policy(tmp_path_factory.mktemp(request.param), request.param)
    made.freeze("past", {key: 2 * value for key, value in made.state().items()})
    return made


def requests_of(n: int, seed: int) -> list[Request]:
    """Random lengths, groups, stops, choices, adapters and temperatures."""
    rng = np.random.default_rng(seed)
    requests: list[Request] = []
    while len(requests) < n:
        prompt = tuple(rng.integers(5, 90, rng.integers(1, 40)).tolist())
        new, adapter = int(rng.integers(1, 24)), (LEARNING, None, "past")[rng.integers(3)]
        stop = ("e",) if rng.random() < 0.2 else ()
        choices = CHOICES if rng.random() < 0.1 and new > 2 else ()
        requests += [
            Request(
                prompt, new, float(rng.choice([0.0, 1.0])), int(rng.integers(2**63)), adapter, stop, choices
            )
            for _ in range(rng.integers(1, 9))
        ]
    return requests[:n]


def test_greedy_completions_are_those_of_the_other_engine(policy: Policy) -> None:
    requests = [
        Request(r.prompt, r.max_new_tokens, 0.0, adapter=r.adapter, stop=r.stop, choices=r.choices)
        for r in requests_of(60, 0)
    ]
    want = Generator(policy, engine="cpu").run(requests)
    got = Generator(policy, engine="gpu").run(requests)
    for a, b in zip(got, want, strict=True):
        assert (a.tokens, a.text, a.finished, a.error) == (b.tokens, b.text, b.finished, b.error)
        assert np.allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_samplers_and_learners_logprobs_agree(policy: Policy) -> None:
    prompts = [policy.encode(text) for text in ("12+3=", "x.o", "12+3=", "abc")] * 4
    completions = Generator(policy, engine="gpu").generate(prompts, 19, temperature=1.0, seed=3)
    pairs = [(p, c.tokens) for p, c in zip(prompts, completions, strict=True)]
    sampler = torch.tensor([x for c in completions for x in c.logprobs])
    assert (completion_logprobs(policy, pairs).logprobs_N - sampler).abs().max() <= 1e-5
    assert len({c.tokens for c in completions}) > 8


@pytest.mark.parametrize("share", [0.15, 10.0])
def test_many_requests_end_and_leave_no_memory_behind(share: float, tmp_path: Path) -> None:
    policy = checkpoints.random_policy(tmp_path, "qwen2")
    policy.freeze("past", {key: 2 * value for key, value in policy.state().items()})
    requests = requests_of(300, 1)
    whole = sum(r.max_new_tokens for r in requests) + sum(len(p) for p in {r.prompt for r in requests})
    memory = int(share * whole) * policy.bytes_per_position * 4 // 3
    generator = Generator(policy, memory=memory, engine="gpu")
    engine = generator.engine
    assert isinstance(engine, GPUEngine)
    ranges = engine.pool.ranges
    tickets = [generator.submit(request) for request in requests]
    found: dict[int, Completion] = {}
    least = ranges.size
    while not generator.idle:
        for ticket, completion in generator.step():
            assert ticket not in found
            found[ticket] = completion
        least = min(least, ranges.free)
        assert engine.budget.used <= engine.budget.size
    assert sorted(found) == tickets
    assert least < 0.5 * ranges.size or share > 1
    policy.updated()
    policy.freeze("past", policy.state("past"))
    generator.step()  # what is remembered of these two is stale: only prompts of the base's are left
    bases = {r.prompt for r in requests if r.adapter is None}
    assert 0 < ranges.size - ranges.free <= sum(map(len, bases))
    alone = Generator(policy, engine="gpu")
    for i in np.random.default_rng(0).choice(300, 25, replace=False):
        (want,) = alone.run([requests[i]])
        assert found[tickets[i]].tokens == want.tokens
        assert not want.error


def test_an_update_between_two_calls_is_seen(policy: Policy) -> None:
    generator = Generator(policy, engine="gpu")
    requests = [Request(policy.encode("12+3="), 12, 0.0)] * 3
    state, before = policy.state(), generator.run(requests)
    policy.load_state({key: 3 * value for key, value in state.items()})
    try:
        after = generator.run(requests)
        assert [c.tokens for c in after] == [c.tokens for c in Generator(policy).run(requests)]
        assert after[0].logprobs != before[0].logprobs
    finally:
        policy.load_state(state)


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_an_adapter_frozen_again_under_its_name_is_read_anew(policy: Policy, engine: Any) -> None:
    """Its first prompts' keys and values were kept, in both engines."""
    generator = Generator(policy, engine=engine)
    requests = [Request(policy.encode("12+3="), 12, 0.0, adapter="again")] * 3
    state = policy.state()
    policy.freeze("again", state)
    before = generator.run(requests)
    policy.freeze("again", {key: 3 * value for key, value in state.items()})
    after = generator.run(requests)
    assert after[0].logprobs != before[0].logprobs
    assert after == Generator(policy, engine=engine).run(requests)


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_an_adapter_frozen_again_while_it_runs_is_read_anew_by_who_comes_later(
    policy: Policy, engine: Any
) -> None:
    generator, state = Generator(policy, engine=engine), policy.state()
    requests = [Request(policy.encode("12+3="), 30, 0.0, adapter="still")] * 3
    policy.freeze("still", state)
    early = [generator.submit(request) for request in requests]
    found = dict(generator.step())
    assert not generator.idle
    policy.freeze("still", {key: 3 * value for key, value in state.items()})
    late = [generator.submit(request) for request in requests]
    while not generator.idle:
        found.update(generator.step())
    (want, *_) = Generator(policy, engine=engine).run(requests)
    assert [found[ticket].tokens for ticket in late] == [want.tokens] * 3
    assert np.allclose(found[late[0]].logprobs, want.logprobs, atol=1e-5)
    assert found[early[0]].logprobs[0] != pytest.approx(want.logprobs[0], abs=1e-6)  # drawn before


def test_what_can_never_fit_is_refused_and_the_rest_served(policy: Policy) -> None:
    generator = Generator(policy, memory=135 * policy.bytes_per_position, engine="gpu")  # a pool of 101
    refused, served = generator.run([Request((5,) * 90, 12), Request((5,) * 90, 11)])
    assert "do not fit" in refused.error
    assert served.tokens
    assert not served.error


def test_ranges_are_apart_and_come_back() -> None:
    rng, ranges = np.random.default_rng(0), Ranges(1000)
    taken: list[tuple[int, int]] = []
    for _ in range(2000):
        if rng.random() < 0.5 and taken:
            ranges.give(*taken.pop(rng.integers(len(taken))))
        elif (start := ranges.take(n := int(rng.integers(1, 120)))) is not None:
            taken.append((start, n))
        ends = sorted((start, start + n) for start, n in taken)
        assert all(a[1] <= b[0] for a, b in pairwise(ends))
        assert ranges.free == 1000 - sum(n for _, n in taken)
    for start, n in taken:
        ranges.give(start, n)
    assert ranges.take(1000) == 0
    assert ranges.take(1) is None
