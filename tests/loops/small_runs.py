"""Runs that take seconds, and toy environments, for the tests of loops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from safetensors.torch import load_file

from shuhari.envs import FreeText, Task, TaskEnv
from shuhari.loops.config import (
    AcceptedAnswersConfig,
    ImitateConfig,
    PolicyConfig,
    SearchPlayConfig,
    TrainConfig,
)
from shuhari.rewards import Verdict


class Mirror(TaskEnv):
    """Answer a two-digit number with its digits exchanged. The expert errs where the first is 7."""

    instructions = "Exchange the digits."

    def generate(self, rng: np.random.Generator) -> Task:
        number = f"{int(rng.integers(100)):02}"
        return Task(f"{number}=", number[::-1], number)

    def verify(self, task: Task, completion: str) -> Verdict:
        return Verdict("correct" if completion == task.gold else "wrong")

    def expert(self, task: Task, rng: np.random.Generator) -> str:
        return "77" if task.key[0] == "7" else str(task.gold)


class Broken(Mirror):
    """Raises on one problem in four, and cannot judge another."""

    def verify(self, task: Task, completion: str) -> Verdict:
        if int(task.key) % 4 == 0:
            raise RuntimeError("the verifier fell over")
        return Verdict("unknown") if int(task.key) % 4 == 1 else super().verify(task, completion)


class NoExpert(Mirror):
    def expert(self, task: Task, rng: np.random.Generator) -> None:  # type: ignore[override]
        return None


class Plain(gymnasium.Env[str, str]):
    """Nothing but Gymnasium's own interface: no split, no verdict, no expert; two turns."""

    observation_space = action_space = FreeText()
    history = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.turn = 0
        return "1+1=", {}

    def step(self, action: str) -> Any:
        self.turn += 1
        return "again", float("2" in action), self.turn == 2, False, {}


for _env in (Mirror, Broken, NoExpert, Plain):
    gymnasium.register(f"toy/{_env.__name__}-v0", _env)


def mirror(out: Path, **changes: Any) -> TrainConfig:
    cfg = TrainConfig(
        name="mirror",
        env="toy/Mirror-v0",
        policy=PolicyConfig(base="math", max_new_tokens=4),
        phases={
            "imitate": ImitateConfig(examples=400, steps=200, batch=32),
            "selfplay": AcceptedAnswersConfig(rounds=4, problems=8, samples=8, updates=[2, 4], batch=16),
        },
        evaluate_problems=20,
        out=str(out),
        threads=1,
    )
    return replace(cfg, **changes)


def small_game(out: Path, **changes: Any) -> TrainConfig:
    cfg = TrainConfig(
        name="game",
        env="shuhari/OpenSpiel-v0",
        env_args={"game": "nim(pile_sizes=1;3;5)"},
        policy=PolicyConfig(base="games"),
        phases={
            "imitate": ImitateConfig(examples=200, steps=5, batch=16),
            "selfplay": SearchPlayConfig(rounds=3, games=16, updates=2, batch=16, simulations=4),
        },
        evaluate_problems=20,
        out=str(out),
        threads=1,
    )
    return replace(cfg, **changes)


def run_folder(out: Path) -> Path:
    (folder,) = (path for path in out.glob("*/*") if path.is_dir())
    return folder


def adapter(out: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(run_folder(out) / f"adapter-{name}" / "adapter_model.safetensors")


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
