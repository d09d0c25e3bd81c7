"""Drawing from a wide vocabulary in blocks is drawing from its distribution."""

import numpy as np
import pytest
import torch

from shuhari.policy.inference import sampler
from shuhari.policy.inference.request import Request, RunningRequest
from shuhari.policy.inference.sampler import Sampler, block_sums, draw, draw_by_block


def running(temperature: float, seed: int, allowed: tuple[tuple[int, ...], ...] = ()) -> RunningRequest:
    return RunningRequest(seed, Request((1,), 4, temperature, seed, choices=allowed))


@pytest.mark.parametrize("V", [256, 512, 700, 769])
def test_blocks_give_the_tokens_of_one_inversion(V: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "IN_CACHE", 3 * V)
    torch.manual_seed(V)
    logits = torch.randn(200, V, dtype=torch.float64) * 3
    logits[:, torch.randperm(V)[: V // 3]] = -torch.inf  # never drawn
    uniform = torch.rand(200, dtype=torch.float64)
    uniform[:2] = torch.tensor([0.0, 1 - 2**-53])
    top, sums = block_sums(logits)
    torch.testing.assert_close(sums.sum(-1).log() + top[:, 0], logits.logsumexp(-1))
    got = draw_by_block(logits, top, sums, uniform)
    assert torch.equal(got, draw(logits.softmax(-1), uniform))
    assert logits.gather(1, got[:, None]).isfinite().all()


def test_a_row_that_is_no_number_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 600)
    logits[1], logits[3] = torch.nan, -torch.inf
    found = []
    requests = [
        running(t, i, c)
        for i, (t, c) in enumerate(zip((1, 1, 0, 1, 0.7), ((), (), (), (), ((7,), (500,))), strict=True))
    ]
    for wide in (10**6, 1):
        monkeypatch.setattr(sampler, "WIDE", wide)
        found.append(Sampler(requests)(logits.clone()))
    (tokens, logps), (others, wide_logps) = found
    for i in (0, 2, 4):
        assert tokens[i] == others[i]
        assert wide_logps[i] == pytest.approx(logps[i], abs=1e-5)
    assert tokens[2] == int(logits[2].argmax())
    assert tokens[4] in (7, 500)
    assert np.isnan([wide_logps[1], wide_logps[3]]).all()
    assert all(0 <= token < 600 for token in others)
