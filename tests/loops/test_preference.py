"""Preference, from a verifier's pairs and from a file: it trains, and bad files are answered in one line."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

from shuhari.loops.config import (
    ImitateConfig,
    PolicyConfig,
    RankedPairsConfig,
    TrainConfig,
    VerifiedPairsConfig,
)
from shuhari.loops.learn.objectives import PreferenceConfig
from shuhari.loops.train import train
from shuhari.policy.policy import Policy
from shuhari.policy.scoring import completion_logprobs

GOOD = {"prompt": "1+1=", "chosen": "2", "rejected": "3"}


def addition(out: Path, second: Any) -> TrainConfig:
    """Sums of up to two digits, by an expert who forgets carries; a short imitation."""
    return TrainConfig(
        name="addition",
        env="shuhari/Addition-v0",
        env_args={"digits": 2, "pad": 1},
        policy=PolicyConfig(base="math", max_new_tokens=24),
        phases={"imitate": ImitateConfig(examples=2000, steps=100, batch=64), "compare": second},
        evaluate_problems=200,
        out=str(out),
        threads=1,
    )


@pytest.mark.long
def test_pairs_made_by_the_verifier_train_the_policy_above_imitation(tmp_path: Path) -> None:
    pairs = VerifiedPairsConfig(
        objective=PreferenceConfig(reference="imitation"),
        rounds=12,
        problems=48,
        samples=8,
        updates=6,
        batch=32,
        learning_rate=0.001,
    )
    report = train(addition(tmp_path, pairs))
    imitation, compare = report["players"]["imitation"], report["players"]["compare"]
    assert report["phases"][1]["seconds"] < 60
    assert compare["pass_at"]["1"] > imitation["pass_at"]["1"] + 0.05
    assert compare["greedy"] > imitation["greedy"]


@pytest.mark.long
def test_pairs_of_a_file_train_too(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{a}+{b}=", "chosen": "1", "rejected": "2"} for a in range(9) for b in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cfg = addition(tmp_path, RankedPairsConfig(pairs=str(path), rounds=20, batch=8))
    cfg.evaluate_problems = cfg.phases["imitate"].steps = 10
    report = train(cfg)
    assert [phase["name"] for phase in report["phases"]] == ["imitate", "compare"]
    assert report["phases"][1]["updates"] == 20
    (folder,) = tmp_path.glob("addition/*")
    shown = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert any("chosen: 1" in row["text"] for row in shown)
    margins = []
    for name in ("imitation", "compare"):
        policy = Policy("math", rank=16, alpha=32.0, adapter=folder / f"adapter-{name}")
        pairs = [(policy.encode("3+4="), policy.encode(text)) for text in ("1", "2")]
        with torch.no_grad():
            better, worse = completion_logprobs(policy, pairs, packed=False).logprobs_N.tolist()
        margins.append(better - worse)
    assert margins[1] > margins[0] + 0.1


def test_pairs_of_held_out_prompts_are_left_out(tmp_path: Path) -> None:
    env: Any = gymnasium.make("shuhari/Addition-v0", digits=2, pad=1).unwrapped
    prompts = [env.reset(seed=2**32 + s, options={"split": "heldout"})[0] for s in range(5)]
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": p, "chosen": "1", "rejected": "2"} for p in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cfg = addition(tmp_path / "out", RankedPairsConfig(pairs=str(path), rounds=1))
    cfg.only, cfg.evaluate_problems = ["compare"], 10
    with pytest.raises(ValueError, match="held-out prompt: there is nothing left"):
        train(cfg)
    path.write_text(path.read_text() + json.dumps(GOOD) + "\n")
    assert "5 of 6 entries are of the held-out or the validation side: left out" in train(cfg)["notes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("", "is empty: no line of it can be used; each is an object of 'prompt', 'chosen' and 'rejected'"),
        ("{", ":1: not JSON"),
        (json.dumps(GOOD) + "\n[1]", ":2: not an object"),
        (json.dumps({"prompt": "1+1=", "completion": "2"}), ":1: 'chosen' is missing"),
        (json.dumps(GOOD | {"rejected": 3}), ":1: 'rejected' is missing, empty or not a string"),
        (
            json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"rejected": "2"}),
            ":2: 'chosen' and 'rejected' are the same",
        ),
    ],
)
def test_a_foreign_file_is_one_line_before_anything_is_made(
    text: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"pairs\.jsonl") as error:
        train(addition(tmp_path / "out", RankedPairsConfig(pairs=str(path))))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("reference", ["imitatio", "compare", "/nowhere"])
def test_a_missing_reference_is_one_line(reference: str, tmp_path: Path) -> None:
    second = VerifiedPairsConfig(objective=PreferenceConfig(reference=reference))
    with pytest.raises(ValueError, match=r"phases\.compare\.objective\.reference=.*base, imitation") as error:
        train(addition(tmp_path / "out", second))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_reference_that_is_a_foreign_folder_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    second = VerifiedPairsConfig(objective=PreferenceConfig(reference=str(folder)), rounds=1)
    cfg = addition(tmp_path / "out", second)
    cfg.only = ["compare"]
    with pytest.raises(ValueError, match=r"objective\.reference=.*does not fit") as error:
        train(cfg)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
