"""Environments that pay and judge nothing: what is learned from pay, and what is said where nothing is."""

from pathlib import Path
from typing import Any

import gymnasium
import pytest

from shuhari.envs import FreeText
from shuhari.loops.cli.hydra_commands import TAUGHT_NOTHING, execute
from shuhari.loops.config import AcceptedAnswersConfig, PolicyConfig, SampleGroupsConfig, TrainConfig
from shuhari.loops.learn.objectives import PolicyGradientConfig
from shuhari.loops.train import train


class Signs(gymnasium.Env[str, str]):
    """Two turns in which what is asked for is right; nothing is ever paid above 0."""

    observation_space = action_space = FreeText()
    legal = ("x", "o", ".")
    pay = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.turn = 0
        return self._ask(), {"legal_actions": self.legal}

    def _ask(self) -> str:
        self.asked = self.legal[int(self.np_random.integers(3))]
        return f"{self.asked}?"

    def step(self, action: str) -> Any:
        self.turn += 1
        paid = -2.0 + float(self.pay and action == self.asked)
        return self._ask(), paid, self.turn == 2, False, {"legal_actions": self.legal}


class Unmoved(Signs):
    """Pays the same whatever is done."""

    pay = False


for _signs in (Signs, Unmoved):
    gymnasium.register(f"toy/{_signs.__name__}-v0", _signs)


def paying(out: Path, env_id: str, **changes: Any) -> TrainConfig:
    objective = PolicyGradientConfig(kl=1.0)
    settings: dict[str, Any] = {
        "rounds": 20,
        "problems": 16,
        "samples": 4,
        "updates": 4,
        "learning_rate": 0.01,
    }
    settings |= {"optimizer": "muon", "discount": 0.9, "trace": 0.9, "decisions": 200, "normalised": True}
    selfplay = SampleGroupsConfig(objective=objective, **settings | changes)
    return TrainConfig(
        name="paying",
        env=env_id,
        policy=PolicyConfig(base="games", max_new_tokens=4),
        phases={"selfplay": selfplay},
        evaluate_problems=100,
        out=str(out),
        threads=1,
    )


def test_legal_actions_are_learned_from_pay_that_is_never_above_0(tmp_path: Path) -> None:
    """Beside uniform legal play and the base, both masked; and the share that is legal unmasked."""
    report = train(paying(tmp_path, "toy/Signs-v0"))
    players = report["players"]
    assert report["failures"] == []
    # Each of two turns is right with probability 1/3: three standard deviations of the mean of 100 are 0.2.
    assert players["random"]["mean_return"] == pytest.approx(-4 + 2 / 3, abs=3 * (2 * 2 / 9 / 100) ** 0.5)
    assert players["random"]["legal_mass"] is None
    assert 0 < players["base"]["legal_mass"] < 1
    assert players["selfplay"]["mean_return"] > -2.3
    text = next(tmp_path.glob("*/*/report.md")).read_text()
    assert "more than random and base, greedy or sampled, with 95% intervals apart" in text
    assert "| legal |" in text


@pytest.mark.long
def test_best_of_a_group_is_learned_from_pay_that_is_never_above_0(tmp_path: Path) -> None:
    cfg = paying(tmp_path, "toy/Signs-v0")
    cfg.phases = {
        "selfplay": AcceptedAnswersConfig(rounds=20, problems=16, samples=8, updates=[4, 4], batch=64)
    }
    players = train(cfg)["players"]
    assert players["selfplay"]["mean_return"] > max(
        players[name]["mean_return"] for name in ("random", "base")
    )


@pytest.mark.parametrize("source", [SampleGroupsConfig, AcceptedAnswersConfig])
def test_a_phase_that_could_learn_nothing_fails_and_says_what_to_do(
    source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = paying(tmp_path, "toy/Unmoved-v0")
    cfg.phases = {"selfplay": source(rounds=2, problems=4, samples=4)}
    with pytest.raises(SystemExit) as stop:
        execute("train", cfg)
    assert stop.value.code == TAUGHT_NOTHING
    printed = " ".join(capsys.readouterr().out.split())
    assert "in no group did one earn more than another" in printed
    assert "phase selfplay: 2 rounds of 32 episodes" in printed
    text = next(tmp_path.glob("*/*/report.md")).read_text()
    assert "What to do: give it traces" in text
