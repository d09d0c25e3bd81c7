"""Episodes with seats: who earned what, who is asked by whom, and what a step is credited with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import pytest
import torch

from shuhari.envs import Episode, FreeText, Player, Step, Turn
from shuhari.envs.player import RandomPlayer
from shuhari.envs.validation import EnvFault, try_episodes
from shuhari.loops.collect.accepted_answers import best_answers
from shuhari.loops.collect.credit import Trajectory, advantages, trajectories
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.collect.sample_groups import decision_batch
from shuhari.loops.learn.batch import Batch
from shuhari.policy.choice_scoring import masked_logprobs
from shuhari.policy.inference.generator import Generator
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer
from shuhari.policy.scoring import completion_logprobs
from shuhari.rewards import Verdict

GAME = "shuhari/TicTacToe-v0"


def any_text(legal: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    return ()


@pytest.fixture(scope="module")
def policy() -> Policy:
    made = Policy("games", rank=4, alpha=8.0)
    made.freeze("past", {key: value + 0.05 for key, value in made.state().items()})
    return made


def rollouts(policy: Policy, env_id: str = GAME) -> Rollouts:
    return Rollouts(lambda: gymnasium.make(env_id), Generator(policy), Renderer(policy), 4)


class Script(Player):
    """Plays given moves in their order, whatever happens."""

    def __init__(self, *moves: str) -> None:
        self.moves = list(moves)

    def act(self, turns: Sequence[Turn]) -> list[str]:
        return [self.moves.pop(0) for _ in turns]


def test_a_game_that_the_second_seat_wins_is_a_loss_of_the_first(policy: Policy) -> None:
    """It sums to +1 over steps, which once credited the loser."""
    seats = Seats(players={0: Script("1", "2", "9"), 1: Script("4", "5", "6")})
    (episode,) = rollouts(policy).play([0], seats=[seats])
    assert episode.stop == "done"
    assert episode.returns == (-1.0, 1.0)
    assert (episode.reward(0), episode.reward(1)) == (-1.0, 1.0)
    assert sum(step.reward for step in episode.steps) == 1.0
    assert [step.seat for step in episode.steps] == [0, 1, 0, 1, 0, 1]
    assert not any(step.completion for step in episode.steps)


def step(seat: int, reward: float, prompt: int = 1, token: int = 7) -> Step:
    return Step(seat, (prompt,), (token,), (-0.5,), "", reward, LEARNING)


def only(batch: Batch) -> dict[tuple[int, int], float]:
    """Advantages by prompt and token."""
    rows = zip(batch.prompts, batch.completions, batch.advantages, strict=True)
    return {(prompt[0], completion[0]): advantage for prompt, completion, advantage in rows}


def test_the_credit_of_a_decision_is_its_seats_return_to_go_by_hand() -> None:
    steps = (step(0, 1.0), step(1, 2.0), step(0, 3.0), step(1, 0.0), step(0, 0.5))
    episode = Episode(0, steps, "done", returns=(4.5, 6.0))  # 4 more came to seat 1 with the last move
    first, second = trajectories([[episode]])
    assert first.credits(1.0, 1.0, {}) == [4.5, 3.5, 0.5]
    assert second.credits(1.0, 1.0, {}) == [6.0, 4.0]
    assert first.credits(0.5, 1.0, {}) == [1 + 0.5 * (3 + 0.5 * 0.5), 3 + 0.5 * 0.5, 0.5]


def test_where_no_prompt_comes_twice_the_baseline_is_that_of_the_step_by_hand() -> None:
    won = Episode(3, (step(0, 0.0, 1), step(1, 0.0, 2), step(0, 1.0, 3)), "done", returns=(1.0, -1.0))
    lost = Episode(3, (step(0, 0.0, 4), step(1, 1.0, 5)), "done", returns=(-1.0, 1.0))
    drawn = Episode(3, (step(0, 0.0, 6), step(1, 0.0, 7)), "done", returns=(0.0, 0.0))
    batch = decision_batch([[won, lost, drawn]], any_text)
    assert only(batch) == {(1, 7): 1, (3, 7): 1, (4, 7): -1, (2, 7): -1, (5, 7): 1}  # a draw is as expected
    assert set(batch.groups) == {0}


def test_what_is_paid_on_the_way_is_credited_where_it_is_earned() -> None:
    """Both are right at their second step: it is neither praised nor blamed."""
    both = Episode(0, (step(0, 1.0, 1), step(0, 1.0, 2)), "done", returns=(2.0,))
    second = Episode(0, (step(0, 0.0, 3), step(0, 1.0, 4)), "done", returns=(1.0,))
    assert only(decision_batch([[both, second]], any_text)) == {(1, 7): 0.5, (3, 7): -0.5}


def test_the_baseline_of_a_prompt_is_its_mean_credit_over_all_groups() -> None:
    """Four come by prompt 1, and earn 3, 1, 1, 1; what follows is each one's own, and as expected there."""
    found = [
        Episode(seed, (step(0, 0.0, 1, token), step(0, reward, 10 * seed + token)), "done", (reward,))
        for seed, token, reward in ((0, 5, 3.0), (0, 6, 1.0), (1, 6, 1.0), (1, 6, 1.0))
    ]
    batch = decision_batch([found[:2], found[2:]], any_text)
    assert only(batch) == {(1, 5): 1.5, (1, 6): -0.5, (5, 7): 1, (6, 7): -1}
    assert dict(zip(batch.completions, batch.weights, strict=True))[(6,)] == 3  # three alike are one row
    scaled = decision_batch([found[:2], found[2:]], any_text, normalised=True)
    rms = ((1.5**2 + 3 * 0.5**2 + 1 + 1) / 6) ** 0.5
    assert only(scaled)[1, 5] == pytest.approx(1.5 / rms)


