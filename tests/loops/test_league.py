"""The league of self-play: whom it draws and keeps, what it learns from, and a scale that does not move."""

import copy
import os
import signal
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from small_runs import run_folder, small_game

from shuhari.envs.games.graph import game_graph
from shuhari.envs.games.players import MCTSPlayer, PerfectPlayer
from shuhari.envs.games.referee import Referee
from shuhari.envs.games.simulator import Referees
from shuhari.envs.player import Player, RandomPlayer
from shuhari.loops.collect.best_match import BestMatch
from shuhari.loops.collect.ladder import Ladder
from shuhari.loops.collect.league import FLOOR, PAST, League
from shuhari.loops.collect.openings import ListedOpenings, RandomOpenings
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.config import ConfigError, SearchPlayConfig, TrainConfig
from shuhari.loops.phase import Phase
from shuhari.loops.rank_failure import Interrupted
from shuhari.loops.train import train
from shuhari.policy.elo import rating_among
from shuhari.policy.leaf_evaluators import PolicyAndValue, Remembered
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer

NIM = game_graph("nim")
PERFECT = PerfectPlayer(NIM)


class Never(Player):
    """Nobody may ask it."""

    def probabilities(self, turns: Any) -> Any:
        raise AssertionError("a league of one share plays its members, and this is none")


def league(**fixed: Player) -> League:
    policy = Policy("games", rank=1, alpha=1.0)
    renderer = Renderer(policy)
    return League(LMPlayer(policy, renderer), lambda name: LMPlayer(policy, renderer, name), fixed)


def source(members: League, share: float, seed: int = 0, **changes: Any) -> SearchPlay:
    given = {"rounds": 24, "games": 12, "updates": 1, "batch": 4, "simulations": 2, "root_value": 0.0}
    cfg = SearchPlayConfig(**given | {"league": share} | changes)
    starts, player = np.flatnonzero(NIM.moves_N > 0)[:20], members.present
    evaluate, rng = Remembered(PolicyAndValue(NIM, player)), np.random.default_rng(seed)
    return SearchPlay(NIM, ListedOpenings(starts), player, evaluate, cfg, rng, 0, league=members)


def test_opponents_are_drawn_by_how_difficult_they_are() -> None:
    found = league(easy=RandomPlayer(), even=RandomPlayer(), difficult=RandomPlayer())
    for _ in range(60):
        found.record(np.array([0, 1, 1, 2]), np.array([1.0, 1.0, -1.0, -1.0]))
    easy, even, difficult = (member.expected for member in found.members)
    assert easy > 0.8 > 0.51 > even > 0.49 > 0.2 > difficult
    weights = np.array([max(FLOOR, (1 - w) ** 2) for w in (easy, even, difficult)])
    drawn = np.bincount(found.draw(20_000, np.random.default_rng(0)), minlength=3) / 20_000
    assert drawn == pytest.approx(weights / weights.sum(), abs=0.01)
    assert found.figures() == {
        "league_score": pytest.approx((easy + even + difficult) / 3),
        "league_worst": difficult,
    }


def test_whoever_always_loses_is_met_again() -> None:
    found = league(weak=RandomPlayer(), strong=RandomPlayer())
    for _ in range(200):
        found.record(np.array([0] * 50 + [1] * 50), np.array([1.0] * 50 + [-1.0] * 50))
    assert (found.draw(2000, np.random.default_rng(0)) == 0).sum() > 20


def test_the_past_is_bounded_and_spread_over_the_run() -> None:
    found = league(expert=RandomPlayer())
    for number in range(0, 60, 2):
        found.add(number)
        assert len(found.members) <= 1 + PAST
    kept = [member.since for member in found.members if member.since is not None]
    assert kept[0] == 0
    assert kept[-1] == 58
    assert max(np.diff(kept)) <= 3 * 58 / PAST
    assert len({member.name for member in found.members}) == 1 + PAST


