"""The shipped bases: what their records say is so, and a command gives the same file twice."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shuhari.loops.config import PretrainConfig
from shuhari.loops.pretrain import mean_loss, pretrain
from shuhari.policy.base_source import SHIPPED
from shuhari.policy.policy import Policy


@pytest.mark.parametrize("name", ["games", "math", "cards", "gymnasium"])
def test_a_shipped_base_is_what_its_record_says(name: str) -> None:
    record = json.loads((SHIPPED / name / "pretraining.json").read_text())
    weights = SHIPPED / name / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == record["sha256"]
    assert weights.stat().st_size < 4e6
    policy = Policy(name, rank=1, alpha=1.0)
    config = policy.model.config
    assert config.hidden_size // config.num_attention_heads >= 32
    assert 0.2e6 <= record["parameters"] <= 1e6
    assert policy.fused


def small(out: Path, **changes: int) -> PretrainConfig:
    settings = {"documents": 300, "steps": 8, "batch": 16, "threads": 1, "seed": 0} | changes
    return PretrainConfig(out=str(out), envs=["shuhari/TicTacToe-v0"], **settings)


def test_the_same_command_gives_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shuhari.loops.pretrain.HELDOUT", 64)  # documents take most of the time
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain(small(tmp_path / name, seed=seed))
    first, again, other = ((tmp_path / n / "model.safetensors").read_bytes() for n in "abc")
    assert first == again
    assert first != other
    record = json.loads((tmp_path / "a" / "pretraining.json").read_text())
    assert record["bits_per_character"] < 8.0  # 8.47 is a uniform guess among 354 tokens
    assert set(load_file(tmp_path / "a" / "model.safetensors")) == set(
        load_file(SHIPPED / "games" / "model.safetensors")
    )


def test_what_follows_a_prompt_has_its_share_of_the_loss_however_short_it_is() -> None:
    losses_BT = torch.tensor([[1.0, 1.0, 3.0, 7.0], [1.0, 1.0, 1.0, 5.0]])
    written_BT = torch.tensor([[True, True, True, False], [True, True, True, True]])
    follows_BT = torch.tensor([[False, False, True, True], [False, False, False, True]])
    assert mean_loss(losses_BT, written_BT, follows_BT, None) == pytest.approx(13 / 7)
    assert mean_loss(losses_BT, written_BT, follows_BT, 0.5) == pytest.approx(0.5 * 1 + 0.5 * 4)
    assert mean_loss(losses_BT, written_BT, follows_BT, 1.0) == pytest.approx(4)


@pytest.mark.parametrize(
    "changes", [{"heads": 4}, {"steps": 0}, {"documents": 0}, {"continuation_share": 1.5}]
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        pretrain(small(tmp_path, **changes))


@pytest.mark.long
@pytest.mark.parametrize("name", ["games", "math", "cards", "gymnasium"])
def test_the_recipes_reproduce_the_shipped_bases(name: str, tmp_path: Path) -> None:
    """Where the machine and its threads are those of the record; elsewhere rounding differs."""
    record = json.loads((SHIPPED / name / "pretraining.json").read_text())
    pretrain(PretrainConfig(**record["config"] | {"out": str(tmp_path)}))
    again = json.loads((tmp_path / "pretraining.json").read_text())
    assert again["bits_per_character"] == pytest.approx(record["bits_per_character"], abs=0.02)
