"""The experiments for language models run both phases, from instructions and a chat template alone."""

import json
from pathlib import Path

import pytest
from chat_models import write_chat_model
from test_experiments import GAME_SMOKE, SMOKE, smoke

ASKED = [
    {
        "question": f"Ann has {n} apples and finds {n}. How many has she?",
        "answer": f"{n}+{n}={2 * n}\n#### {2 * n}",
    }
    for n in range(1, 40)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("base"), "chatml")


def few(base: Path) -> list[str]:
    return [f"policy.base={base}", "policy.max_new_tokens=8", "evaluate_problems=4"]


ALIKE = [pytest.param(name, marks=pytest.mark.long) for name in ("word_problems", "countdown_chat")]


@pytest.mark.parametrize("name", ["legs", "gsm8k", *ALIKE])
def test_problems(name: str, base: Path, tmp_path: Path) -> None:
    overrides = [
        *(o for o in SMOKE if "updates" not in o),
        *few(base),
        "phases.imitate.steps=2",
        "phases.imitate.examples=30",
    ]
    if name == "gsm8k":
        (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, ASKED)))
        overrides.append(f"env_args.path={tmp_path / 'train.jsonl'}")
    report = smoke(name, tmp_path / "runs", overrides)
    assert report["policy"]["format"] == "chat"
    assert {"base", "expert", "expert_mode", "imitation", "selfplay"} <= set(report["players"])


def test_a_game(base: Path, tmp_path: Path) -> None:
    nim = ["env=shuhari/OpenSpiel-v0", "+env_args.game='nim(pile_sizes=1;2)'"]
    report = smoke("tic_tac_toe_chat", tmp_path, [*GAME_SMOKE, f"policy.base={base}", *nim])
    assert report["policy"]["format"] == "chat"
    assert report["players"]["selfplay"]["legal_probability"] < 1
