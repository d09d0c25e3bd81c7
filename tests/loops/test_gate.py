"""The gate: who goes back, who does not, and with what a phase ends."""

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from small_runs import mirror, run_folder

from shuhari.envs.games.graph import game_graph
from shuhari.envs.games.players import PerfectPlayer
from shuhari.envs.player import Player, RandomPlayer
from shuhari.envs.problems.heldout import HeldOutProblems
from shuhari.loops.collect.best_match import BEST, OPENINGS, PLIES, BestMatch, log_likelihood_ratio
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.validation import Validation
from shuhari.loops.evaluate.listed_game import OPENING_PLIES
from shuhari.loops.learn.gate import GIVES_UP, PATIENCE, SMALLER, Gate
from shuhari.loops.learn.judge import PairedProblems, sign_test
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.objectives import DistillConfig
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.train import train
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer

RATE = 0.01
WAITS = "worse; waits for another look"


@pytest.fixture
def learner() -> Learner:
    policy = Policy("math", rank=2, alpha=4.0)
    parameters = list(policy.parameters.values())
    optimizer = Optimizer([], learning_rate=RATE, rest=parameters, rest_learning_rate=RATE, steps=10)
    return Learner(policy, DistillConfig(), optimizer, micro_batch=64, reference=None)


def mark(learner: Learner, value: float) -> None:
    """Make the adapter one that can be told from others."""
    learner.policy.load_state({k: torch.full_like(v, value) for k, v in learner.policy.state().items()})


def marked(learner: Learner) -> float:
    return next(iter(learner.policy.state().values())).mean().item()


def solving(right: int, n: int = 100) -> list[float | None]:
    return [1.0] * right + [0.0] * (n - right)


def walk(learner: Learner, *rights: int, looks: int = 5, of_skill: bool = True) -> Gate:
    """A phase whose policy after round n is marked n and solves so many of 100 problems, the first ones."""
    scores: Iterator[list[float | None]] = map(solving, rights)
    judge = PairedProblems(lambda: next(scores), looks)
    judge.of_skill = of_skill
    gate = Gate(learner, judge, rounds=len(rights) - 1, looks=looks)
    gate.begin()
    for number in range(1, len(rights)):
        mark(learner, float(number))
        gate.after_step(number, last=number == len(rights) - 1)
        if gate.stopped:
            break
    return gate


def test_the_sign_test_by_hand() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(0, 5) == 1 / 32
    assert sign_test(5, 5) == pytest.approx((1024 + 252) / 2048)
    assert sign_test(2, 8) == pytest.approx((45 + 10 + 1) / 1024)


def test_a_policy_that_is_worse_beyond_doubt_goes_back_with_a_smaller_step(learner: Learner) -> None:
    gate = walk(learner, 50, 60, 30, 31, 61, 61)
    assert [look["decision"] for look in gate.history] == [
        "begins", "the best so far", WAITS, "went back to round 1", "the best so far", "the best so far",
    ]  # fmt: skip
    assert marked(learner) == 5.0  # of equals the later one
    assert learner.optimizer.rest_learning_rate == RATE * SMALLER
    assert gate.mean == pytest.approx(0.61)


def test_a_policy_that_comes_right_before_the_next_look_goes_on(learner: Learner) -> None:
    gate = walk(learner, 50, 30, 55, 30, 58)
    assert [look["decision"] for look in gate.history][1:] == [
        WAITS, "the best so far", WAITS, "the best so far"
    ]  # fmt: skip
    assert (marked(learner), gate.went_back, learner.optimizer.rest_learning_rate) == (4.0, [], RATE)


def test_a_doubtful_loss_goes_on_but_the_phase_ends_with_the_best(learner: Learner) -> None:
    """Six of a hundred problems less is p = 1/64: more than a fifth of .05."""
    gate = walk(learner, 50, 60, 54)
    assert gate.history[-1]["decision"] == "ends with round 1"
    assert gate.history[-1]["p"] == pytest.approx(1 / 64, abs=1e-4)
    assert (marked(learner), gate.went_back, learner.optimizer.rest_learning_rate) == (1.0, [], RATE)


def test_a_phase_that_goes_back_too_often_ends_with_what_it_began_with(learner: Learner) -> None:
    mark(learner, 9.0)
    gate = walk(learner, 50, *[10] * (PATIENCE * GIVES_UP + 2), looks=8)
    assert gate.stopped
    assert len(gate.went_back) == GIVES_UP
    assert gate.summary()["ends_with"] == 0
    assert marked(learner) == 9.0


def test_problems_without_a_verdict_are_not_compared(learner: Learner) -> None:
    scores: Iterator[list[float | None]] = iter([[1.0, None, 1.0], [None, 0.0, 1.0]])
    gate = Gate(learner, PairedProblems(lambda: next(scores), 1), rounds=1, looks=1)
    gate.begin()
    gate.after_step(1, last=True)
    assert gate.history[-1]["p"] == 1.0
    assert gate.history[-1]["mean"] == 0.5


def test_looks_are_made_at_their_rounds_and_kept_in_the_checkpoint(learner: Learner) -> None:
    asked: list[int] = []
    judge = PairedProblems(lambda: asked.append(1) or solving(5), 3)  # type: ignore[func-returns-value]
    gate = Gate(learner, judge, rounds=10, looks=3)
    gate.begin()
    seen = [bool(gate.after_step(number, last=number == 10)) for number in range(1, 11)]
    assert [n + 1 for n, looked in enumerate(seen) if looked] == [4, 8, 10]
    other = Gate(learner, PairedProblems(lambda: solving(5), 3), rounds=10, looks=3)
    other.load_state_dict(gate.state_dict())
    assert other.summary() == gate.summary()


