"""Sampling: the definition's frequencies, and the kernels' tokens, which are the definition's."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mutants import mutant
from torch import Tensor

from shuhari.kernels import sampling
from shuhari.kernels.constants import LOGITS_PER_SPLIT
from shuhari.kernels.gpu import sampling as gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [
    (1, 1),
    (3, 2),
    (4, 101),
    (2, 128),
    (3, 129),
    (2, 1025),
    (3, 4096),
    (2, 4097),
    (3, 5000),
    (1, 20_011),
]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel does not write is no number, or no token."""
    empty = torch.empty

    def bad(*size: Any, **options: Any) -> Tensor:
        made = empty(*size, **options)
        return made.fill_(float("nan") if made.is_floating_point() else -(2**30))

    monkeypatch.setattr(torch, "empty", bad)


def case(B: int, V: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, temperatures (0 among them where B > 2), seeds that use all 64 bits, counters."""
    torch.manual_seed(B + V)
    logits = (torch.randn(B, V) * 3).to(dtype)
    temperatures = torch.tensor([1.0, 0.6, 0.0, 2.5]).repeat(B)[:B]
    return logits, temperatures, torch.randint(-(2**62), 2**62, (B,)), torch.randint(2**40, (B,))


def exact_logprobs(logits: Tensor, temperatures: Tensor, tokens: Tensor) -> Tensor:
    """In fp64, of given tokens."""
    z = logits.double() / temperatures.double().masked_fill(temperatures == 0, 1)[:, None]
    return z.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]


def is_right(module: ModuleType, B: int, V: int, dtype: torch.dtype = torch.float32) -> bool:
    """The definition's tokens, and their exact log-probabilities."""
    given = case(B, V, dtype)
    tokens, logprobs = module.sample(*given)
    want = sampling.plain(*given)[0]
    if not (tokens.dtype == torch.int64 and torch.equal(tokens, want)):
        return False
    exact = exact_logprobs(*given[:2], tokens)
    return bool(((logprobs.double() - exact).abs() <= 2e-6 * exact.abs().clamp(min=1)).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("B", "V"), SHAPES)
def test_kernels_are_the_definition(B: int, V: int, dtype: torch.dtype) -> None:
    assert is_right(gpu, B, V, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("V", [1, 101, 5000])
def test_the_definitions_logprobs(V: int, dtype: torch.dtype) -> None:
    assert is_right(sampling_as_module(), 50, V, dtype)


def sampling_as_module() -> Any:
    class Definition:
        sample = staticmethod(sampling.plain)

    return Definition


def chi_square(tokens: Tensor, p_V: Tensor) -> float:
    """Of counts where five are expected or more, as a standard normal number (Wilson and Hilferty 1931)."""
    expected = p_V.double() * len(tokens)
    counts = torch.bincount(tokens, minlength=len(p_V)).double()
    often = expected >= 5
    rest = expected[~often].sum()
    if rest >= 5:
        expected, counts = (torch.cat([x[often], x[~often].sum()[None]]) for x in (expected, counts))
    else:
        expected, counts = expected[often], counts[often]
    freedom = len(expected) - 1
    spread = 2 / (9 * freedom)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(((statistic / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize(("V", "n"), [(2, 100_000), (7, 100_000), (101, 50_000), (9000, 2000)])
def test_frequencies(V: int, n: int, temperature: float) -> None:
    torch.manual_seed(V)
    logits = torch.randn(V) * 1.5
    given = (logits.expand(n, V), torch.full((n,), temperature), torch.full((n,), 17), torch.arange(n))
    tokens, _ = sampling.sample(*given)
    bins = logits.argsort().argsort() * min(V, 50) // V  # neighbours in logit together
    binned = [
        torch.zeros(min(V, 50)).index_add(0, bins, (logits / t).softmax(-1))
        for t in (temperature, 1.3 * temperature)
    ]
    assert abs(chi_square(bins[tokens], binned[0])) < 4
    assert chi_square(bins[tokens], binned[1]) > 4, "the test sees a wrong temperature"
    if V > LOGITS_PER_SPLIT:
        p_S = (
            F.pad((logits / temperature).softmax(-1), (0, -V % LOGITS_PER_SPLIT))
            .view(-1, LOGITS_PER_SPLIT)
            .sum(-1)
        )
        assert abs(chi_square(tokens // LOGITS_PER_SPLIT, p_S)) < 4


@pytest.mark.parametrize("stream", ["counters", "seeds", "high words"])
def test_neighbouring_draws_are_independent(stream: str) -> None:
    V, n = 10, 100_000
    zeros, ones = torch.zeros(n, dtype=torch.long), torch.arange(n)
    seeds, counters = {"counters": (zeros, ones), "seeds": (ones, zeros), "high words": (zeros, ones << 32)}[
        stream
    ]
    tokens, _ = sampling.sample(torch.zeros(1, V).expand(n, V), torch.ones(n), seeds, counters)
    for lag in (1, 2, 64):
        pairs = tokens[lag:] * V + tokens[:-lag]
        assert abs(chi_square(pairs, torch.full((V * V,), 1 / V**2))) < 4


def test_uniforms_are_never_0_or_1(monkeypatch: pytest.MonkeyPatch) -> None:
    j = torch.arange(50_000).expand(20, -1)
    u = sampling.uniforms(torch.arange(20), torch.zeros(20, dtype=torch.long), j)
    assert abs(u.mean() - 0.5) < 1e-3
    for extreme, want in ((0, 2.0**-33), (2**32 - 1, 1 - 2.0**-24)):
        monkeypatch.setattr(sampling, "lowbias32", lambda x, extreme=extreme: torch.full_like(x, extreme))
        assert sampling.uniforms(*torch.ones(2, 1).long(), j[:1, :3]).tolist() == [[want] * 3]
        tokens, logprobs = sampling.sample(torch.zeros(1, 3), torch.ones(1), *torch.zeros(2, 1).long())
        assert tokens.item() == 0
        assert logprobs.isfinite().all()


def test_lowbias32_is_the_published_one() -> None:
    """By hand: 1 ^ 0; times 0x7feb352d; ^ its top 17 bits; times 0x846ca68b; ^ its upper half."""
    x = 1 * 0x7FEB352D
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    x ^= x >> 16
    assert sampling.lowbias32(torch.tensor([0, 1])).tolist() == [0, x]


@pytest.mark.parametrize("implementation", ["plain", "triton"])
def test_greedy(implementation: Any) -> None:
    """The first of equals, also over splits; the log-probability is that at temperature 1."""
    logits = torch.zeros(3, 9000)
    logits[0, [8, 77]], logits[1, [4095, 8999]], logits[2, 8191] = 2.0, 3.0, 1.0
    tokens, logprobs = sampling.sample(logits, torch.zeros(3), *torch.ones(2, 3).long(), implementation)
    assert tokens.tolist() == [8, 4095, 8191]
    torch.testing.assert_close(
        logprobs.double(), exact_logprobs(logits, torch.ones(3), tokens), rtol=2e-6, atol=0
    )


@pytest.mark.parametrize("implementation", ["plain", "triton"])
@pytest.mark.parametrize("V", [7, 9000])
def test_minus_infinity_is_never_chosen(implementation: Any, V: int) -> None:
    """Also where a whole split is."""
    B = 6
    logits, _, seeds, counters = case(B, V)
    allowed = [V - 1, V // 3]
    masked = torch.full_like(logits, -torch.inf)
    masked[:, allowed] = logits[:, allowed]
    temperatures = torch.tensor([0.0, 0.3, 1, 1, 3, 100])
    tokens, logprobs = sampling.sample(masked, temperatures, seeds, counters, implementation)
    assert set(tokens.tolist()) <= set(allowed)
    torch.testing.assert_close(
        logprobs.double(), exact_logprobs(masked, temperatures, tokens), rtol=2e-6, atol=2e-6
    )


@pytest.mark.parametrize("implementation", ["plain", "triton"])
def test_a_bad_row_harms_itself_alone(implementation: Any) -> None:
    given = case(5, 5001)
    before = sampling.sample(*given, implementation)
    given[0][1, 4999], given[0][3] = torch.nan, -torch.inf
    tokens, logprobs = sampling.sample(*given, implementation)
    assert logprobs.isnan().tolist() == [False, True, False, True, False]
    assert ((tokens >= 0) & (tokens < 5001)).all()
    good = [0, 2, 4]
    assert torch.equal(tokens[good], before[0][good])
    assert torch.equal(logprobs[good], before[1][good])


@pytest.mark.parametrize("implementation", ["plain", "triton"])
def test_rows_do_not_depend_on_their_batch(implementation: Any) -> None:
    given = case(5, 4500)
    together = sampling.sample(*given, implementation)
    for rows in ([4], [3, 1]):
        apart = sampling.sample(*(x[rows] for x in given), implementation)
        for x, y in zip(apart, together, strict=True):
            assert torch.equal(x, y[rows])


def test_a_view_of_the_last_position_is_read_in_place() -> None:
    _, temperatures, seeds, counters = case(3, 200)
    logits_BTV = torch.randn(3, 4, 200)
    got = gpu.sample(logits_BTV[:, -1], temperatures, seeds, counters)
    assert torch.equal(got[0], gpu.sample(logits_BTV[:, -1].clone(), temperatures, seeds, counters)[0])
    turned = logits_BTV[:, -1].T.contiguous().T
    assert torch.equal(got[0], gpu.sample(turned, temperatures, seeds, counters)[0])
    assert gpu.sample(logits_BTV[:0, -1], temperatures[:0], seeds[:0], counters[:0])[0].shape == (0,)


def test_the_rule_and_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for module, name, function in ((sampling, "plain", "plain"), (gpu, "triton", "sample")):
        monkeypatch.setattr(module, function, lambda *x, name=name: ran.append(name) or x[:2])
    given = case(2, 3)
    sampling.sample(*given)
    sampling.sample(*given, "triton")
    assert ran == ["plain", "triton"]
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match="runs on CUDA tensors, not on cpu"):
        sampling.sample(*given, "triton")
    with pytest.raises(ValueError, match="5,000,000 logits are too many"):
        gpu.sizes(5_000_000)


SPLIT_MUTANTS = [
    (
        'mask=j_K < V, other=float("-inf")).to(tl.float32)\n    x_K = tl.where',
        'mask=j_K < V - 1, other=float("-inf")).to(tl.float32)\n    x_K = tl.where',
    ),
    ("tl.exp2((x_K - top) * scale)", "tl.exp2(x_K - top)"),
    ("j_K = tl.program_id(1) * BLOCK + tl", "j_K = tl"),
    ("out = b * tl.num_programs(1) + tl.program_id(1)", "out = b * tl.num_programs(1)"),
]
DRAW_MUTANTS = [
    ("lowbias32(seed_low) ^ seed_high", "lowbias32(seed_low)"),
    ("tl.where(greedy, 0.0, noise_K)", "noise_K"),
    ("lowbias32((j_K * WEYL + first) ^ second)", "lowbias32(j_K * WEYL + first)"),
    ("top_S * scale + tl.log2(sum_S)", "top_S * scale"),
    ("token = split * BLOCK + draw", "token = draw"),
    ("j_K = split * BLOCK + tl", "j_K = tl"),
    ("at_S = b * splits + s_S", "at_S = s_S"),
    ("sum_S, 0.0) * tl.exp2((top_S - top) * scale)", "sum_S, 0.0)"),
    ("((x - top) * scale - tl.log2(total)) * LN2", "((x - top) - tl.log2(total)) * LN2"),
]


@pytest.mark.parametrize(("old", "new"), SPLIT_MUTANTS + DRAW_MUTANTS)
def test_mutants_are_caught(old: str, new: str, tmp_path: Path) -> None:
    broken = mutant(gpu, old, new, tmp_path)
    cases = [(6, 8192), (16, 101), (1, 1)]
    assert not all(is_right(broken, B, V) for B, V in cases)


def test_the_cases_of_mutants_are_right_without_them() -> None:
    assert all(is_right(gpu, B, V) for B, V in [(1, 1), (16, 101), (6, 8192)])


def test_every_launch_is_shipped() -> None:
    shipped = {(x.kernel.__name__, *x.constants.values(), x.num_warps) for x in gpu.shipped()}
    reached = {gpu.sizes(V) for V in [*range(1, 10_000), 50_257, 151_936, 262_144, 262_145, 2**22]}
    splits = {("split_kernel", block, warps) for block, _, warps in reached}
    assert shipped == splits | {("draw_kernel", *x) for x in reached}
