"""`shuhari report`: the page holds what the run holds, needs nothing else, and says what is missing."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shuhari.loops.cli import report
from shuhari.loops.report_page.page import _is_hex
from shuhari.loops.report_page.run_reader import read_run
from shuhari.loops.report_page.sample_episodes import read_mistake, read_sample
from shuhari.loops.report_page.seeds import bootstrap_interval, group, interquartile_mean

GAME = "...xo> 2   (p = 0.25)\n.o.xx> 3   (p = 0.75)\nfirst seat's return: +1"
HOSTILE = "</script><script>alert(1)</script><img src=http://example.org/x>   (reward 0)\nended: done"


def write_run(folder: Path, seed: int = 0, skill: float = 0.5, **changes: Any) -> Path:
    """The files of a small finished run, without a run."""
    folder.mkdir(parents=True)
    config = {"name": "toy", "seed": seed, "only": None, "phases": {"imitate": {"steps": 2}}} | changes
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    players = {"expert": {"greedy": 0.75}, "imitation": {"greedy": skill, "mistakes": [{"text": "1+1=3"}]}}
    shown = {
        "sentence": "imitation solves some.",
        "unit": "%",
        "levels": {"perfect": 1.0},
        "tables": [
            {
                "title": "",
                "heads": ["player", "greedy"],
                "rows": [["expert", "75.0%"], ["imitation", "50.0%"]],
                "legend": "greedy: a share.",
            }
        ],
        "curves": {
            "over": "samples",
            "title": "",
            "legend": "",
            "players": {"imitation": {"best_of": {"1": 0.5, "2": 0.625}}},
        },
        "lines": ["health: ok"],
    }
    phase = {"name": "imitate", "seconds": 90.0, "steps": 2, "updates": 2, "episodes": 64, "tokens": 1234}
    check = {
        "phase": "imitate",
        "name": "norm",
        "value": 0.5,
        "healthy": "above 0",
        "verdict": "ok",
        "what": "a",
    }
    data = {
        "experiment": "toy",
        "seed": seed,
        "skill": "greedy",
        "hardware": {"processor": "a processor"},
        "versions": {"torch": "9.9"},
        "players": players,
        "ended": ["imitate"],
        "phases": [phase],
        "health": {"verdict": "ok", "checks": [check]},
        "notes": ["a note"],
        "seconds": 5400.0,
        "measuring_seconds": 60.0,
        "shown": shown,
    }
    (folder / "report.json").write_text(json.dumps(data))
    points = [("imitate", 0, 0, 0.1), ("imitate", 2, 2, 0.9), ("imitate", 2, 2, skill)]
    lines = [dict(zip(("phase", "step", "updates", "skill"), point, strict=True)) for point in points]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    episodes = [{"tag": "imitate/episode", "step": n, "text": text} for n, text in enumerate((GAME, HOSTILE))]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in episodes))
    return folder


def page_of(*arguments: Path | str) -> str:
    assert report.main([str(argument) for argument in arguments]) == 0
    return (Path(arguments[0]) / "report.html").read_text()


def text_of(page: str) -> str:
    """What a reader sees of a page, without its style and script."""
    return re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL)


def test_a_page_holds_what_the_run_holds_and_needs_nothing_else(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    assert len(page) < 200_000
    seen = " ".join(text_of(page).split())
    for text in (
        "toy seed 0", "imitation solves some.", "expert 75.0%", "greedy: a share.", "a processor", "9.9",
        "1 h 30 min", "a note", "1+1=3", "norm", "What imitation still gets wrong", "steps: 2", "1,234",
    ):  # fmt: skip
        assert text in seen, text
    assert "2: 50.0%" in page  # of the point that was measured twice, the later value, for the pointer
    assert "62.5%" in page
    # Nothing is fetched: the only addresses are names of XML and of pygal.
    assert not re.findall(
        r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[^#\"'\s]", re.sub(r"&lt;.*?&gt;", "", page)
    )
    assert "<script>alert" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_games_are_boards_and_answers_have_verdicts() -> None:
    game = read_sample({"tag": "selfplay/episode", "step": 3, "text": GAME})
    assert [board.rows for board in game.boards] == [("..", ".x"), (".o", ".x")]  # the seat is no cell
    assert game.boards[1].changed == {(0, 1)}
    assert game.boards[1].caption == "2. x 3, p 0.75"
    assert (game.text, game.phase, game.step) == ("first seat's return: +1", "selfplay", 3)
    wrong = read_sample({"tag": "p/episode", "step": 1, "text": "1+1=3   (reward 0)\nended: done"})
    assert (wrong.verdict, wrong.text, wrong.boards) == ("wrong", "1+1=3\nended: done", [])
    partly = read_sample(
        {"tag": "p/episode", "step": 1, "text": "a   (reward 0.25)\nb   (reward 0.5)\nended"}
    )
    assert partly.verdict == "reward 0.75"
    lesson = read_sample(
        {"tag": "imitate/episode", "step": 1, "text": "xo./.../...x>\nexpert: c1\npolicy: a1"}
    )
    assert lesson.boards[0].rows == ("xo.", "...", "...")
    assert lesson.boards[0].caption == "expert c1, policy a1"
    nim = read_mistake({"position": "1,3,5 0>", "move": "3:2", "best": ["3:3"]})
    assert (nim.boards, nim.text) == ([], "1,3,5 0> plays 3:2, best is 3:3")


def test_seeds_are_summed_up_as_by_hand() -> None:
    assert interquartile_mean([9, 1, 2, 3]) == 2.5  # without 1 and 9
    assert interquartile_mean([1, 2, 6]) == 3  # of three no quarter is whole
    assert interquartile_mean([0, 1, 2, 3, 4, 5, 6, 100]) == 3.5  # without 0, 1, 6 and 100
    assert bootstrap_interval([0.5]) is None
    # Of two seeds a resample is one of them twice with chance a quarter each: both ends are in.
    assert bootstrap_interval([0.2, 0.8]) == (0.2, 0.8)
    assert bootstrap_interval([0.5] * 5) == (0.5, 0.5)
    low, high = bootstrap_interval([0.1, 0.4, 0.5, 0.6, 0.9]) or (0.0, 0.0)
    assert 0.1 < low < 0.4 < 0.6 < high < 0.9


def test_runs_that_differ_in_the_seed_are_one_experiment(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / f"{n}", seed=n, skill=skill) for n, skill in enumerate((0.25, 0.5, 0.75, 1.0))
    ]
    other = write_run(tmp_path / "other", phases={"imitate": {"steps": 9}})
    groups = group(map(read_run, [*folders, other]))
    assert [(seeds.label, len(seeds.runs)) for seeds in groups] == [
        ("toy (phases.imitate.steps=2)", 4),
        ("toy (phases.imitate.steps=9)", 1),
    ]
    assert groups[0].skills()["imitation"] == [0.25, 0.5, 0.75, 1.0]
    assert [(p["updates"], p["skill"]) for p in groups[0].curve()] == [(0, pytest.approx(0.1)), (2, 0.625)]
    assert report.main([*map(str, folders), str(other), "--out", str(tmp_path)]) == 0
    seen = " ".join(text_of((tmp_path / "report.html").read_text()).split())
    # Three or four of four draws are the lowest seed with chance 13/256, more than 2.5%; so of the highest.
    assert "imitation 4 62.5% 25.0% to 100.0% 25.0%, 50.0%, 75.0%, 100.0%" in seen
    assert "5 runs of toy" in seen
    assert "Agarwal et al. 2021" in seen


def test_a_run_that_has_not_finished_is_shown_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", phases={"imitate": {}, "selfplay": {}})
    assert "imitate ended, selfplay did not" in page_of(run)
    (run / "report.json").unlink()
    page = page_of(run)
    assert "no phase has ended" in page
    assert "2: 0.5" in page  # the learning curve is there
    assert "no phase has ended" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.yaml", "report.json", "metrics.jsonl", "episodes.jsonl"])
def test_a_damaged_or_missing_file_is_named_and_the_rest_is_shown(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / name).write_text('{"name": [')
    assert re.search(rf"{name}: (is|1 of 1 lines are) damaged", page_of(run))
    assert ("1+1=3" in page_of(run)) == (name != "report.json")
    (run / name).unlink()
    page = page_of(run)
    assert f"{name}: is missing" in page or (name == "report.json" and "not finished" in page)


def test_mistakes_end_in_one_line_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(arguments: Sequence[object]) -> str:
        with pytest.raises(SystemExit) as ended:
            report.main([str(argument) for argument in arguments])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    monkeypatch.chdir(tmp_path)
    assert "shuhari train" in answer([])
    assert "there is no such folder" in answer([tmp_path / "nowhere"])
    run = write_run(tmp_path / "runs" / "toy" / "2026-01-31_12-00-00")
    assert f"did you mean {run}?" in answer([tmp_path / "runs" / "toy"])
    assert "choose another with --out" in answer([run, "--out", tmp_path / "no" / "folder" / "page.html"])
    (run / "report.json").write_text('{"players": 3}')
    assert "report.json: is no report" in answer([run])


def test_without_a_run_the_newest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("b/2026-02-01_12-00-00", "a/2026-01-31_12-00-00")):
        write_run(tmp_path / "runs" / name)
        for path in (tmp_path / "runs" / name).iterdir():
            os.utime(path, (1000 + age, 1000 + age))
    assert report.main([]) == 0
    assert [page.parent.parent.name for page in tmp_path.glob("runs/*/*/report.html")] == ["a"]


def test_hex_is_drawn_in_hexagons_by_whatever_name() -> None:
    assert _is_hex({"env": "shuhari/OpenSpiel-v0", "env_args": {"game": "hex(board_size=5)"}})
    assert _is_hex({"env": "shuhari/Hex5x5-v0", "env_args": {}})
    assert not _is_hex({"env": "shuhari/OpenSpiel-v0", "env_args": {"game": "othello"}})
    assert not _is_hex({})