def test_a_member_of_the_past_plays_as_the_policy_did_then() -> None:
    found = league()
    found.add(0)
    policy, turns = found.present.policy, [NIM.turns[0]]
    before = found.present.probabilities(turns)[0]
    changed = {key: value + 0.3 for key, value in policy.state().items()}
    policy.load_state(changed)
    assert np.abs(found.present.probabilities(turns)[0] - before).max() > 1e-3
    np.testing.assert_array_equal(found.members[0].player.probabilities(turns)[0], before)


def test_against_a_member_the_policy_learns_its_own_moves_alone() -> None:
    """All games are against a perfect player: what enters the replay is searched, and its end is expected."""
    part = source(league(perfect=PERFECT), 1.0)
    part._play()
    assert part.figures["plies"] > 1.5 * part.decisions / part.episodes
    assert part.figures["league_score"] < 0.5
    assert any(max(item[4]) < 0.9 for item in part.replay.items)  # no game's end, though root_value is 0
    alone = source(league(nobody=Never()), 0.0)
    alone._play()
    assert alone.figures["plies"] == alone.decisions / alone.episodes
    assert all(max(item[4]) == 1 for item in alone.replay.items)


def test_a_resumed_league_goes_on_as_if_never_stopped() -> None:
    def fresh() -> SearchPlay:
        return source(league(expert=MCTSPlayer(3)), 0.5)

    def play(part: SearchPlay, numbers: range) -> None:
        for number in numbers:
            list(part.batches(number))
            learned = {key: value + 0.1 for key, value in part.player.policy.state().items()}
            part.player.policy.load_state(learned)

    first, other = fresh(), fresh()
    play(first, range(5))
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    other.player.policy.load_state(first.player.policy.state())
    for part in (first, other):
        play(part, range(5, 8))
    assert first.replay.items == other.replay.items
    assert [(m.name, m.since, m.score) for m in first.league.members] == [  # type: ignore[union-attr]
        (m.name, m.since, m.score)
        for m in other.league.members  # type: ignore[union-attr]
    ]
    assert len(first.league.members) == 5  # type: ignore[union-attr]  # the expert, after 0, 2, 4 and 6


def test_the_policy_has_either_seat_in_games_from_the_start() -> None:
    """Of a game that nobody lists every other opening is the start."""
    members, cfg = league(nobody=RandomPlayer()), SearchPlayConfig(league=1.0, games=400)
    simulator, openings = Referees("nim"), RandomOpenings(lambda: Referee("nim"), lambda rng: Referee("nim"))
    evaluate = PolicyAndValue(simulator, members.present)
    part = SearchPlay(
        simulator, openings, members.present, evaluate, cfg, np.random.default_rng(0), 0, league=members
    )
    _, seat_G = part._seated(400)
    assert 0.4 < seat_G[1::2].mean() < 0.6


def test_whatever_a_game_pays_a_win_is_one_point() -> None:
    found = league(member=RandomPlayer())
    found.record(np.zeros(4, dtype=np.int64), np.array([3.0, -2.0, 0.0, 7.0]))
    assert (found.members[0].score, found.members[0].games) == (2.5, 4)


def test_a_rating_among_players_whose_ratings_stand_by_hand() -> None:
    """Three of four points against a player is 400 * log10(3) above him; all of them is a bound."""
    against_one = rating_among(np.array([3.0]), np.array([4.0]), np.array([100.0]))
    assert against_one.elo == pytest.approx(100 + 400 * log10(3))
    won_all = rating_among(np.array([4.0]), np.array([4.0]), np.array([100.0]))
    assert (won_all.elo, won_all.bound) == (pytest.approx(100 + 400 * log10(7)), ">")
    assert won_all.high is None
    lost_all = rating_among(np.array([0.0]), np.array([4.0]), np.array([100.0]))
    assert (lost_all.bound, lost_all.low) == ("<", None)


def test_a_better_policy_is_rated_higher_and_anchors_stay() -> None:
    openings = np.flatnonzero((NIM.ply_N == 2) & (NIM.moves_N > 0))
    anchors = {"random": RandomPlayer(), "expert": MCTSPlayer(10)}
    weak, strong = (Ladder(NIM, player, anchors, openings, 0) for player in (RandomPlayer(), PERFECT))
    low, high = weak.look(0)["elo"], strong.look(0)["elo"]
    assert high > low + 200
    assert abs(low) < 120  # it plays at random, as the anchor at 0 does
    assert strong.summary()["anchors"]["random"]["elo"] == 0
    assert strong.summary()["anchors"] == weak.summary()["anchors"]
    again = Ladder(NIM, PERFECT, {"random": Never(), "expert": Never()}, openings, 0)
    again.load_state_dict(strong.state_dict())
    assert again.summary() == strong.summary()


