"""Self-play: what a round is made of, what comes back, what is found by leaving the policy, and what is a
control."""

from dataclasses import replace
from io import BytesIO
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Mirror

from shuhari.envs import Episode, Step, Task, Trace
from shuhari.loops.collect.controls import rewarded
from shuhari.loops.collect.episode_groups import by_problem
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.sample_groups import BONUS_STEP, SampleGroups, decision_batch
from shuhari.loops.config import ConfigError, SampleGroupsConfig
from shuhari.loops.learn.batch import Batch, Columns
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.learning_rate import learning_rate
from shuhari.loops.learn.objectives import (
    DistillConfig,
    PolicyGradientConfig,
    policy_gradient,
)
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.policy.choice_scoring import masked_logprobs
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer
from shuhari.policy.shared_scoring import SequenceLogprobs
from shuhari.rewards import Verdict


class Eight(Mirror):
    """Eight is always right, whatever the number."""

    def generate(self, rng: np.random.Generator) -> Task:
        return replace(super().generate(rng), gold="8")


@pytest.fixture
def policy() -> Policy:
    return Policy("math", rank=4, alpha=8.0)


def rollouts(policy: Policy) -> Rollouts:
    return Rollouts(Eight, Generator(policy), Renderer(policy), 4)


def learner(policy: Policy, objective: Any, rate: float, steps: int = 100) -> Learner:
    optimizer = Optimizer(
        [], learning_rate=rate, rest=list(policy.parameters.values()), rest_learning_rate=rate, steps=steps
    )
    return Learner(policy, objective, optimizer, micro_batch=4096, reference=None)


def group(seed: int, *rewards: float, surprise: float = 0.5, **changes: Any) -> list[Episode]:
    """Episodes of one problem, each a completion of its own."""
    verdicts = [Verdict("correct" if reward else "wrong") for reward in rewards]
    return [
        Episode(
            seed,
            (Step(0, (1,), (n + 4,), (-surprise,), "", r, LEARNING),),
            "done",
            (r,),
            info={"verdict": v},
            **changes,
        )
        for n, (r, v) in enumerate(zip(rewards, verdicts, strict=True))
    ]


class Played(SampleGroups):
    """Gives prepared groups, the first to the first problem that is asked for, and notes how many were."""

    def __init__(self, cfg: SampleGroupsConfig, *prepared: tuple[float, ...]) -> None:
        super().__init__(None, cfg, np.random.default_rng(0))  # type: ignore[arg-type]
        self.prepared, self.asked = iter(prepared), []

    def play(self, problems: Any, samples: int, temperature: float = 1.0, explore: int = 0) -> list[Episode]:
        self.asked.append(list(problems))
        return [e for seed in problems for e in group(seed, *next(self.prepared))]


TELLING, SILENT = (1.0, 0.0), (0.0, 0.0)


@pytest.mark.parametrize(
    ("refill", "asked"),
    [
        (0.0, [3]),
        (1.0, [3, 2, 1]),  # two say nothing, then one of two; the third request uses up the budget
        (0.34, [3, 1]),
    ],
)
def test_groups_without_signal_are_made_up_for_within_the_budget(refill: float, asked: list[int]) -> None:
    source = Played(
        SampleGroupsConfig(problems=3, refill=refill), SILENT, TELLING, SILENT, SILENT, TELLING, SILENT
    )
    source._sampled(3)
    assert [len(problems) for problems in source.asked] == asked


def test_hard_problems_come_back_for_half_of_a_round_until_they_are_solved() -> None:
    source = Played(SampleGroupsConfig(problems=4, hard=0.75), *[SILENT, TELLING, (1.0, 1.0), SILENT] * 2)
    first = by_problem(source._sampled(4))
    hard = source.note_hard(first)
    assert hard == [source.asked[0][n] for n in (0, 1, 3)]
    source._sampled(4)
    assert len(set(source.asked[1]) & set(hard)) == 2
    source.note_hard({hard[0]: group(hard[0], 1.0, 1.0)})
    assert source.hard == hard[1:]


def test_a_cut_completion_earns_nothing_or_is_left_out() -> None:
    cut = replace(group(3, 0.0)[0], stop="overlong")
    episodes = [*group(3, 1.0, 0.0), cut]
    assert len(by_problem(episodes)[3]) == 3
    assert len(by_problem(episodes, masked=True)[3]) == 2
    with pytest.raises(ConfigError, match=r"truncated=gone.*zero or masked"):
        SampleGroupsConfig(truncated="gone")