def test_where_all_earn_the_same_there_is_nothing_to_learn() -> None:
    alike = [Episode(0, (step(0, 0.1, 1, token),), "done", (0.1,)) for token in (4, 5, 6)]
    assert len(decision_batch([alike], any_text)) == 0


def test_a_lambda_return_by_hand() -> None:
    """It is λ of what came and 1 - λ of what the next prompt is worth; a limit's end is worth its prompt."""
    made = Trajectory(0, 0, False, [step(0, 1.0, 1), step(0, 2.0, 2)], [1.0, 2.0])
    values = {(0, (2,)): 10.0}
    assert made.credits(0.5, 0.75, values) == [1 + 0.5 * (0.75 * 2 + 0.25 * 10), 2.0]
    made.truncated = True
    assert made.credits(0.5, 1.0, values) == [1 + 0.5 * 7, 2 + 0.5 * 10]
    # Carried from round to round: half of what is known, half of what the round says, four times.
    known: dict[tuple[int, tuple[int, ...]], float] = {(0, (1,)): 16.0}
    pair = [Trajectory(0, 0, False, [step(0, 0.0, 1)], [0.0]) for _ in range(2)]
    advantages(pair, 1.0, 0.9, known)
    assert known == {(0, (1,)): 1.0}


def test_only_what_the_learning_adapter_said_is_learned() -> None:
    other = Step(1, (1,), (9,), (-0.1,), "", 0.0, "past")
    mute = Step(1, (), (), (), "5", 0.0)
    won = Episode(0, (step(0, 0.0, 2), other, step(0, 1.0, 3), mute), "done", returns=(1.0, -1.0))
    lost = Episode(0, (step(0, 0.0, 4), other, step(0, 0.0, 5), mute), "done", returns=(0.0, 0.0))
    assert set(only(decision_batch([[won, lost]], any_text))) == {(2, 7), (3, 7), (4, 7), (5, 7)}


