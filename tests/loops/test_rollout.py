"""Episodes with seats: who earned what, who is asked by whom, and what a step is credited with."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest

from shuhari.envs import Episode, FreeText, Player, Step, Turn
from shuhari.envs.player import RandomPlayer
from shuhari.loops.collect.rollout import Rollouts, Seats
from shuhari.loops.collect.sample_groups import advantages
from shuhari.policy.generator import Generator
from shuhari.policy.lm import LEARNING, Policy
from shuhari.policy.render import Renderer

GAME = "shuhari/TicTacToe-v0"


def ANY_TEXT(legal: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
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
    # The loss came with the other's move: it is charged to every move of the loser.
    assert [episode.reward_to_go(n) for n in range(6)] == [-1, 1, -1, 1, -1, 1]
    assert not any(step.completion for step in episode.steps)


def step(seat: int, reward: float, token: int = 7) -> Step:
    return Step(seat, (1,), (token,), (-0.5,), "", reward, LEARNING)


def test_the_credit_of_a_step_is_its_seats_return_to_go_by_hand() -> None:
    steps = (step(0, 1.0), step(1, 2.0), step(0, 3.0), step(1, 0.0), step(0, 0.5))
    episode = Episode(0, steps, "done", returns=(4.5, 6.0))  # 4 more came to seat 1 with the last move
    assert [episode.reward_to_go(n) for n in range(5)] == [4.5, 6.0, 3.5, 4.0, 0.5]


def test_advantages_are_less_the_mean_of_the_same_seat_by_hand() -> None:
    won = Episode(3, (step(0, 0.0), step(1, 0.0), step(0, 1.0)), "done", returns=(1.0, -1.0))
    lost = Episode(3, (step(0, 0.0), step(1, 1.0)), "done", returns=(-1.0, 1.0))
    drawn = Episode(3, (step(0, 0.0), step(1, 0.0)), "done", returns=(0.0, 0.0))
    batch = advantages([[won, lost, won, drawn]], ANY_TEXT)
    first = [1 - 0.25, -1 - 0.25, 1 - 0.25, 0 - 0.25]  # seat 0's first moves: mean credit 1/4
    second = [1 - 0.25, 1 - 0.25]  # who had no second move counts as at its last
    others = [-1 + 0.25, 1 + 0.25, -1 + 0.25, 0 + 0.25]  # seat 1
    assert batch.advantages == pytest.approx([*first, *second, *others])
    assert set(batch.groups) == {0}


def test_what_is_paid_on_the_way_is_credited_where_it_is_earned() -> None:
    """Both are right at their second step: it is neither praised nor blamed."""
    both = Episode(0, (step(0, 1.0), step(0, 1.0)), "done", returns=(2.0,))
    second = Episode(0, (step(0, 0.0), step(0, 1.0)), "done", returns=(1.0,))
    assert advantages([[both, second]]).advantages == pytest.approx([0.5, -0.5, 0.0, 0.0], ANY_TEXT)


def test_only_what_the_learning_adapter_said_is_learned() -> None:
    other = Step(1, (1,), (9,), (-0.1,), "", 0.0, "past")
    mute = Step(1, (), (), (), "5", 0.0)
    episode = Episode(0, (step(0, 0.0), other, step(0, 1.0), mute), "done", returns=(1.0, -1.0))
    assert advantages([[episode]], ANY_TEXT).completions == [(7,), (7,)]


def test_adapters_and_players_sit_at_one_table(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that speak are one batch, whatever their adapters; players are asked once for all their games."""
    asked: list[int] = []

    class Counting(RandomPlayer):
        def act(self, turns: Sequence[Turn]) -> list[str]:
            asked.append(len(turns))
            return super().act(turns)

    running: list[set[Any]] = []
    one = rollouts(policy)
    original = one.generator.engine.admit

    def admit(waiting: Any) -> Any:
        running.append({live.request.adapter for live in waiting})
        return original(waiting)

    monkeypatch.setattr(one.generator.engine, "admit", admit)
    monkeypatch.setattr(one.generator, "submit", (submitted := Submitted(one.generator.submit)))
    opponent = Counting()
    seats = [Seats(adapters={1: "past"})] * 4
    seats += [Seats(players={1: opponent})] * 4
    seats += [Seats(adapters={0: None, 1: "past"})] * 4
    seats += [Seats(adapters={0: "past"})] * 4
    episodes = one.play(range(16), seats=seats, seed=5)
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
    assert submitted.adapters == {LEARNING, "past", None}
    assert {LEARNING, "past", None} in running  # begun together
    assert max(asked) == 4  # all four games at once, while they last
    assert [e.steps for e in one.play(range(16), seats=seats, seed=5)] == [e.steps for e in episodes]