def test_validation_problems_are_neither_trained_on_nor_reported(tmp_path: Path) -> None:
    cfg = mirror(tmp_path)
    env: Any = gymnasium.make(cfg.env)
    policy = Policy("math", rank=2, alpha=4.0)
    rollouts = Rollouts(lambda: gymnasium.make(cfg.env), Generator(policy), Renderer(policy), 4)
    validation = Validation(rollouts, judged=True, wanted=300)
    assert validation.apart
    prompts = {env.reset(seed=s, options={"split": "validation"})[0] for s in range(300)}
    assert len(validation) == len(prompts) > 5
    assert all(validation.withholds(prompt) for prompt in prompts)
    assert not prompts & HeldOutProblems(env, 50).prompts
    assert not prompts & {env.reset(seed=s)[0] for s in range(500)}
    played: list[str] = []
    say = rollouts.renderer.first
    rollouts.renderer.first = lambda text, *rest: played.append(text) or say(text, *rest)  # type: ignore[func-returns-value,method-assign]
    assert len(validation.scores(3)) == 3
    assert len(played) == 3
    assert set(played) <= prompts


def test_a_run_reports_its_gate_and_ends_with_its_best(tmp_path: Path) -> None:
    report = train(mirror(tmp_path))
    (phase,) = [p for p in report["phases"] if p["name"] == "selfplay"]
    gate = phase["gate"]
    assert gate["compared"].endswith(" validation problems")
    assert gate["looks"][0]["round"] == 0
    best = max(look["mean"] for look in gate["looks"])
    assert best == next(look["mean"] for look in gate["looks"] if look["round"] == gate["ends_with"])
    assert "gate: selfplay:" in (run_folder(tmp_path) / "report.md").read_text()


def test_where_a_judge_compares_only_a_phase_ends_with_its_last_unless_that_is_worse(
    learner: Learner,
) -> None:
    doubtful = walk(learner, 50, 60, 54, of_skill=False)
    assert (doubtful.summary()["ends_with"], marked(learner), doubtful.mean) == (2, 2.0, None)
    worse = walk(learner, 50, 60, 20, of_skill=False)
    assert (worse.summary()["ends_with"], marked(learner), worse.went_back) == (1, 1.0, [2])


def test_the_likelihood_ratio_by_hand() -> None:
    """The mean is 3/4; the variance is that of the pairs, and of a 0 and a 1 beside them."""
    pairs = np.array([1.0, 0.5, 0.5, 1.0])
    variance = (1 + 0.25 + 0.25 + 1 + 0 + 1) / 6 - (4 / 6) ** 2
    expected = 4 * 0.05 * (2 * 0.75 - 0.5 - 0.55) / (2 * variance)
    assert log_likelihood_ratio(pairs, 0.05) == pytest.approx(expected)
    assert log_likelihood_ratio(np.full(40, 0.5), 0.05) < -3  # as good: not better
    assert log_likelihood_ratio(np.full(10, 1.0), 0.05) > 3


def test_a_match_stops_when_it_has_said_who_is_better() -> None:
    graph = game_graph("tic_tac_toe")
    players: dict[str | None, Any] = {LEARNING: Fixed(RandomPlayer()), BEST: Fixed(RandomPlayer())}
    openings = np.flatnonzero((graph.ply_N == PLIES) & (graph.moves_N > 0))[:OPENINGS]
    assert PLIES > OPENING_PLIES  # no reported match begins with these
    match = BestMatch(graph, players.__getitem__, openings, seed=0)
    assert match.begin({}) == 0.5
    as_good = match.look()
    assert not as_good.better
    assert not as_good.worse
    players[BEST].player = PerfectPlayer(graph)
    lost = match.look()
    assert (lost.better, lost.worse) == (False, True)
    assert lost.why["games"] < 2 * OPENINGS
    assert lost == match.look()  # the same games again
    match.present = PerfectPlayer(graph)  # type: ignore[assignment]
    equals = match.look()
    assert (equals.better, equals.worse) == (False, False)
    assert equals.mean == pytest.approx(0.5, abs=0.1)
    players[BEST].player = RandomPlayer()
    won = match.look()
    assert (won.better, won.worse) == (True, False)


class Fixed(Player):
    """A player in the place of a model that learns, with the policy that a match freezes."""

    def __init__(self, player: Player, policy: Any = None) -> None:
        self.player, self.policy = player, policy or SimpleNamespace(freeze=lambda name, adapter: None)

    @property
    def version(self) -> int:  # type: ignore[override]
        return self.player.version

    def probabilities(self, turns: Any) -> Any:
        return self.player.probabilities(turns)


def test_the_best_of_a_match_is_another_adapter_that_a_resumed_gate_finds_again(learner: Learner) -> None:
    policy, graph = learner.policy, game_graph("tic_tac_toe")
    models = {name: Fixed(RandomPlayer(), policy) for name in (LEARNING, BEST)}
    match = BestMatch(graph, models.__getitem__, np.array([0]), seed=0)  # type: ignore[arg-type]
    gate = Gate(learner, match, rounds=4, looks=4)
    mark(learner, 3.0)
    gate._promote(1)
    mark(learner, 4.0)
    assert next(iter(policy.state(BEST).values())).mean() == 3.0
    state = copy.deepcopy(gate.state_dict())
    policy.freeze(BEST)
    gate.load_state_dict(state)
    assert next(iter(policy.state(BEST).values())).mean() == 3.0