def test_what_was_chosen_among_legal_actions_is_scored_among_them(policy: Policy) -> None:
    """The masked log-probabilities of the learner are the sampler's: the first ratio is 1."""
    one = Rollouts(lambda: Forked(), Generator(policy), Renderer(policy), 4)
    episodes = one.play([n // 8 for n in range(64)], seed=3)
    assert {"b3", "b4"} <= {s.text for e in episodes for s in e.steps} <= set(Forked.legal)
    batch = decision_batch(list_groups(episodes), one.renderer.choices)
    scored = masked_logprobs(policy, batch.pairs, batch.choices)
    sampled = torch.tensor([x for row in batch.sampler for x in row])[scored.token_N]
    assert len(sampled) > len(batch) / 2
    assert (sampled < 0).all()  # what was no decision is not scored
    torch.testing.assert_close(scored.logprobs_N, sampled, atol=1e-5, rtol=1e-5)
    mass = one.legal_mass(episodes)
    player = LMPlayer(policy, one.renderer)
    assert mass == pytest.approx(player.probabilities_and_mass([Turn("x.o", Forked.legal)])[1][0])


def test_where_some_have_choices_and_others_none_each_is_scored_its_way(policy: Policy) -> None:
    pairs = [(policy.encode("x.o"), policy.encode(text)) for text in ("12", "b3", "12")]
    choices = Renderer(policy).choices(("12", "13"))
    mixed = masked_logprobs(policy, pairs, [(), (), choices])
    free = completion_logprobs(policy, pairs[:2])
    order = mixed.token_N.argsort()
    assert mixed.token_N[order].tolist() == [0, 1, 2, 3, 5]
    assert mixed.sequence_N[order].tolist() == [0, 0, 1, 1, 2]
    torch.testing.assert_close(mixed.logprobs_N[order][:4], free.logprobs_N)
    ids = [policy.encode(text)[0] for text in "23"]
    logits = policy.logits(torch.tensor([policy.encode("x.o1")]), 1)[0, -1, ids]
    torch.testing.assert_close(mixed.logprobs_N[order][4], logits.log_softmax(-1)[0])


class Forked(gymnasium.Env[str, str]):
    """One turn of few legal actions, some of which begin another."""

    observation_space = action_space = FreeText()
    legal = ("1", "12", "b3", "b4")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return "x.o", {"legal_actions": self.legal}

    def step(self, action: str) -> Any:
        return "", float(self.legal.index(action)) - 9, True, False, {}


def list_groups(episodes: Sequence[Episode]) -> list[list[Episode]]:
    return [[e for e in episodes if e.seed == seed] for seed in sorted({e.seed for e in episodes})]


def test_the_best_of_a_group_is_relative_where_nothing_is_judged() -> None:
    """Rewards that are never above 0 are learned from; where a verifier judges, only what is right is."""
    paid = [
        Episode(0, (step(0, r, 1, t),), "done", (r,)) for r, t in ((-3.0, 4), (-1.0, 5), (-1.0, 5), (-2.0, 6))
    ]
    assert best_answers(paid) == [[((1,), (5,))]]
    assert best_answers(paid[1:3]) == []  # no spread
    wrong = [replace(e, info={"verdict": Verdict("wrong")}) for e in paid]
    assert best_answers(wrong) == []
    right = [replace(paid[0], returns=(1.0,), info={"verdict": Verdict("correct")}), wrong[1]]
    assert best_answers(right) == [[((1,), (4,))]]


def test_adapters_and_players_sit_at_one_table(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that speak are one batch, whatever their adapters; players are asked once for all their games."""
    asked: list[int] = []

    class Counting(RandomPlayer):
        def act(self, turns: Sequence[Turn]) -> list[str]:
            asked.append(len(turns))
            return super().act(turns)

    one = rollouts(policy)
    generator_steps: list[int] = []
    original = one.generator.step
    monkeypatch.setattr(one.generator, "step", lambda: generator_steps.append(1) or original())
    tables = (
        Seats(adapters={1: "past"}),
        Seats(players={1: Counting()}),
        Seats(adapters={0: None, 1: "past"}),
        Seats(adapters={0: "past"}),
    )
    seats = [table for table in tables for _ in range(4)]
    episodes = one.play(range(16), seats=seats, seed=5)
    together = len(generator_steps)
    assert all(episode.stop == "done" for episode in episodes)
    for i, episode in enumerate(episodes):
        assert sum(episode.returns) == 0
        for s in episode.steps:
            if i < 4:
                assert s.adapter == (LEARNING, "past")[s.seat]
            elif i < 8:
                assert bool(s.completion) == (s.seat == 0)
            elif i < 12:
                assert s.adapter == (None, "past")[s.seat]
            else:
                assert s.adapter == ("past", LEARNING)[s.seat]
    assert max(asked) == 4  # all four games at once, while they last
    assert [e.steps for e in one.play(range(16), seats=seats, seed=5)] == [e.steps for e in episodes]
    generator_steps.clear()
    for table in tables:
        one.play(range(4), seats=[table] * 4, seed=5)
    assert together < 0.5 * len(generator_steps)  # one batch of four adapters, and not four in turn


def test_a_player_that_raises_ends_its_own_episodes(policy: Policy) -> None:
    class Broken(Player):
        def probabilities(self, turns: Sequence[Turn]) -> list[Any]:
            raise RuntimeError("no move today")

    seats = [Seats(players={0: RandomPlayer(), 1: RandomPlayer()}), Seats(players={1: Broken()})]
    well, ill = rollouts(policy).play([0, 1], seats=seats)
    assert well.stop == "done"
    assert (ill.stop, ill.counts) == ("error", False)
    assert "Broken: RuntimeError: no move today" in ill.info["error"]


class Flaky(gymnasium.Env[str, str]):
    """Raises in every other episode."""

    observation_space = action_space = FreeText()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.seed = seed or 0
        return "x.o", {"legal_actions": ("1", "2")}

    def step(self, action: str) -> Any:
        if self.seed % 2:
            raise OSError("the line is busy")
        return "", 1.0, True, False, {}


def test_an_env_that_raises_now_and_then_ends_its_own_episodes_and_one_that_always_does_the_run(
    policy: Policy,
) -> None:
    gymnasium.register("toy/Flaky-v0", Flaky)
    episodes = rollouts(policy, "toy/Flaky-v0").play(range(6))
    assert [e.stop for e in episodes] == ["done", "error"] * 3
    assert [e.counts for e in episodes] == [True, False] * 3
    assert episodes[1].info["error"] == "OSError: the line is busy"
    with pytest.raises(EnvFault, match="toy/Flaky-v0: step raised OSError: the line is busy, in each of 3"):
        rollouts(policy, "toy/Flaky-v0").play([1, 3, 5])


def test_before_anything_is_trained_an_env_is_answered_once_and_one_that_never_takes_it_is_a_fault() -> None:
    """Whatever a policy would say: one that never ends its answer would never meet the fault."""
    flaky = Flaky()
    try_episodes(flaky)
    flaky.step = lambda action: Flaky.step(Flaky.reset(flaky, seed=1) and flaky, action)  # type: ignore[method-assign]
    with pytest.raises(EnvFault, match="Flaky: step raised OSError: the line is busy, in each of 8 episodes"):
        try_episodes(flaky)


def test_more_episodes_than_environments_wait_for_one(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = rollouts(policy)
    want = many.play(range(12), seed=5)
    monkeypatch.setattr("shuhari.loops.collect.rollout.MOST", 5)
    few = rollouts(policy)
    made: list[int] = []
    monkeypatch.setattr(few, "make", lambda: made.append(1) or gymnasium.make(GAME))
    assert [e.returns for e in few.play(range(12), seed=5)] == [e.returns for e in want]
    assert len(made) == 5