def test_the_entropy_bonus_pays_for_surprise_by_hand() -> None:
    """Of two right answers the rarer one gains; the bonus grows below the floor and shrinks above."""
    sure, rare = group(0, 1.0)[0], group(0, 1.0, surprise=2.5)[0]
    rare = replace(rare, steps=(replace(rare.steps[0], completion=(9,)),))
    assert len(decision_batch([[sure, rare]], lambda legal: ())) == 0
    batch = decision_batch([[sure, rare]], lambda legal: (), bonus=0.1)
    assert dict(zip(batch.completions, batch.advantages, strict=True)) == {
        (4,): pytest.approx(-0.1),
        (9,): pytest.approx(0.1),
    }
    source = Played(SampleGroupsConfig(entropy_floor=1.0))
    for surprise, bonus in ((0.5, BONUS_STEP), (0.5, 2 * BONUS_STEP), (1.5, BONUS_STEP)):
        source._set_bonus(group(0, 1.0, surprise=surprise))
        assert source.bonus == pytest.approx(bonus)


def test_groups_that_are_all_right_anchor_a_round_that_explores_by_hand() -> None:
    """Four right answers count as if a fifth had failed: together 4/5, as one find beside four failures."""
    right, found = group(0, 1.0, 1.0, 1.0, 1.0), group(1, 0.0, 0.0, 0.0, 0.0, 1.0)
    found = [replace(e, steps=(replace(e.steps[0], prompt=(2,)),)) for e in found]
    assert len(decision_batch([right], lambda legal: ())) == 0
    batch = decision_batch([right, found], lambda legal: (), anchors=[0])
    gained = {0: 0.0, 1: 0.0}
    for n, (advantage, weight) in enumerate(zip(batch.advantages, batch.weights, strict=True)):
        gained[batch.groups[n]] += max(0.0, advantage) * weight
    assert gained == {0: pytest.approx(0.8), 1: pytest.approx(0.8)}


