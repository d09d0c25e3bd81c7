"""Completions that share rows are scored as each would be alone."""

from pathlib import Path

import checkpoints
import pytest
import torch

from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.scoring import _padded, _worth_sharing, completion_logprobs
from shuhari.policy.shared_scoring import SequenceLogprobs, shared_logprobs

WINDOWED = {"sliding_window": 6}
CASES = {"llama": ("llama", {}), "windows": ("mistral", WINDOWED), "module": ("gpt_neox", {})}


@pytest.fixture(scope="module", params=CASES)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    kind, changes = CASES[request.param]
    return checkpoints.random_policy(tmp_path_factory.mktemp(request.param), kind, **changes)  # type: ignore[no-any-return]


def in_order(scored: SequenceLogprobs) -> tuple[list[float], list[float], list[int]]:
    order = scored.token_N.argsort()
    return (
        scored.logprobs_N[order].tolist(),
        scored.entropy_N[order].tolist(),
        scored.sequence_N[order].tolist(),
    )


def test_each_is_as_it_would_be_alone(policy: Policy) -> None:
    """Moves of several lengths that branch early and late, two questions of one text, and texts of others."""
    board, other = (7, 8, 9, 10, 11, 12, 13, 14), (20, 21, 22, 23)
    moves = [(30, 31), (30, 32), (33,), (34, 35, 36), (34, 35, 37), (34, 38)]
    pairs = [((*board, end), move) for end in (40, 41) for move in moves]
    pairs += [(other, (30,)), (other, (31, 32)), ((5,), (6, 7)), pairs[3]]
    with policy.inference():
        shared = in_order(shared_logprobs(policy, pairs))
        alone = in_order(_padded(policy, pairs, LEARNING))
        for got, want in zip(shared, alone, strict=True):
            assert got == pytest.approx(want, abs=2e-5)


def test_rows_are_as_few_as_there_are_texts(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    logits = type(policy).logits

    def counted(self: Policy, tokens_BT: torch.Tensor, *rest: object) -> torch.Tensor:
        rows.append(len(tokens_BT))
        return logits(self, tokens_BT, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(policy), "logits", counted)
    pairs = [((7, 8, 9, end), (30 + n, 40 + n)) for end in (10, 11) for n in range(6)]
    with policy.inference():
        shared_logprobs(policy, [*pairs, ((7, 8, 8, 10), (30,))])
    assert rows == [2]


def test_moves_share_a_row_of_their_position_and_long_texts_have_rows_of_their_own() -> None:
    board = tuple(range(20, 60))
    moves = [(board, (30 + n, 40 + n)) for n in range(6)]  # no two begin alike
    assert _worth_sharing(moves)
    assert not _worth_sharing([(board, tuple(range(30 + n, 40 + n))) for n in range(6)])
    assert not _worth_sharing([(board, (30, 40))])  # nothing to share
    assert not _worth_sharing([((n, *board), (30,)) for n in range(6)])


def test_a_small_policy_learns_moves_in_one_row(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    board, asked = tuple(range(20, 60)), list[int]()
    monkeypatch.setattr("shuhari.policy.scoring.shared_logprobs", lambda *given: asked.append(len(given[1])))
    for small in (True, False):
        monkeypatch.setattr(policy, "small", small)
        completion_logprobs(policy, [(board, (30 + n, 40 + n)) for n in range(6)])
    assert asked == [6]


def test_gradients_are_those_of_single_rows(policy: Policy) -> None:
    pairs = [((7, 8, 9, end), (30 + n, 40 + n)) for end in (10, 11) for n in range(3)]
    found = []
    for score in (lambda: shared_logprobs(policy, pairs), lambda: _padded(policy, pairs, LEARNING)):
        for p in policy.parameters.values():
            p.grad = None
        score().logprobs_N.exp().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in policy.parameters.values() if p.grad is not None]))
    assert found[0].norm() > 0
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-3)


def test_a_tiny_checkpoint_with_two_windows(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"] * 2
    layers = {
        "use_sliding_window": True,
        "sliding_window": 3,
        "layer_types": kinds[:2],
        "num_hidden_layers": 2,
    }
    policy = checkpoints.random_policy(tmp_path, "qwen3", **layers)
    pairs = [((5, 6, 7, 8, 9, end), (30 + n, 40)) for end in (10, 11) for n in range(3)]
    with policy.inference():
        shared, alone = shared_logprobs(policy, pairs), _padded(policy, pairs, LEARNING)
    assert in_order(shared)[0] == pytest.approx(in_order(alone)[0], abs=2e-5)
