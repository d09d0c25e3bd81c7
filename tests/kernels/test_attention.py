import pytest
import torch

from shuhari.kernels import attention, dispatch
from shuhari.kernels.logprobs import token_logprobs


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Position by position, in fp64, from the definition."""
    B, H, T, D = q.shape
    S, groups = k.shape[2], H // k.shape[1]
    out = torch.full_like(q, float("nan"))
    for b in range(B):
        for h in range(H):
            for t in range(T):
                seen = S - T + t + 1
                scores = k[b, h // groups, :seen] @ q[b, h, t] / D**0.5
                out[b, h, t] = scores.softmax(0) @ v[b, h // groups, :seen]
    return out


@pytest.mark.parametrize("implementation", ["plain", "torch"])
@pytest.mark.parametrize(
    ("B", "H", "Hkv", "T", "S", "D"),
    [
        (1, 1, 1, 1, 1, 32),
        (2, 2, 2, 7, 7, 32),
        (3, 4, 2, 5, 13, 33),
        (1, 6, 1, 1, 70, 48),
        (2, 3, 3, 65, 65, 17),
    ],
)
def test_against_fp64(implementation: str, B: int, H: int, Hkv: int, T: int, S: int, D: int) -> None:
    torch.manual_seed(B + T + S)
    q, k, v = torch.randn(B, H, T, D), torch.randn(B, Hkv, S, D), torch.randn(B, Hkv, S, D)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    out, want = attention.causal_attention(*leaves, implementation), reference(*exact)  # type: ignore[arg-type]
    upstream = torch.randn_like(want)
    out.backward(upstream.float())
    want.backward(upstream)
    pairs = [(out, want), *((a.grad, b.grad) for a, b in zip(leaves, exact, strict=True))]
    for got, expected in pairs:
        assert got is not None
        assert expected is not None
        assert (got.double() - expected).norm() <= 2e-6 * max(expected.norm().item(), 1.0)


def test_few_keys_take_the_definition_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    for name in ("plain", "sdpa"):
        monkeypatch.setattr(attention, name, lambda q, *given, name=name: ran.append(name) or q)
    short, long = torch.zeros(1, 1, dispatch.SHORT, 8), torch.zeros(1, 1, dispatch.SHORT + 1, 8)
    attention.causal_attention(short, short, short)
    attention.causal_attention(long, long, long)
    attention.causal_attention(short, short, short, "torch")
    assert ran == ["plain", "sdpa", "sdpa"]


def test_token_logprobs_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.bfloat16)
    logprobs, entropy = token_logprobs(logits, torch.tensor([1, 0]), temperature=2.0)
    p = torch.tensor(1.0).sigmoid()  # logits 2 and 0 at temperature 2
    torch.testing.assert_close(logprobs, torch.tensor([0.5, p]).log())
    torch.testing.assert_close(
        entropy, torch.stack([torch.tensor(2.0).log(), -p * p.log() - (1 - p) * (1 - p).log()])
    )
