"""Losses against arithmetic done by hand."""

from math import comb, log

import pytest
import torch

from shuhari.loops.objectives import distill, policy_gradient
from shuhari.loops.optimizer import Optimizer, orthogonalise
from shuhari.rewards.statistics import pass_at, wilson


def test_distill_is_weighted_cross_entropy() -> None:
    logprobs, weights = torch.tensor([log(0.5), log(0.25), log(0.1)]), torch.tensor([1.0, 3.0, 0.0])
    assert distill(logprobs, weights).item() == pytest.approx((log(2) + 3 * log(4)) / 4)


def test_policy_gradient_on_policy_is_the_mean_advantage() -> None:
    logprobs = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    advantages = torch.tensor([0.5, -0.25, 0.125])
    loss = policy_gradient(logprobs, logprobs.detach(), advantages)
    assert loss.item() == pytest.approx(-0.375 / 3)
    loss.backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, -advantages / 3)


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
    loss = policy_gradient(torch.tensor([log(ratio)]), torch.tensor([0.0]), torch.tensor([advantage]))
    assert loss.item() == pytest.approx(-surrogate, rel=1e-5)


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
