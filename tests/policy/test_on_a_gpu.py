"""What only a GPU can show: graphs say what eager steps say, on any stream; both engines say the same.

    python -m pytest tests/policy/test_on_a_gpu.py

Together with `tests/kernels` in one process they are skipped too: those have Triton interpret its kernels.
"""

import os
from collections.abc import Callable
from typing import Any, Literal

import checkpoints
import numpy as np
import pytest
import torch

from shuhari.policy.inference import captured_step
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Completion, Request
from shuhari.policy.policy import Policy

DEVICE = "cuda"
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="kernels are interpreted here"),
]


@pytest.fixture(scope="module", params=[("qwen2", "float32"), ("qwen3", "float32"), ("qwen2", "bfloat16")])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    kind, dtype = request.param
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp(kind), kind)
    made = Policy(str(folder), rank=4, alpha=8.0, seed=1, device=DEVICE, dtype=dtype)
    made.load_state({key: value + 0.05 * torch.randn_like(value) for key, value in made.state().items()})
    return made


def requests_of(temperature: float) -> list[Request]:
    """Groups of several sizes, of which some share a prompt long enough to be read together."""
    rng = np.random.default_rng(0)
    found: list[Request] = []
    for size, length in ((6, 70), (1, 3), (5, 33), (2, 1)):
        prompt = tuple(rng.integers(5, 90, length).tolist())
        found += [Request(prompt, int(rng.integers(1, 30)), temperature, seed) for seed in range(size)]
    return found


def generator_of(policy: Policy, engine: Literal["gpu", "cpu"] = "gpu") -> Generator:
    """With little memory: a quarter of a GPU's each would not do for several."""
    return Generator(policy, memory=2**24, engine=engine)


def eager(step: Callable[[], None], device: torch.device, memory: Any) -> Callable[[], None]:
    """In the place of a capture."""
    return step


def same(got: list[Completion], want: list[Completion], atol: float = 0.0) -> None:
    assert [c.error for c in got] == [""] * len(want)
    assert [c.tokens for c in got] == [c.tokens for c in want]
    for a, b in zip(got, want, strict=True):
        assert np.allclose(a.logprobs, b.logprobs, rtol=0, atol=atol)


def test_graphs_say_what_eager_steps_say(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    got = generator_of(policy).run(requests_of(1.0))
    monkeypatch.setattr(captured_step, "_captured", eager)
    same(got, generator_of(policy).run(requests_of(1.0)))


def test_both_engines_say_the_same(policy: Policy) -> None:
    if policy.dtype != torch.float32:
        pytest.skip("in 16 bits two attentions round differently, and greedy tokens part at near ties")
    ours, other = (generator_of(policy, name).run(requests_of(0.0)) for name in ("gpu", "cpu"))
    same(ours, other, atol=1e-4)


def test_an_update_is_seen_and_nothing_is_captured_again(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures: list[torch.device] = []
    captured = captured_step._captured

    def counted(step: Callable[[], None], device: torch.device, memory: Any) -> Callable[[], None]:
        captures.append(device)
        return captured(step, device, memory)

    monkeypatch.setattr(captured_step, "_captured", counted)
    generator, state = generator_of(policy), policy.state()
    before = generator.run(requests_of(0.0))
    count = len(captures)
    try:
        policy.load_state({key: 3 * value for key, value in state.items()})
        after = generator.run(requests_of(0.0))
        assert len(captures) == count > 0
        assert [c.logprobs for c in after] != [c.logprobs for c in before]
        same(after, generator_of(policy).run(requests_of(0.0)))
    finally:
        policy.load_state(state)


def test_any_stream_will_do(policy: Policy) -> None:
    want = generator_of(policy).run(requests_of(1.0))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        same(generator_of(policy).run(requests_of(1.0)), want)
    torch.cuda.current_stream().wait_stream(stream)


def test_two_generators_in_turn_leave_each_other_alone(policy: Policy) -> None:
    want = generator_of(policy).run(requests_of(1.0))
    generators = [generator_of(policy) for _ in range(2)]
    found: list[dict[int, Completion]] = [{}, {}]
    for generator in generators:
        for request in requests_of(1.0):
            generator.submit(request)
    while not all(generator.idle for generator in generators):
        for generator, mine in zip(generators, found, strict=True):
            mine.update(generator.step())
    for mine in found:
        same([mine[ticket] for ticket in sorted(mine)], want)
