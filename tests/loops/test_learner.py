"""The learner: parts add up to the whole, any source trains with any objective, a reference is a name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shuhari.loops.collect.source import Source
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.phase import Phase
from shuhari.policy.policy import CheckpointError, Policy


def learner(policy: Policy, objective: str, micro_batch: int = 10**6, steps: int = 1) -> Learner:
    parameters = list(policy.parameters.values())
    optimizer = Optimizer([], learning_rate=0.01, rest=parameters, rest_learning_rate=0.01, steps=steps)
    cfg = OBJECTIVES[objective].config()
    return Learner(policy, cfg, optimizer, micro_batch=micro_batch, reference=None)


def random_batch(n: int, seed: int = 0) -> Batch:
    """Pairs of completions of unequal lengths, every column filled but the reference."""
    rng = np.random.default_rng(seed)
    prompts = [tuple(rng.integers(5, 90, rng.integers(3, 9)).tolist()) for _ in range(n) for _ in range(1)]
    prompts = [prompt for prompt in prompts for _ in range(2)]
    completions = [tuple(rng.integers(5, 90, rng.integers(1, 12)).tolist()) for _ in prompts]
    return Batch(
        prompts,
        completions,
        weights=rng.random(2 * n).tolist(),
        advantages=[1.0, -1.0] * n,
        groups=[i for i in range(n) for _ in range(2)],
        sampler=[(-4.0 - rng.random(len(c))).tolist() for c in completions],
    )


def moved() -> Policy:
    """An adapter that is not its start, so that a reference differs from it."""
    policy = Policy("math", rank=4, alpha=8.0)
    policy.load_state({key: value + 0.02 for key, value in policy.state().items()})
    return policy


@pytest.mark.parametrize("objective", list(OBJECTIVES))
@pytest.mark.parametrize("micro_batch", [1, 40, 100])
def test_parts_have_the_whole_batchs_loss_and_gradient(objective: str, micro_batch: int) -> None:
    batch, found = random_batch(9), []
    for most in (10**6, micro_batch):
        policy = moved()
        one = learner(policy, objective, most)
        kept: list[torch.Tensor] = []
        one.optimizer.step = lambda p=policy, k=kept: k.extend(x.grad for x in p.parameters.values()) or 0.0  # type: ignore[method-assign,misc]
        found.append((one.learn(batch)["loss"], kept))
    (whole, gradients), (parts, others) = found
    assert parts == pytest.approx(whole, rel=1e-5)
    largest = max(float(g.abs().max()) for g in gradients)
    assert largest > 0
    for a, b in zip(gradients, others, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6 * largest, rtol=1e-4)


def test_parts_keep_to_the_limit_and_a_pair_together() -> None:
    batch = random_batch(20)
    for whole_groups in (False, True):
        parts = list(batch.parts(60, whole_groups))
        assert [p for part in parts for p in part.pairs] == batch.pairs
        assert len(parts) > 5
        for part in parts:
            prompts = sum(len(p) for i, p in enumerate(part.prompts) if i == 0 or p != part.prompts[i - 1])
            assert prompts + part.tokens <= 60
            if whole_groups:
                assert all(part.groups.count(group) == 2 for group in part.groups)


class Toy(Source):
    """Two completions of one prompt, the first of them better."""

    def batches(self, number: int) -> Iterator[Batch]:
        self.episodes += 1
        prompt, good, bad = (10, 11), (20, 21), (30, 31)
        yield Batch(
            [prompt, prompt],
            [good, bad],
            weights=[1.0, 0.0],
            advantages=[1.0, -1.0],
            groups=[0, 0],
            sampler=[[-4.0, -4.0]] * 2,
        )

    def sample(self) -> str:
        return "toy"


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_a_toy_source_trains_with_any_objective(objective: str) -> None:
    policy = Policy("math", rank=4, alpha=8.0)

    def margin() -> float:
        from shuhari.policy.scoring import completion_logprobs

        with torch.no_grad():
            pairs = next(Toy(1, np.random.default_rng(0)).batches(0)).pairs
            scored = completion_logprobs(policy, pairs, packed=False)
        return float(scored.logprobs_N[:2].sum() - scored.logprobs_N[2:].sum())

    before = margin()
    phase = Phase("toy", Toy(20, np.random.default_rng(0)), learner(policy, objective, steps=20))
    while not phase.done:
        assert np.isfinite(phase.step()["loss"])
    assert margin() > before + 1
    assert phase.summary()["updates"] == 20


def test_an_objective_names_the_column_that_its_source_does_not_give() -> None:
    one = learner(Policy("math", rank=4, alpha=8.0), "policy_gradient")
    with pytest.raises(ValueError, match="policy_gradient: its source gives no advantages"):
        one.learn(Batch([(5,)], [(6,)]))


def test_the_reference_is_any_adapter_by_name(tmp_path: Path) -> None:
    """The base, a frozen adapter, a folder: each gives its own margin; what is none of them is refused."""
    policy = moved()
    policy.save(tmp_path / "past")
    policy.freeze("imitation")
    policy.load_state({key: value + 0.02 for key, value in policy.state().items()})
    batch, losses = random_batch(4), []
    for name in ("base", "imitation", str(tmp_path / "past")):
        reference = policy.adapter_named(name, "objective.reference")
        one = learner(policy, "preference")
        one.reference = reference
        one.optimizer.step = lambda: 0.0  # type: ignore[method-assign]
        losses.append(one.learn(batch)["loss"])
    assert losses[1] == pytest.approx(losses[2], rel=1e-6)
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)
    with pytest.raises(CheckpointError, match=r"objective\.reference=imitatio: no adapter_config"):
        policy.adapter_named("imitatio", "objective.reference")


def test_resuming_loads_what_was_saved() -> None:
    def phase() -> Phase:
        policy: Any = Policy("math", rank=4, alpha=8.0, seed=1)
        return Phase("toy", Toy(12, np.random.default_rng(0)), learner(policy, "distill", steps=12))

    whole, parts = phase(), phase()
    for _ in range(12):
        whole.step()
    for _ in range(6):
        parts.step()
    state, adapter = parts.state_dict(), parts.learner.policy.state()
    rest = phase()
    rest.learner.policy.load_state(adapter)
    rest.load_state_dict(state)
    while not rest.done:
        rest.step()
    assert rest.summary() | {"seconds": 0} == whole.summary() | {"seconds": 0}
    for key, value in whole.learner.policy.state().items():
        assert torch.equal(value, rest.learner.policy.state()[key])
