"""Self-play with search: what it teaches, where its games begin, and that it goes on where it stopped."""

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_runs import run_folder, small_game

from shuhari.envs.games.env import OpenSpielEnv
from shuhari.envs.games.graph import game_graph
from shuhari.envs.games.players import PerfectPlayer
from shuhari.envs.games.referee import Referee
from shuhari.envs.games.simulator import Referees, as_positions
from shuhari.envs.games.solved_positions import SolvedPosition
from shuhari.envs.player import Floats, GreedyPlayer, Player, RandomPlayer
from shuhari.envs.types import Turn
from shuhari.loops.build import _reported_openings, _validation_openings
from shuhari.loops.collect.openings import ListedOpenings, RandomOpenings, random_openings
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.config import ImitateConfig, PolicyConfig, SearchPlayConfig
from shuhari.loops.evaluate.evaluation import Entrant
from shuhari.loops.evaluate.listed_game import ListedGame
from shuhari.loops.evaluate.matched_game import MatchedGame
from shuhari.loops.evaluate.search_curve import worth_of_no_search
from shuhari.loops.train import train
from shuhari.policy.leaf_evaluators import PolicyAndValue, Remembered
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.match import play_match, tally
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer

NIM = game_graph("nim")
POLICY = Policy("games", rank=1, alpha=1.0)


def source(seed: int, root_value: float = 0.0, **changes: Any) -> SearchPlay:
    """Nim by its first twenty positions, with a policy that is the base."""
    starts = np.flatnonzero(NIM.moves_N > 0)[:20]
    given = {"rounds": 9, "games": 8, "updates": 1, "batch": 4, "simulations": 2, "root_value": root_value}
    cfg, player = SearchPlayConfig(**given | changes), LMPlayer(POLICY, Renderer(POLICY))
    evaluate = Remembered(PolicyAndValue(NIM, player))
    return SearchPlay(NIM, ListedOpenings(starts), player, evaluate, cfg, np.random.default_rng(seed), 0)


def play(part: SearchPlay, numbers: range) -> None:
    for number in numbers:
        list(part.batches(number))
        POLICY.updated()  # as after a round's steps: what the policy said before is forgotten


def test_openings_take_turns_and_a_resumed_source_goes_on_with_the_same_pass() -> None:
    first, other, drawn = source(0), source(1), list[list[int]]()
    play(first, range(2))
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    for part in (first, other):
        play(part, range(2, 5))
    assert first.replay.items == other.replay.items
    openings, rng = ListedOpenings(np.arange(20)), np.random.default_rng(0)
    drawn += [openings.draw(8, rng).tolist() for _ in range(5)]
    flat = [n for part in drawn for n in part]
    assert sorted(flat[:20]) == sorted(flat[20:]) == list(range(20))
    assert flat[:20] != flat[20:]


def test_targets_are_the_searched_policy_and_how_the_game_ended() -> None:
    part = source(0)
    (batch,) = part.batches(0)
    by_seen = {item[0]: item for item in part.replay.items}
    for observation, moves, seat, policy, outcome in part.replay.items:
        assert sum(policy) == pytest.approx(1)
        assert len(policy) == len(moves)
        assert sorted(outcome) == [0, 0, 1]
        assert outcome[2] == 0  # nobody draws in nim
        assert observation.endswith(f"{seat}>")
    asked = {POLICY.decode(prompt) for prompt in batch.prompts}
    assert len(asked) == 2 * len({text[:-1] for text in asked})  # both questions of each position
    assert all(text.removesuffix("=").removesuffix(">") + ">" in by_seen for text in asked)
    weights = np.array(batch.weights)
    for group in set(batch.groups):
        assert weights[np.array(batch.groups) == group].sum() == pytest.approx(1)


