"""Every experiment on problems runs both phases in its smoke setting, and its report says everything."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from shuhari.loops import cli
from shuhari.loops.config import TrainConfig
from shuhari.loops.train import train

TASKS = ["linear_equations", "differentiate", "countdown", "calculator", "dataset"]
SMOKE = [
    "imitate.steps=12",
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
    ConfigStore.instance().store("train_schema", TrainConfig)
    with initialize_config_dir(str(cli.CONF), version_base="1.3"):
        cfg = OmegaConf.to_object(compose("train", [f"experiment={name}", f"out={tmp_path}", *SMOKE]))
    assert isinstance(cfg, TrainConfig)
    report = train(cfg)
    (path,) = tmp_path.glob("*/*/report.json")
    assert json.loads(path.read_text())["experiment"] == name
    assert [phase["name"] for phase in report["phases"]] == ["imitate", "selfplay"]
    assert {"base", "expert", "expert_mode", "imitation", "selfplay"} <= set(report["players"])
    for player in report["players"].values():
        assert {"pass_at", "greedy", "n", "ci95", "unknown_rate"} <= set(player)
