"""The package in docs/plugging-in.md, as it stands there: installed apart, found, checked, and trained on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "plugging-in.md").read_text()


def blocks() -> dict[str, str]:
    """The page's code blocks that name their file in a first comment."""
    return dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


def test_the_example_is_short() -> None:
    code = "".join(blocks().values())
    assert len(code.strip().splitlines()) < 50


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name, text in blocks().items():
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return os.environ | {"PYTHONPATH": str(target)}


def shuhari(arguments: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-P", "-m", "shuhari.loops.cli.main", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_found_listed_and_sound(installed: dict[str, str]) -> None:
    listed = shuhari(["envs"], installed)
    assert re.search(r"reverse/Reverse-v0 +Write the number backwards", listed)
    assert "FAIL" not in shuhari(["envs", "--check", "reverse/Reverse-v0"], installed)


def test_it_trains(installed: dict[str, str], tmp_path: Path) -> None:
    quick = ["phases.imitate.steps=120", "phases.imitate.examples=1000", "phases.imitate.batch=64"]
    quick += ["phases.selfplay.rounds=2", "phases.selfplay.problems=32", "evaluate_problems=20"]
    quick += ["policy.max_new_tokens=6", "threads=1"]
    printed = shuhari(
        ["train", "name=reverse", "env=reverse/Reverse-v0", "policy.base=math", f"out={tmp_path}", *quick],
        installed,
    )
    assert "selfplay" in printed


def test_the_adapter_example_runs() -> None:
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "DiscreteEnv" in block
    ]
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_game_in_python_is_listed_and_trained(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(# race\.py.*?)```", PAGE, re.DOTALL)
    assert len(code.splitlines()) < 65
    (tmp_path / "race.py").write_text(code)
    command = re.search(r"shuhari (train name=race .*)", PAGE)
    assert command
    quick = "phases.imitate.examples=200 phases.imitate.steps=8 phases.imitate.batch=32 evaluate_problems=20"
    quick += f" phases.selfplay.rounds=2 phases.selfplay.games=32 threads=1 out={tmp_path}"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    printed = shuhari([*command.group(1).split(), *quick.split()], environment)
    assert "selfplay_search" in printed
    (report,) = tmp_path.glob("race/*/report.json")
    row = json.loads(report.read_text())["players"]["expert"]
    assert row["versus"]["perfect"]["wins"] < row["versus"]["perfect"]["losses"]
    assert 0.2 < row["optimal_critical"] < 0.8
