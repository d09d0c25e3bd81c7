"""What `shuhari new` writes: as docs/plugging-in.md shows it, installed apart, checked, and trained on."""

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from mistakes import mistake

import shuhari
from shuhari.loops.cli.new import KINDS, main

PAGE = (Path(__file__).parents[1] / "docs" / "plugging-in.md").read_text()
NAMES = {"problem": "reverse", "game": "race"}  # on the page


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was empty before, with a package of each kind."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind, name in NAMES.items():
            assert main([name, "--kind", kind]) == 0
    return folder


@pytest.fixture(scope="module")
def python(written: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of a virtual environment: both packages by `pip install -e`, and all that this one has."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = [str(Path(shuhari.__file__ or "").parents[1]), sysconfig.get_path("purelib")]
    (site / "shared.pth").write_text("\n".join(shared))
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    packages = [argument for name in NAMES.values() for argument in ("-e", f"./{name}")]
    subprocess.run([*pip, *packages], check=True, capture_output=True, cwd=written)
    return python


def run(python: str, *arguments: str) -> str:
    command = [python, "-P", "-m", "shuhari.loops.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_what_is_written(written: Path) -> None:
    shown = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(shown) == 4
    for place, text in shown:
        name = "race" if "pyspiel" in text else "reverse"
        assert (written / name / place).read_text() == text


def test_each_file_is_short_and_clean(written: Path) -> None:
    for path in (written / "reverse").rglob("*"):
        assert path.is_dir() or len(path.read_text().splitlines()) <= 32, path
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--no-cache", "--config", "line-length=110", written]
        subprocess.run(ruff, check=True, capture_output=True)


def test_they_are_found_listed_and_sound(python: str) -> None:
    listed = run(python, "envs")
    assert re.search(r"reverse/Reverse-v0 +Write the number backwards", listed)
    for kind, name in NAMES.items():
        assert kind in KINDS
        assert "FAIL" not in run(python, "envs", "--check", f"{name}/{name.capitalize()}-v0")


def test_its_own_test_passes(written: Path, python: str) -> None:
    command = [python, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", written / "reverse"]
    subprocess.run(command, check=True, capture_output=True, cwd=written)


@pytest.mark.long
def test_the_problems_train_by_their_experiment(python: str, tmp_path: Path) -> None:
    quick = ["phases.imitate.steps=140", "phases.imitate.examples=1000", "phases.selfplay.rounds=1"]
    quick += ["phases.selfplay.problems=32", "evaluate_problems=20", "threads=1", f"out={tmp_path}"]
    assert "selfplay" in run(python, "train", "experiment=reverse", *quick)
    (report,) = tmp_path.glob("reverse/*/report.md")
    assert "selfplay" in report.read_text()


@pytest.mark.long
def test_the_problems_train_past_their_expert(python: str, tmp_path: Path) -> None:
    run(python, "train", "experiment=reverse", "threads=1", f"out={tmp_path}")
    (report,) = tmp_path.glob("reverse/*/report.json")
    players = json.loads(report.read_text())["players"]
    assert players["selfplay"]["greedy"] > players["expert"]["greedy"]


@pytest.mark.long
def test_the_game_trains_by_its_experiment(python: str, tmp_path: Path) -> None:
    quick = ["phases.imitate.examples=200", "phases.imitate.steps=8", "phases.imitate.batch=32"]
    quick += ["phases.selfplay.rounds=2", "phases.selfplay.games=32", "evaluate_problems=20"]
    printed = run(python, "train", "experiment=race", "threads=1", f"out={tmp_path}", *quick)
    assert "selfplay_search" in printed
    (report,) = tmp_path.glob("race/*/report.json")
    row = json.loads(report.read_text())["players"]["expert"]
    assert row["versus"]["perfect"]["wins"] < row["versus"]["perfect"]["losses"]
    assert 0.2 < row["optimal_critical"] < 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2x"], "'2x': a package's name has small letters"),
        (["my-game"], "'my-game': a package's name has"),
        (["../x"], "a package's name has"),
        (["x_"], "a package's name has"),
        ([""], "a package's name has"),
        (["größe"], "a package's name has"),
        (["class"], "is a word of Python or YAML"),
        (["null"], "is a word of Python or YAML"),
        (["here"], "here: there is such a file or folder"),
        (["dangling"], "dangling: there is such a file or folder"),
        (["shuhari"], "shuhari: is taken, by the environment shuhari/"),
        (["legs"], "legs: is taken, by the experiment in "),
        (["json"], "json: is taken, by a module"),
        (["open_spiel"], "open_spiel: is taken, by a module"),
        (["nim", "--kind", "game"], "nim: is taken, by a game of OpenSpiel"),
        (["x" * 260], "cannot be made here: File name too long"),
        (["x" * 250], "cannot be written: File name too long"),
    ],
)
def test_a_name_that_cannot_be_is_one_line_and_nothing_is_written(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    assert message in mistake(main, arguments, capsys)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dangling", "here"]


def test_the_adapter_example_runs() -> None:
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "DiscreteEnv" in block
    ]
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
