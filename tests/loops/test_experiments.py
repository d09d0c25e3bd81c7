"""Every experiment on problems runs both phases in its smoke setting, and its report says everything."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from shuhari.loops.config import CONF, TrainConfig, store_types
from shuhari.loops.train import train

ALIKE = [pytest.param(name, marks=pytest.mark.long) for name in ("differentiate", "countdown")]
SLOW = ("dataset", "linear_equations")
TASKS = ["linear_equations", "calculator", "dataset", *ALIKE]
SMOKE = [
    "phases.imitate.steps=12",
    "phases.imitate.examples=200",
    "phases.imitate.batch=16",
    "phases.selfplay.rounds=1",
    "phases.selfplay.problems=4",
    "evaluate_problems=8",
    "evaluate_samples=4",
    "threads=1",
]


GAME_SMOKE = [
    "phases.imitate.steps=2",
    "phases.imitate.examples=50",
    "phases.imitate.batch=16",
    "phases.selfplay.rounds=1",
    "phases.selfplay.updates=1",
    "phases.selfplay.batch=8",
    "evaluate_problems=4",
    "threads=1",
]


def smoke(name: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    store_types(ConfigStore.instance())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_object(compose("train", [f"experiment={name}", f"out={folder}", *overrides]))
    assert isinstance(cfg, TrainConfig)
    report = train(cfg)
    (path,) = folder.glob("*/*/report.json")
    assert json.loads(path.read_text())["experiment"] == name
    assert "selfplay ends at" in (path.parent / "report.md").read_text()
    assert [phase["name"] for phase in report["phases"]] == ["imitate", "selfplay"]
    return report


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.long) if x in SLOW else x for x in TASKS])
def test_problems(name: str, tmp_path: Path) -> None:
    report = smoke(name, tmp_path, SMOKE)
    assert {"base", "expert", "expert_mode", "imitation", "selfplay"} <= set(report["players"])
    for player in report["players"].values():
        assert {"pass_at", "greedy", "n", "ci95", "unknown_rate"} <= set(player)


PLAYERS = {"random", "base", "expert", "expert_mode", "imitation", "search_alone", "selfplay"}


@pytest.mark.long
def test_a_game_too_large_to_measure_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("shuhari.loops.evaluate.listed_game.SAMPLE", 60)
    monkeypatch.setattr("shuhari.loops.evaluate.listed_game.MANY", 2000)
    report = smoke(
        "connect_four_4x4",
        tmp_path,
        [*GAME_SMOKE, "phases.selfplay.games=8", "env_args.expert_simulations=1"],
    )
    assert report["players"].keys() == PLAYERS | {"selfplay_search"}
    assert report["evaluation"]["positions"] == 134_289
    assert report["evaluation"]["critical"] == 55_506
    assert report["evaluation"]["measured_positions"] == 60
    for row in report["players"].values():
        assert {"optimal_critical", "optimal_all", "worst_case", "versus"} <= row.keys()
    assert report["players"]["random"]["worst_case"] == {"0": None, "1": None}  # all of its positions come up
    assert report["players"]["base"]["worst_case"]["0"] in (-1.0, 0.0)


def test_poker(tmp_path: Path) -> None:
    report = smoke("kuhn_poker", tmp_path, [*GAME_SMOKE, "phases.selfplay.starts=8"])
    assert report["players"].keys() == PLAYERS
    for row in report["players"].values():
        assert {"nash_conv", "versus"} <= row.keys()
    assert report["players"]["random"]["nash_conv"] == pytest.approx(0.917, abs=1e-3)
