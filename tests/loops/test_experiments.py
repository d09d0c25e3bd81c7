"""Every shipped experiment runs both phases in its smoke setting, and its report says everything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = ["linear_equations", "differentiate", "countdown", "calculator", "dataset"]
SMOKE = [
    "imitate.steps=20",
    "imitate.examples=200",
    "imitate.batch=16",
    "sampling.rounds=1",
    "sampling.problems=4",
    "sampling.updates=[1,1]",
    "evaluate_problems=8",
    "threads=1",
]


@pytest.mark.parametrize("name", TASKS)
def test_smoke(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shuhari.loops.cli", "train", f"experiment={name}", f"out={tmp_path}"]
    done = subprocess.run([*command, *SMOKE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*/*/report.json")
    report = json.loads(path.read_text())
    assert report["experiment"] == name
    assert [phase["name"] for phase in report["phases"]] == ["imitate", "selfplay"]
    assert {"base", "expert", "expert_mode", "imitation", "selfplay"} <= set(report["players"])
    for player in report["players"].values():
        assert {"pass_at", "greedy", "n", "ci95", "unknown_rate"} <= set(player)