def test_moves_go_with_the_image_of_their_position() -> None:
    """x at a corner and o beside it; the move is the far corner, in all eight images."""
    part = source(0)
    part._images = game_graph("tic_tac_toe").images
    moves = tuple("3456789")
    batch = part._batch([("xo.......x>", moves, 0, [0.0] * 6 + [1.0], [1.0, 0.0, 0.0])] * 80)
    chosen = {
        (POLICY.decode(prompt), POLICY.decode(completion))
        for prompt, completion, weight in zip(batch.prompts, batch.completions, batch.weights, strict=True)
        if weight and POLICY.decode(prompt).endswith(">")
    }
    assert len(chosen) == 8
    for board, move in chosen:
        assert {board.index("x"), int(move) - 1} in ({0, 8}, {2, 6})


def test_a_search_expectation_enters_the_outcome_by_its_share() -> None:
    part = source(0, root_value=1.0)
    list(part.batches(0))
    assert any(max(item[4]) < 0.9 for item in part.replay.items)
    assert all(sum(item[4]) == pytest.approx(1) for item in part.replay.items)


def test_withheld_positions_are_played_through_and_not_learned() -> None:
    part = source(0)
    part.withholds = lambda observation: observation.endswith("1>")
    list(part.batches(0))
    assert {item[2] for item in part.replay.items} == {0}


def test_games_that_nobody_lists_begin_at_the_start_and_elsewhere() -> None:
    def anywhere(rng: np.random.Generator) -> Referee:
        referee = Referee("tic_tac_toe")
        referee.apply(str(rng.choice(referee.legal_actions)))
        return referee

    rng = np.random.default_rng(0)
    openings = RandomOpenings(lambda: Referee("tic_tac_toe"), anywhere).draw(20, rng)
    assert [r.observation.count(".") for r in openings] == [8, 9] * 10
    chosen = random_openings(lambda: Referee("tic_tac_toe"), [1, 2], 60, rng)
    seen = [r.observation for r in chosen]
    assert len(set(seen)) == len(seen) == 60
    assert {text.count(".") for text in seen} == {7, 8}
    assert len(random_openings(lambda: Referee("tic_tac_toe"), [1], 60, rng)) == 9  # there are no more


def test_a_match_is_played_by_the_rules_and_its_score_counts_draws_by_half() -> None:
    graph = game_graph("tic_tac_toe")
    perfect, rng = PerfectPlayer(graph), np.random.default_rng(0)
    starts = np.zeros(40, dtype=np.int64)
    assert not play_match(graph, (perfect, perfect), starts, rng).any()
    assert play_match(graph, (perfect, RandomPlayer()), starts, rng).mean() > 0.7
    assert play_match(graph, (RandomPlayer(), perfect), starts, rng).mean() < -0.5
    assert tally(np.array([1.0, 1.0, 0.0, -1.0]))["score"] == 0.625


def must_block() -> list[SolvedPosition]:
    """Two positions in which one move does not lose, of the first it is the last one."""
    referees = Referee("tic_tac_toe"), Referee("tic_tac_toe")
    for referee, cells in zip(referees, ("4326", "1593"), strict=True):
        for cell in cells:
            referee.apply(cell)
    return [SolvedPosition(r.turn(), frozenset(m)) for r, m in zip(referees, "97", strict=True)]


class Last(Player):
    """Always plays the last legal move."""

    version = 0

    def probabilities(self, turns: Sequence[Turn]) -> list[Floats]:
        return [np.eye(len(turn.legal_actions))[-1] for turn in turns]


