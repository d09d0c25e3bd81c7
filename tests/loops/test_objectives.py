"""Losses against arithmetic done by hand, and what they are registered with."""

from math import comb, exp, log
from typing import Any

import pytest
import torch

from shuhari.loops.learn.batch import Batch, Columns
from shuhari.loops.learn.objectives import (
    OBJECTIVES,
    DistillConfig,
    PolicyGradientConfig,
    PreferenceConfig,
    distill,
    policy_gradient,
    preference,
)
from shuhari.loops.learn.optimizer import Optimizer, orthogonalise
from shuhari.policy.shared_scoring import SequenceLogprobs
from shuhari.rewards.statistics import pass_at, wilson


def columns_of(batch: Batch, logprobs: list[float]) -> tuple[torch.Tensor, Columns]:
    """A batch's columns as the learner makes them, for log-probabilities in order of its tokens."""
    logprobs_N = torch.tensor(logprobs, requires_grad=True)
    sequence_N = torch.tensor([i for i, c in enumerate(batch.completions) for _ in c])
    scored = SequenceLogprobs(logprobs_N, torch.zeros(len(logprobs)), sequence_N, torch.arange(len(logprobs)))
    return logprobs_N, Columns.of(batch, scored, batch)


def rows(*lengths: int, **columns: Any) -> Batch:
    return Batch([(5,)] * len(lengths), [(6,) * n for n in lengths], **columns)


def test_distill_is_weighted_cross_entropy() -> None:
    logprobs_N, columns = columns_of(rows(1, 1, 1, weights=[1.0, 3.0, 0.0]), [log(0.5), log(0.25), log(0.1)])
    loss = distill(logprobs_N, columns, DistillConfig())
    assert loss.item() == pytest.approx((log(2) + 3 * log(4)) / 4)


def test_a_row_that_stands_for_many_weighs_as_much_and_a_divergence_holds_the_policy() -> None:
    """Weights of 3 and 1; k3 of a ratio r is r - 1 - log r, and 0 where nothing has moved."""
    batch = rows(1, 1, weights=[3.0, 1.0], advantages=[1.0, -2.0], sampler=[[log(0.5)], [log(0.5)]])
    logprobs_N, columns = columns_of(batch, [log(0.6), log(0.5)])
    loss = policy_gradient(logprobs_N, columns, PolicyGradientConfig(kl=0.5))
    assert loss.item() == pytest.approx(-(3 * (1.2 - 0.5 * (1.2 - 1 - log(1.2))) - 2) / 4)
    loss.backward()
    # d/dlogp of -w (r A - kl (r - 1 - log r)) / 4 = -w (r A - kl (r - 1)) / 4
    assert logprobs_N.grad is not None
    assert logprobs_N.grad.tolist() == pytest.approx([-3 * (1.2 - 0.5 * 0.2) / 4, 2 / 4])


def test_policy_gradient_on_policy_is_the_mean_advantage() -> None:
    sampler = [-1.0, -2.0, -3.0]
    batch = rows(2, 1, advantages=[0.5, -0.25], sampler=[sampler[:2], sampler[2:]])
    logprobs_N, columns = columns_of(batch, sampler)
    loss = policy_gradient(logprobs_N, columns, PolicyGradientConfig())
    assert loss.item() == pytest.approx(-(0.5 + 0.5 - 0.25) / 3)
    loss.backward()
    assert logprobs_N.grad is not None
    torch.testing.assert_close(logprobs_N.grad, -torch.tensor([0.5, 0.5, -0.25]) / 3)


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate"),
    [
        (1.5, 1.0, 1.28),  # clip-higher bounds what a good token gains
        (0.5, 1.0, 0.5),
        (1.5, -1.0, -1.5),  # a bad token that became likelier is pushed back in full
        (0.5, -1.0, -0.8),
        (9.0, -1.0, -3.0),  # truncated importance weight
    ],
)
def test_clipping_by_hand(ratio: float, advantage: float, surrogate: float) -> None:
    batch = rows(1, advantages=[advantage], sampler=[[0.0]])
    logprobs_N, columns = columns_of(batch, [log(ratio)])
    loss = policy_gradient(logprobs_N, columns, PolicyGradientConfig())
    assert loss.item() == pytest.approx(-surrogate, rel=1e-5)