def test_a_round_that_explores_has_anchors_and_scores_its_finds_before_each_update() -> None:
    rescored: list[int] = []

    class Nothing:
        """Finds nothing, and says that there is something to score anew."""

        def add_finds(self, *given: Any) -> dict[str, float]:
            return {}

        def rescore(self, groups: Any, finds: Any) -> bool:
            rescored.append(len(groups))
            return True

    for explore, gain in ((0, 0.5), (4, 0.5 + 1 / 4)):  # both groups have one prompt, and so one mean
        cfg = SampleGroupsConfig(problems=2, samples=3, explore=explore, updates=3)
        source = Played(cfg, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
        nothing: Any = Nothing()
        source.branching = nothing
        renderer = SimpleNamespace(choices=lambda legal: ())
        source.rollouts = SimpleNamespace(renderer=renderer, legal_mass=lambda episodes: None)  # type: ignore[assignment]
        assert [max(batch.advantages) for batch in source.batches(0)] == [pytest.approx(gain)] * 3
    assert rescored == [2] * 4  # before the second update and before the third, of both rounds


def columns_of(logprobs_N: torch.Tensor, batch: Batch) -> Columns:
    n = torch.arange(len(logprobs_N))
    return Columns.of(batch, SequenceLogprobs(logprobs_N, torch.zeros(len(n)), n, n), batch)


@pytest.mark.parametrize(("as_sampled", "learned"), [(True, True), (False, False)])
def test_an_arm_that_is_all_but_never_drawn_is_learned_unless_its_true_weight_undoes_it(
    as_sampled: bool, learned: bool
) -> None:
    """Two arms; the right one has π = 1e-4, and exploring draws it with μ = .05."""
    rng, logits_A = np.random.default_rng(0), torch.nn.Parameter(torch.tensor([log(1 - 1e-4), log(1e-4)]))
    for _ in range(300):
        arms = (rng.random(64) < 0.05).astype(int)
        known_A = logits_A.log_softmax(-1)
        drawn = known_A.detach() if as_sampled else torch.tensor([log(0.95), log(0.05)])
        batch = Batch(
            [(1,)] * 64,
            [(2,)] * 64,
            advantages=(arms - arms.mean()).tolist(),
            sampler=[[float(drawn[arm])] for arm in arms],
        )
        chosen_N = known_A[torch.from_numpy(arms)]
        loss = policy_gradient(chosen_N, columns_of(chosen_N, batch), PolicyGradientConfig())
        logits_A.grad = None
        loss.backward()
        with torch.no_grad():
            logits_A -= 2.0 * logits_A.grad
    assert (logits_A.softmax(-1)[1].item() > 0.9) is learned


@pytest.fixture(scope="module")
def certain() -> dict[str, torch.Tensor]:
    """An adapter that says 6, whatever is asked."""
    policy = Policy("math", rank=4, alpha=8.0)
    pairs = [Renderer(policy).trace(Trace(f"{n:02}=", "6")) for n in range(100)]
    teacher = learner(policy, DistillConfig(), 0.02, 60)
    for number in range(60):
        teacher.learn(Batch.of(pairs[number % 4 :: 4]))
    return policy.state()


@pytest.mark.parametrize(("explore", "learned"), [(0, False), (8, True)])
def test_what_no_sample_finds_is_found_by_leaving_the_policy(
    policy: Policy, certain: dict[str, torch.Tensor], explore: int, learned: bool
) -> None:
    policy.load_state(certain)
    render = Renderer(policy)
    right = [(render.first(f"{n:02}="), policy.encode("8")) for n in range(0, 100, 9)]
    with policy.inference():
        assert masked_logprobs(policy, right, ()).logprobs_N.exp().max() < 2e-3
    cfg = SampleGroupsConfig(rounds=20, problems=8, samples=4, explore=explore, hard=0.5)
    source = SampleGroups(rollouts(policy), cfg, np.random.default_rng(0))
    student = learner(policy, PolicyGradientConfig(), 0.01)
    for number in range(20):
        for batch in source.batches(number):
            student.learn(batch)
    with policy.inference():
        share = masked_logprobs(policy, right, ()).logprobs_N.exp().mean().item()
    assert (share > 0.5) is learned
    assert bool(source.finds) is False or explore  # without exploring nothing is remembered


def test_a_find_enters_its_group_with_the_policys_own_log_probabilities_and_is_remembered(
    policy: Policy, certain: dict[str, torch.Tensor]
) -> None:
    policy.load_state(certain)
    source = SampleGroups(rollouts(policy), SampleGroupsConfig(samples=2), np.random.default_rng(1))
    groups = by_problem(source.play([5, 6, 7], 2))
    assert source.branching.add_finds(groups, source.finds, 24)["finds"] >= 2
    found = [g[-1] for g in groups.values() if len(g) == 3]
    for episode in found:
        (step,) = episode.steps
        scored = masked_logprobs(policy, [(step.prompt, step.completion)], ())
        in_order = scored.logprobs_N[scored.token_N.argsort()].tolist()
        assert list(step.logprobs) == pytest.approx(in_order, abs=1e-4)
        assert (step.text, episode.reward()) == ("8", 1.0)
    policy.load_state({name: x * 0.5 for name, x in certain.items()})
    assert source.branching.rescore(groups, source.finds)
    assert sum(len(g) == 3 for g in groups.values()) == len(found)  # each once, and by the policy as it is
    assert (
        min(g[-1].steps[0].logprobs[0] for g in groups.values() if len(g) == 3)
        > found[0].steps[0].logprobs[0]
    )
    policy.load_state(certain)
    again = by_problem(source.play([5, 6, 7], 2))
    again = {seed: again[seed] for seed in source.finds}
    figures = source.branching.add_finds(again, source.finds, 8)  # no try is made: what is known is enough
    assert (figures["tries"], sum(len(g) == 3 for g in again.values())) == (0.0, len(found))
    solved = {episode.seed: group(episode.seed, 1.0) for episode in found}
    source.branching.add_finds(solved, source.finds, 0)
    assert not source.finds


def test_controls_pay_for_nothing_that_is_right() -> None:
    rng = np.random.default_rng(0)
    right, wrong = group(0, 1.0)[0], group(0, 0.0)[0]
    formless = replace(wrong, info={"verdict": Verdict("wrong", "", "extract")})
    assert [e.reward() for e in rewarded([right, wrong, formless], "format", rng)] == [1.0, 1.0, 0.0]
    coins = rewarded([right, wrong] * 200, "random", rng)
    assert 0.4 < np.mean([e.reward() for e in coins[::2]]) < 0.6
    assert [e.steps[-1].reward for e in coins] == [e.reward() for e in coins]
    assert rewarded([right, wrong], "verified", rng) == [right, wrong]
    with pytest.raises(ConfigError, match="reward=none"):
        SampleGroupsConfig(reward="none")


def test_a_divergence_from_a_reference_and_a_constant_by_hand() -> None:
    batch = Batch(
        [(5,)] * 2,
        [(6, 7), (8,)],
        weights=[3.0, 1.0],
        advantages=[1.0, -2.0],
        sampler=[[-1.0, -1.0], [-2.0]],
        reference=[[-1.5, -1.0], [-2.0]],
    )
    logprobs_N = torch.tensor([-1.0, -1.0, -2.0])
    sequence_N = torch.tensor([0, 0, 1])
    scored = SequenceLogprobs(logprobs_N, torch.zeros(3), sequence_N, torch.arange(3))
    columns = Columns.of(batch, scored, batch)
    k3 = np.exp(-0.5) - 1 + 0.5  # of the first token; the others have not moved
    loss = policy_gradient(logprobs_N, columns, PolicyGradientConfig(kl=0.5, reference="base"))
    assert loss.item() == pytest.approx(-(3 * (2 - 0.5 * k3) - 2) / 7, rel=1e-5)
    constant = policy_gradient(logprobs_N, columns, PolicyGradientConfig(per_completion=10))
    assert constant.item() == pytest.approx(-(3 * 2 - 2) / (4 * 10), rel=1e-5)


def test_the_reference_is_read_under_the_same_mask_as_the_loss(policy: Policy) -> None:
    """In a game the policy chooses among legal moves, and so must the policy that it is held to."""
    choices = ((11,), (12,), (13,))
    batch = Batch(
        [(5, 6)] * 2, [(11,), (12,)], advantages=[1.0, -1.0], sampler=[[-1.0], [-1.0]], choices=[choices] * 2
    )
    found = learner(policy, PolicyGradientConfig(kl=1.0, reference="base"), 0.01)._reference(batch)
    assert np.exp(np.array(found)).sum() < 1
    whole = replace(batch, completions=[(11,), (13,)])
    rest = learner(policy, PolicyGradientConfig(kl=1.0, reference="base"), 0.01)._reference(whole)
    assert np.exp([found[0][0], found[1][0], rest[1][0]]).sum() == pytest.approx(1.0, abs=1e-5)


def test_the_learning_rate_falls_with_the_width_of_the_base() -> None:
    """A table by hand; docs/self-play.md has it too."""
    assert learning_rate(0.01, "muon", 64) == 0.01
    assert learning_rate(0.005, "adamw", 64) == pytest.approx(0.001)
    assert learning_rate(0.01, "muon", 576) == pytest.approx(0.01 / 9**0.75)
    page = (Path(__file__).parents[2] / "docs/self-play.md").read_text()
    for width in (64, 576, 2048):
        rates = [
            learning_rate(*given, width) for given in ((0.01, "muon"), (0.005, "muon"), (0.005, "adamw"))
        ]
        for rate in rates:
            assert f"{rate:.6f}".strip("0")[:4] in page, (width, rate)


def test_a_source_goes_on_from_its_state_bit_for_bit(
    policy: Policy, certain: dict[str, torch.Tensor]
) -> None:
    """What comes back, what was found and the bonus are in it, in a form that a checkpoint can hold."""
    policy.load_state(certain)
    cfg = SampleGroupsConfig(
        rounds=2, problems=4, samples=2, hard=0.5, refill=0.5, explore=12, entropy_floor=1.0
    )

    def source() -> SampleGroups:
        return SampleGroups(rollouts(policy), cfg, np.random.default_rng(3))

    first, second = source(), source()
    list(first.batches(0))
    assert first.finds
    assert first.hard
    assert first.bonus
    saved = BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second.load_state_dict(torch.load(saved, weights_only=True))
    (expected,), (found,) = first.batches(1), second.batches(1)
    assert found == expected