def test_a_game_is_measured_by_matches_from_openings_of_both_seats() -> None:
    simulator, graph = Referees("tic_tac_toe"), game_graph("tic_tac_toe")
    openings = as_positions(
        random_openings(lambda: Referee("tic_tac_toe"), [2], 30, np.random.default_rng(0))
    )
    perfect = PerfectPlayer(graph)
    evaluation = MatchedGame(
        simulator, RandomPlayer(), lambda adapter: LMPlayer(POLICY, Renderer(POLICY), adapter),
        openings, openings[:5], seed=0, solved={"12-16": must_block()},
    )  # fmt: skip
    row = evaluation.measure("perfect", Entrant(perfect))
    assert row["keeps_value"] == {"12-16": 1.0}
    assert [c.cell(row) for c in evaluation.columns if c.head == "keeps 12-16"] == ["100.0%"]
    last = evaluation.measure("last", Entrant(GreedyPlayer(Last())))
    assert last["keeps_value"] == {"12-16": 0.5}
    assert row["score_vs_expert"] > 0.8
    assert sum(row["versus"]["expert"][end] for end in ("wins", "draws", "losses")) == 60
    assert evaluation.bound(row) == row["ci95"][0] < row["score_vs_expert"]
    expert = evaluation.measure("expert", evaluation.references()["expert"])
    assert (expert["score_vs_expert"], "expert" in expert["versus"]) == (0.5, False)
    evaluation.remember("imitation", Entrant(GreedyPlayer(perfect)))
    base = evaluation.measure("base", evaluation.policy(None))
    assert base["versus"]["imitation"]["score"] < 0.5
    assert 0 < base["legal_probability"] <= 1
    assert evaluation.skill() == evaluation.skill()


def test_a_game_that_cannot_be_listed_is_trained_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shuhari.envs.games.graph.MOST", 50)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    game = small_game(
        tmp_path / "out",
        env_args={"game": "hex(board_size=3)", "expert_simulations": 2},
        policy=PolicyConfig(base="games", rank=2),
        phases={
            "imitate": ImitateConfig(examples=100, steps=3, batch=16),
            "selfplay": SearchPlayConfig(rounds=2, games=8, updates=1, batch=8, simulations=3, gate=1),
        },
    )
    report = train(game)
    assert report["skill"] == "score_vs_expert"
    assert {
        "random",
        "expert",
        "expert_mode",
        "imitation",
        "search_alone",
        "selfplay",
        "selfplay_search",
    } <= set(report["players"])
    assert report["players"]["selfplay"]["versus"]["imitation"]["score"] >= 0
    assert "vs expert_mode" in (run_folder(tmp_path / "out") / "report.md").read_text()


def test_a_match_has_as_many_openings_as_asked_and_none_that_steers_a_run() -> None:
    """Othello has 70 positions within three plies."""

    def house(matches: int) -> Any:
        return SimpleNamespace(
            game=OpenSpielEnv("sized_othello(size=6)"),
            graph=None,
            cfg=SimpleNamespace(evaluate_problems=matches),
            rng=lambda stream: np.random.default_rng(stream),
        )

    def seen(positions: Any) -> set[str]:
        return {referee.observation for referee in positions}

    many, few = seen(_reported_openings(house(400))), seen(_reported_openings(house(60)))
    assert (len(many), len(few)) == (200, 30)
    assert not many & seen(_validation_openings(house(400)))
    assert {len(text.replace(".", "")) for text in few} < {len(text.replace(".", "")) for text in many}


def test_skill_by_simulations_is_reported_with_what_it_is_worth(tmp_path: Path) -> None:
    game = small_game(tmp_path, evaluate_samples=8)
    report = train(game)
    for name in ("base", "imitation", "selfplay"):
        searching = report["players"][name]["searching"]
        assert [*searching] == ["0", "2", "4", "8"]
        assert searching["0"] == report["players"][name]["optimal_critical"]
    assert "searching" not in report["players"]["expert"]
    worth = report["samples_worth"]
    assert worth["sentence"].startswith("Without search, selfplay (")
    page = (run_folder(tmp_path) / "report.md").read_text()
    assert "skill against simulations" in page
    assert worth["sentence"] in page