class Submitted:
    """Which adapters were asked for."""

    def __init__(self, submit: Any) -> None:
        self.submit, self.adapters = submit, set()  # type: ignore[var-annotated]

    def __call__(self, request: Any) -> Any:
        self.adapters.add(request.adapter)
        return self.submit(request)


def test_a_player_that_raises_ends_its_own_episodes(policy: Policy) -> None:
    class Broken(Player):
        def probabilities(self, turns: Sequence[Turn]) -> list[Any]:
            raise RuntimeError("no move today")

    seats = [Seats(players={0: RandomPlayer(), 1: RandomPlayer()}), Seats(players={1: Broken()})]
    well, ill = rollouts(policy).play([0, 1], seats=seats)
    assert well.stop == "done"
    assert (ill.stop, ill.counts) == ("error", False)
    assert "Broken: RuntimeError: no move today" in ill.info["error"]


class Odd(gymnasium.Env[str, str]):
    """Says things in `info` that are no seats and no returns."""

    observation_space = action_space = FreeText()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.wrong = "seat" if (seed or 0) % 2 else "returns"
        return "a", {"seat": "X"} if self.wrong == "seat" else {}

    def step(self, action: str) -> Any:
        return "", 1.0, True, False, {"returns": 1.0}


def test_a_foreign_env_that_says_nonsense_ends_its_own_episodes(policy: Policy) -> None:
    gymnasium.register("toy/Odd-v0", Odd)
    for episode in rollouts(policy, "toy/Odd-v0").play(range(6), temperature=0):
        assert episode.stop in ("error", "overlong")
        assert episode.stop == "overlong" or not episode.counts


class Talk(gymnasium.Env[str, str]):
    """Two seats in turn, each with a conversation of its own."""

    observation_space = action_space = FreeText()
    history = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.turn = 0
        return "a0", {"seat": 0}

    def step(self, action: str) -> Any:
        self.turn += 1
        return f"{'ab'[self.turn % 2]}{self.turn}", 1.0, self.turn == 4, False, {"seat": self.turn % 2}


def test_a_seat_remembers_its_own_conversation_only(policy: Policy) -> None:
    gymnasium.register("toy/Talk-v0", Talk)
    (episode,) = rollouts(policy, "toy/Talk-v0").play([0], temperature=0)
    if episode.stop == "overlong":  # the base may not stop: then the last step has no answer
        assert len(episode.steps) < 5
    for n, s in enumerate(episode.steps):
        own = [t for t in episode.steps[:n] if t.seat == s.seat]
        before = own[-1].prompt + own[-1].completion if own else ()
        assert s.prompt == before + policy.encode(f"{'ab'[n % 2]}{n}")


def test_probabilities_are_what_act_draws_from() -> None:
    class Leaning(Player):
        def probabilities(self, turns: Sequence[Turn]) -> list[Any]:
            return [np.array([0.2, 0.0, 0.8]) for _ in turns]

    moves = Leaning().act([Turn("", ("a", "b", "c"), seed=seed) for seed in range(4000)])
    assert set(moves) == {"a", "c"}
    assert abs(moves.count("a") / 4000 - 0.2) < 5 * (0.16 / 4000) ** 0.5