def test_a_run_with_a_league_reports_ratings(tmp_path: Path) -> None:
    cfg = small_game(tmp_path)
    cfg.phases["selfplay"] = SearchPlayConfig(
        rounds=2, games=8, updates=1, batch=8, simulations=2, league=0.5, gate=2
    )
    report = train(cfg)
    (gate,) = (phase["gate"] for phase in report["phases"] if "gate" in phase)
    assert [look["round"] for look in gate["elo"]["looks"]] == [0, 1, 2]
    assert set(gate["elo"]["anchors"]) == {"random", "expert", "expert x4"}
    assert (run_folder(tmp_path) / "report.json").is_file()


def test_a_run_killed_in_the_middle_of_a_gate_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """Killed after a look's match, then after the ladder's games: before the checkpoint that knows of it."""

    def cfg(folder: str) -> TrainConfig:
        made = small_game(tmp_path / folder)
        made.phases["selfplay"] = SearchPlayConfig(
            rounds=4, games=8, updates=2, batch=8, simulations=2, league=0.5, gate=3
        )
        return made

    def gate(report: dict[str, Any]) -> Any:
        return next(phase["gate"] for phase in report["phases"] if "gate" in phase)

    class Killed(BaseException):
        pass

    def killed(kind: type, at: int, run: TrainConfig) -> None:
        real, looks = kind.look, []  # type: ignore[attr-defined]

        def look(self: Any, *args: Any) -> Any:
            looks.append(real(self, *args))
            if len(looks) == at:
                raise Killed
            return looks[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "look", look)
            with pytest.raises(Killed):
                train(run)

    whole = train(cfg("whole"))
    killed(BestMatch, 2, cfg("parts"))
    resumed = TrainConfig(resume=str(run_folder(tmp_path / "parts")))
    killed(Ladder, 1, resumed)
    assert gate(train(resumed)) == gate(whole)
    one, other = (
        load_file(run_folder(tmp_path / name) / "adapter-selfplay" / "adapter_model.safetensors")
        for name in ("whole", "parts")
    )
    assert all((one[key] == other[key]).all() for key in one)


def test_opponents_need_a_share() -> None:
    with pytest.raises(ConfigError, match="needs league=SHARE"):
        SearchPlayConfig(opponents=["somewhere"])


def test_an_adapter_of_another_run_is_an_opponent_and_a_resumed_run_finds_it_again(tmp_path: Path) -> None:
    def cfg(folder: str, *opponents: str) -> TrainConfig:
        made = small_game(tmp_path / folder)
        made.phases["selfplay"] = SearchPlayConfig(
            rounds=2, games=8, updates=1, batch=8, simulations=2, league=1.0, gate=0, opponents=[*opponents]
        )
        return made

    train(cfg("first"))
    adapter = str(run_folder(tmp_path / "first") / "adapter-imitation")
    train(cfg("whole", adapter))
    original = Phase.step

    def step_then_interrupt(self: Phase) -> Any:
        if (self.name, self.rounds) == ("selfplay", 0):
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "step", step_then_interrupt)
        with pytest.raises(Interrupted):
            train(cfg("parts", adapter))
    train(TrainConfig(resume=str(run_folder(tmp_path / "parts"))))
    whole, parts = (
        load_file(run_folder(tmp_path / name) / "adapter-selfplay" / "adapter_model.safetensors")
        for name in ("whole", "parts")
    )
    assert all((whole[key] == parts[key]).all() for key in whole)
    for wrong in ("nowhere", "default", str(tmp_path)):
        with pytest.raises(
            ValueError, match=r"phases\.selfplay\.opponents=.*give an adapter's folder or one of"
        ):
            train(cfg("wrong", wrong))