def test_each_policy_searches_with_its_own_adapter() -> None:
    asked: list[tuple[str | None, int]] = []

    def searchers(adapter: str | None, simulations: int) -> Player:
        asked.append((adapter, simulations))
        return RandomPlayer()

    def models(adapter: str | None) -> LMPlayer:
        return LMPlayer(POLICY, Renderer(POLICY), adapter)

    graph = game_graph("tic_tac_toe")
    evaluation = MatchedGame(graph, RandomPlayer(), models, np.zeros(4), np.zeros(4), 0, {}, searchers, 4)
    found = evaluation.searching(evaluation.policy(LEARNING), lambda player: float(len(asked)))
    assert asked == [(LEARNING, 2), (LEARNING, 4)]
    assert found == {"searching": {"0": 2.0, "2": 1.0, "4": 2.0}}


def test_the_worth_of_no_search_by_hand() -> None:
    curve = {0: 0.5, 2: 0.6, 4: 0.8}
    assert worth_of_no_search("b", 0.7, "a", curve)["text"] == "2.8"
    assert "more than 4 simulations" in worth_of_no_search("b", 0.9, "a", curve)["sentence"]
    assert "fewer than 1 simulations" in worth_of_no_search("b", 0.4, "a", curve)["sentence"]


@pytest.mark.parametrize(
    ("game", "perfect"),
    [("tic_tac_toe", "never loses"), ("hex(board_size=2)", "gets all that the game allows")],
)
def test_who_loses_where_nobody_could_win_cannot_be_beaten(game: str, perfect: str) -> None:
    """Hex of 2 by 2 is lost for the second seat, whatever it does."""
    graph = game_graph(game)
    evaluation = ListedGame(
        graph, RandomPlayer(), lambda adapter: LMPlayer(POLICY, Renderer(POLICY), adapter),
        np.zeros(len(graph), dtype=bool), matches=4, seed=0,
    )  # fmt: skip
    row = evaluation.measure("perfect", Entrant(PerfectPlayer(graph)))
    assert evaluation.remark(row) == f" and {perfect}, whatever the reply"
    row = evaluation.measure("random", Entrant(RandomPlayer()))
    assert evaluation.remark(row) == " and can still be beaten"


def test_a_game_that_is_over_at_once_has_no_gate_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    game = small_game(
        tmp_path,
        env_args={"game": "hex(board_size=2)", "expert_simulations": 2},
        policy=PolicyConfig(base="boards", rank=2),
        only=["selfplay"],
        phases={"selfplay": SearchPlayConfig(rounds=1, games=4, updates=1, batch=4, simulations=2, gate=1)},
    )
    report = train(game)
    assert "gate" not in report["phases"][0]
    assert any("no gate, because games are over by move 4" in note for note in report["notes"])


def test_positions_that_surprise_the_policy_enter_the_replay_more_often() -> None:
    part, surprise_M = source(0), np.array([0.0] * 900 + [1.0] * 100)
    times_M = part._times(surprise_M)
    assert times_M[:900].mean() == pytest.approx(0.5, abs=0.06)  # by hand: half of 1
    assert times_M[900:].mean() == pytest.approx(5.5, abs=0.2)  # and half of 1 + 1 / 0.1
    assert (part._times(np.zeros(10)) == 1).all()


def test_a_lead_over_a_sampled_game_counts_beyond_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def bound(share: float) -> float:
        graph = game_graph("tic_tac_toe")
        whole = np.zeros(len(graph), dtype=bool)
        evaluation = ListedGame(
            graph, RandomPlayer(), lambda adapter: LMPlayer(POLICY, Renderer(POLICY), adapter), whole,
            matches=4, seed=0,
        )  # fmt: skip
        return evaluation.bound({"optimal_critical": share})

    assert bound(0.97) == 0.97
    monkeypatch.setattr("shuhari.loops.evaluate.listed_game.MANY", 100)
    monkeypatch.setattr("shuhari.loops.evaluate.listed_game.SAMPLE", 1000)
    assert 0.94 < bound(0.97) < 0.965
