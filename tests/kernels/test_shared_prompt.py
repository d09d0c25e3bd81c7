"""Shared-prompt attention against its definition and against plain causal attention, in fp64."""

import pytest
import torch

from shuhari.kernels.attention import plain as causal
from shuhari.kernels.shared_prompt import Prefix, shared_attention

# rows, heads, key heads, queries, keys of completions in parts, whether lengths differ,
# (prompts, keys, rows of each, lengths)...
CASES = [
    (4, 4, 2, 1, [5], False, [(2, 7, [[0, 1], [2, 3]], None)]),
    (5, 4, 4, 1, [4, 2], True, [(2, 9, [[3, 0, 4], [1, 2, -1]], [9, 4])]),
    (6, 6, 2, 1, [3], True, [(1, 8, [[5, 1]], None), (2, 3, [[0, 2], [4, 3]], [3, 1])]),
    (3, 2, 1, 4, [2, 2, 4], False, [(3, 5, [[0], [1], [2]], None)]),
    (5, 4, 2, 3, [60, 50], True, [(2, 6, [[0, 1, 2], [3, 4, -1]], [6, 2])]),
]


def draw(case: tuple) -> tuple:  # type: ignore[type-arg]
    B, H, Hkv, T, widths, ragged, groups = case
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    q = normal(B, H, T, 8)
    parts = [(normal(B, Hkv, s, 8), normal(B, Hkv, s, 8)) for s in widths]
    S = sum(widths)
    length = torch.randint(T, S + 1, (B,), generator=generator) if ragged else S - 1
    prefixes = [
        Prefix(
            normal(n, Hkv, p, 8),
            normal(n, Hkv, p, 8),
            torch.tensor(rows),
            None if lens is None else torch.tensor(lens),
            in_order=rows == [[0, 1], [2, 3]],
        )
        for n, p, rows, lens in groups
    ]
    return q, parts, length, prefixes


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_definition_gradients_included(case: tuple) -> None:  # type: ignore[type-arg]
    arguments = draw(case)
    got = shared_attention(*arguments)
    want = shared_attention(*arguments, implementation="plain")
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    q, parts, _, prefixes = arguments
    leaves = [q, *(x for part in parts for x in part), *(x for p in prefixes for x in (p.k_NHPD, p.v_NHPD))]
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), leaves),
        torch.autograd.grad((want * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("implementation", ["plain", "torch"])
@pytest.mark.parametrize("T", [1, 3])
def test_one_prompt_each_is_causal_attention(implementation: str, T: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, 9, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    want = causal(q[:, :, -T:], k, v)
    prefix = Prefix(k[:, :, :5], v[:, :, :5], torch.tensor([[0], [1]]))
    got = shared_attention(q[:, :, -T:], [(k[:, :, 5:], v[:, :, 5:])], 4, [prefix], implementation)  # type: ignore[arg-type]
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CASES[:2])
def test_what_is_beyond_a_length_changes_nothing(case: tuple) -> None:  # type: ignore[type-arg]
    q, parts, length, prefixes = draw(case)
    want = shared_attention(q, parts, length, prefixes)
    with torch.no_grad():
        start = 0
        for k, v in parts:
            for b in range(len(q)):
                n = max(0, (length if isinstance(length, int) else int(length[b])) - start)
                k[b, :, n:] = torch.nan  # whatever was in memory
                v[b, :, n:] = 1e6
            start += k.shape[2]
        if prefixes[0].lengths_N is not None:
            prefixes[0].k_NHPD[1, :, 4:] = prefixes[0].v_NHPD[1, :, 4:] = 1e6
    assert torch.equal(shared_attention(q, parts, length, prefixes), want)