def test_preference_by_hand() -> None:
    """Two pairs, the first of two and one tokens: margins of log-ratios, worked out on paper."""
    batch = rows(
        2,
        1,
        1,
        1,
        advantages=[1.0, -1.0, 1.0, -1.0],
        groups=[7, 7, 9, 9],
        reference=[[-1.0, -1.0], [-1.0], [-2.0], [-0.5]],
    )
    logprobs_N, columns = columns_of(batch, [-0.5, -0.75, -1.5, -2.0, -0.5])
    loss = preference(logprobs_N, columns, PreferenceConfig(beta=0.5))
    margins = [(0.5 + 0.25) - (-0.5), 0.0]  # of the better over the worse
    want = sum(log(1 + exp(-0.5 * margin)) for margin in margins) / 2
    assert loss.item() == pytest.approx(want, rel=1e-6)
    loss.backward()
    assert logprobs_N.grad is not None
    push = 0.5 / 2 / (1 + exp(0.5 * margins[0]))
    want_N = torch.tensor([-push, -push, push, -0.125, 0.125])
    torch.testing.assert_close(logprobs_N.grad, want_N)


def test_every_objective_is_short_and_registered_with_its_configuration() -> None:
    import inspect

    for name, objective in OBJECTIVES.items():
        assert objective.config().name == name
        assert len(inspect.getsource(objective.loss).splitlines()) <= 40


def test_wilson_and_pass_at_k() -> None:
    assert wilson(0.5, 100) == [0.4038, 0.5962]  # textbook value
    assert wilson(1.0, 1000)[0] == pytest.approx(0.9962, abs=1e-4)
    assert wilson(0.0, 0) == [0.0, 1.0]
    assert pass_at(8, 2, 1) == pytest.approx(0.25)
    assert pass_at(8, 2, 4) == pytest.approx(1 - comb(6, 4) / comb(8, 4))


def test_orthogonalise_flattens_the_spectrum() -> None:
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(orthogonalise(torch.randn(5, 8, 20)))
    assert singular.min() > 0.6
    assert singular.max() < 1.3


def problem() -> tuple[torch.nn.Parameter, torch.nn.Parameter, Optimizer]:
    torch.manual_seed(1)
    matrix, vector = torch.nn.Parameter(torch.randn(4, 6)), torch.nn.Parameter(torch.randn(3))
    return (
        matrix,
        vector,
        Optimizer([matrix], rest=[vector], learning_rate=0.1, rest_learning_rate=0.1, steps=300),
    )


def test_the_optimizer_minimises_and_resumes_exactly() -> None:
    matrix, vector, optimizer = problem()
    for step in range(300):
        if step == 150:
            saved = (matrix.detach().clone(), vector.detach().clone(), optimizer.state_dict())
        optimizer.update(matrix.square().sum() + vector.square().sum())
    assert matrix.abs().max() < 0.2
    assert vector.abs().max() < 0.3
    matrix2, vector2, optimizer2 = problem()
    with torch.no_grad():
        matrix2.copy_(saved[0])
        vector2.copy_(saved[1])
    optimizer2.load_state_dict(saved[2])
    for _ in range(150):
        optimizer2.update(matrix2.square().sum() + vector2.square().sum())
    assert torch.equal(matrix, matrix2)
    assert torch.equal(vector, vector2)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    matrix, _, optimizer = problem()
    before = matrix.detach().clone()
    with pytest.raises(FloatingPointError, match="learning rate"):
        optimizer.update((matrix * float("nan")).sum())
    assert torch.equal(matrix, before)
