"""Players that need no training are measured once, and anew when anything that they rest on changes."""

import importlib
import inspect
from dataclasses import replace
from functools import partial
from operator import eq
from pathlib import Path

import gymnasium
import pytest
from small_runs import mirror

from shuhari.envs import TaskEnv, register_env
from shuhari.loops.evaluate.problems import Problems
from shuhari.loops.measured import Measured, code_of, facts_of
from shuhari.loops.train import train


def test_a_row_is_measured_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def measure(name: str) -> dict[str, float]:
        asked.append(name)
        return {"greedy": 0.25}

    def rows(facts: dict[str, str]) -> list[object]:
        measured = Measured(tmp_path, facts)
        return [measured.row("", n, lambda n=n: measure(n)) for n in ("base", "expert")] + measured.notes  # type: ignore[misc]

    first = rows({"base": "a"})
    assert first == [{"greedy": 0.25}] * 2
    assert asked == ["base", "expert"]
    again = rows({"base": "a"})
    assert again[:2] == first
    assert "base, expert: measured on" in str(again[2])
    assert asked == ["base", "expert"]
    rows({"base": "b"})
    assert asked == ["base", "expert"] * 2
    for path in tmp_path.glob("*.json"):
        path.write_text(path.read_text()[:30])  # as after a crash
    assert rows({"base": "a"}) == first
    assert asked == ["base", "expert"] * 3


def test_facts_change_with_arguments_files_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, data = tmp_path / "code_of_mine.py", tmp_path / "data.jsonl"
    code.write_text("from shuhari.envs import TaskEnv\nclass Mine(TaskEnv):\n    pass\n")
    data.write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    env = importlib.import_module("code_of_mine").Mine()

    def facts(**arguments: object) -> str:
        return str(facts_of(env, arguments))

    known = [facts(path=str(data)), facts(path=str(data), level=2)]
    data.write_text("{ }")
    known.append(facts(path=str(data)))
    code.write_text(code.read_text() + "\n")
    known.append(facts(path=str(data)))
    assert len(set(known)) == 4


def test_of_an_environment_made_of_functions_their_code_counts(tmp_path: Path) -> None:
    register_env(lambda rng: ("1+1=", "2"), lambda said, gold: said == gold, id="toy/Sum-v0")
    env = gymnasium.make("toy/Sum-v0").unwrapped
    assert {Path(inspect.getfile(part)) for part in code_of(env)} == {Path(__file__)}


def test_what_is_in_no_file_is_measured_every_time(tmp_path: Path) -> None:
    space: dict[str, type] = {"TaskEnv": TaskEnv}
    exec("class Typed(TaskEnv): pass", space)
    register_env(lambda rng: ("1+1=", "2"), partial(eq, "2"), id="toy/Partial-v0")
    envs = [space["Typed"](), gymnasium.make("toy/Partial-v0").unwrapped]
    assert [facts_of(env, {}) for env in envs] == [None, None]
    measured, asked = Measured(tmp_path, None), list[int]()
    for _ in range(2):
        measured.row("", "base", lambda: asked.append(1) or {"greedy": 0.25})
    assert (len(asked), measured.notes, list(tmp_path.iterdir())) == (2, [], [])


def test_a_second_run_reads_the_references_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = mirror(tmp_path)
    first = train(cfg)
    measured: list[str] = []
    measure = Problems.measure

    def counted(self: Problems, name: str, player: object) -> object:
        measured.append(name)
        return measure(self, name, player)  # type: ignore[arg-type]

    monkeypatch.setattr(Problems, "measure", counted)
    second = train(replace(cfg))
    assert second["players"] == first["players"]
    assert not {"expert", "expert_mode", "base"} & set(measured)
    assert any("measured on" in note for note in second["notes"])
    assert not any("measured on" in note for note in first["notes"])
