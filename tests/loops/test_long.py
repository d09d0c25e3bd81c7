"""The headline runs, whole: minutes each."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long


def run(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    shuhari = str(Path(sys.executable).parent / "shuhari")
    subprocess.run([shuhari, "train", f"out={tmp_path}", *overrides], check=True, capture_output=True)
    (report,) = tmp_path.glob("*/*/report.json")
    return json.loads(report.read_text())["players"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tic_tac_toe_is_mastered(seed: int, tmp_path: Path) -> None:
    players = run(tmp_path, f"seed={seed}")
    own = players["selfplay"]
    assert own["optimal_critical"] >= 0.99
    assert min(own["worst_case"].values()) >= 0
    for rival in ("expert", "expert_mode", "imitation", "search_alone"):
        assert own["optimal_critical"] > players[rival]["optimal_critical"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_addition_passes_its_expert(seed: int, tmp_path: Path) -> None:
    players = run(tmp_path, "experiment=addition", f"seed={seed}")
    assert abs(players["imitation"]["greedy"] - players["expert"]["greedy"]) < 0.1
    assert players["selfplay"]["greedy"] >= 0.99
    assert players["selfplay"]["pass_at"]["1"] >= 0.95
    before, after = (players[name]["harder"]["greedy"] for name in ("selfplay", "selfplay_harder"))
    assert after > before or before == 1
