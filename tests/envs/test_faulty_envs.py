"""Environments that break the contract, each in its way: the check names the fault, and training says it in
one line, never with a traceback, and never calls it solved."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from shuhari.envs import FreeText, Task, TaskEnv, Trace, register_env
from shuhari.envs.env_checker import check_environment
from shuhari.loops.cli.hydra_commands import TAUGHT_NOTHING, execute
from shuhari.loops.config import AcceptedAnswersConfig, ImitateConfig, PolicyConfig, TrainConfig
from shuhari.loops.learn.objectives import DistillConfig
from shuhari.policy.policy import Policy
from shuhari.rewards import Verdict


class Sound(TaskEnv):
    """Add one; every kind below breaks it in one place."""

    instructions = "Add one."

    def generate(self, rng: np.random.Generator) -> Any:
        n = int(rng.integers(1000))
        return Task(f"{n}+1=", str(n + 1), str(n))

    def verify(self, task: Task, completion: str) -> Any:
        return Verdict("correct" if completion == task.gold else "wrong")

    def expert(self, task: Task, rng: np.random.Generator) -> Any:
        return task.gold


class Paying(gymnasium.Env[str, str]):
    """Two turns, and a choice."""

    observation_space = action_space = FreeText()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.turn = 0
        return "a or b?", {"legal_actions": ("a", "b")}

    def step(self, action: str) -> Any:
        self.turn += 1
        return "again?", float(action == "a"), self.turn == 2, False, {"legal_actions": ("a", "b")}


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def gives(value: Any) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: value


def fails(error: BaseException) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise error

    return method


def stepping(**changes: Any) -> Callable[..., Any]:
    """Paying's step with some of its five values exchanged."""

    def step(self: Any, action: str) -> Any:
        names = ("observation", "reward", "terminated", "truncated", "info")
        return tuple((dict(zip(names, Paying.step(self, action), strict=True)) | changes).values())

    return step


def heldout_fails(self: Any, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
    if (options or {}).get("split") == "heldout":
        raise KeyError("split")
    return TaskEnv.reset(self, seed=seed, options=options)


def task(**values: Any) -> Task:
    return Task(**({"prompt": "1+1=", "gold": "2", "key": "1"} | values))


ODD: Any = "great"  # no status of a verdict
TWO: Any = 2

# By name: the class that is broken, what is put in a method's place, and what must be said of it.
Kind = tuple[type, str, Callable[..., Any], str]
KINDS: dict[str, Kind] = {
    "generate raises": (Sound, "generate", fails(RuntimeError("no\nway")), "raised RuntimeError: no way"),
    "generate exits": (Sound, "generate", fails(SystemExit(0)), "generate raised SystemExit"),
    "generate gives a tuple": (Sound, "generate", gives(("1+1=", "2")), r"returns is \('1\+1=', '2'\)"),
    "generate gives nothing": (Sound, "generate", gives(None), r"generate returns is None"),
    "generate gives a dictionary": (Sound, "generate", gives({"prompt": "1"}), r"\(dict\), not a Task"),
    "a key that is a number": (Sound, "generate", gives(task(key=5)), r"generate's Task is 5 \(int\)"),
    "no key": (Sound, "generate", gives(task(key=None)), "key of generate's Task is None"),
    "a prompt that is a number": (Sound, "generate", gives(task(prompt=5)), "prompt of generate's Task is 5"),
    "an empty prompt": (Sound, "reset", gives(("", {"key": "1"})), "reset's observation is ''"),
    "verify raises": (Sound, "verify", fails(ZeroDivisionError()), "step raised ZeroDivisionError"),
    "verify exits": (Sound, "verify", fails(SystemExit("bye")), "step raised SystemExit: bye"),
    "verify gives true": (Sound, "verify", gives(True), r"verify returns is True \(bool\), not a Verdict"),
    "verify gives nothing": (Sound, "verify", gives(None), "verify returns is None"),
    "verify gives a word": (Sound, "verify", gives("correct"), r"verify returns is 'correct' \(str\)"),
    "verify gives a number": (Sound, "verify", gives(1.0), "verify returns is 1.0"),
    "verify gives what has no repr": (Sound, "verify", gives(Unprintable()), r"is \? \(Unprintable\)"),
    "verify never knows": (Sound, "verify", gives(Verdict("unknown", "no idea")), "no idea"),
    "verify always errs": (Sound, "verify", gives(Verdict("error", "no gold")), "no gold"),
    "verify gives an odd status": (Sound, "verify", gives(Verdict(ODD)), ODD),
    "expert raises": (Sound, "expert", fails(LookupError("gone")), "expert raised LookupError: gone"),
    "expert gives a number": (Sound, "expert", gives(2), r"expert returns is 2 \(int\), not text"),
    "expert gives a list": (Sound, "expert", gives(["2"]), r"expert returns is \['2'\] \(list\)"),
    "traces raise": (Sound, "expert_traces", fails(OSError("no file")), "traces raised OSError: no file"),
    "traces are pairs": (Sound, "expert_traces", gives([("1", "2")]), "returns is .*not a Trace"),
    "traces are nothing": (Sound, "expert_traces", gives(None), "expert_traces raised TypeError"),
    "a trace without text": (Sound, "expert_traces", gives([Trace("1", TWO)]), "a trace's completion is 2"),
    "split raises": (Sound, "split_of", fails(ValueError("which?")), r"split_of raised ValueError: which\?"),
    "split gives another side": (Sound, "split_of", gives("test"), "split_of returns is 'test'"),
    "split gives nothing": (Sound, "split_of", gives(None), "split_of returns is None"),
    "no held-out side": (Sound, "split_of", gives("train"), "no heldout problem"),
    "reset raises": (Paying, "reset", fails(RuntimeError("not today")), "reset raised RuntimeError: not"),
    "reset raises held out": (Sound, "reset", heldout_fails, "reset raised KeyError: 'split'"),
    "reset gives text alone": (Paying, "reset", gives("a or b?"), r"reset returns is 'a or b\?'"),
    "reset gives a number": (Paying, "reset", gives((3, {})), r"reset's observation is 3 \(int\)"),
    "reset gives three": (Paying, "reset", gives(("a?", {}, 1)), "what reset returns is"),
    "reset gives no info": (Paying, "reset", gives(("a?", None)), "reset's info is None|reset raised"),
    "a seat by name": (Paying, "reset", gives(("a?", {"seat": "X"})), r"info\['seat'\] is 'X'"),
    "legal actions are numbers": (Paying, "reset", gives(("a?", {"legal_actions": (0,)})), "action is 0"),
    "legal actions are a text": (Paying, "reset", gives(("a?", {"legal_actions": "ab"})), r"is 'ab'"),
    "step raises": (Paying, "step", fails(RuntimeError("slipped")), "step raised RuntimeError: slipped"),
    "step exits": (Paying, "step", fails(SystemExit(0)), "step raised SystemExit: 0"),
    "step gives four": (Paying, "step", gives(("a?", 1.0, True, {})), "what step returns is|step raised"),
    "step gives nothing": (Paying, "step", gives(None), "what step returns is None|step raised"),
    "reward is NaN": (Paying, "step", stepping(reward=float("nan")), "step's reward is nan"),
    "reward is infinite": (Paying, "step", stepping(reward=float("inf")), "step's reward is inf"),
    "reward is minus infinity": (Paying, "step", stepping(reward=-np.inf), "step's reward is -inf"),
    "reward is a NaN of numpy's": (Paying, "step", stepping(reward=np.float32("nan")), "reward is .*nan"),
    "reward is a word": (Paying, "step", stepping(reward="1"), r"step's reward is '1' \(str\)"),
    "reward is nothing": (Paying, "step", stepping(reward=None), "step's reward is None"),
    "reward is a list": (Paying, "step", stepping(reward=[1.0]), r"step's reward is \[1.0\]"),
    "reward is complex": (Paying, "step", stepping(reward=1j), "step's reward is 1j"),
    "terminated is a word": (Paying, "step", stepping(terminated="yes"), "step's terminated is 'yes'"),
    "observation is nothing": (Paying, "step", stepping(observation=None), "step's observation is None"),
    "info is a list": (Paying, "step", stepping(info=[]), r"step's info is \[\]|step raised"),
    "a verdict that is a word": (Paying, "step", stepping(info={"verdict": "yes"}), r"is 'yes'"),
    "returns are a number": (Paying, "step", stepping(info={"returns": 1.0}), r"info\['returns'\] is 1.0"),
    "a metric is NaN": (Paying, "step", stepping(info={"metrics": {"x": np.nan}}), r"\['x'\] is nan"),
    "a metric is a word": (Paying, "step", stepping(info={"metrics": {"x": "1"}}), r"\['x'\] is '1'"),
    "metrics are a list": (Paying, "step", stepping(info={"metrics": [1.0]}), r"'metrics'\] is \[1.0\]"),
    "a metric without a name": (Paying, "step", stepping(info={"metrics": {1: 1.0}}), r"a name in .* is 1 "),
    "an answer that is a number": (Paying, "step", stepping(info={"answer": 1}), r"info\['answer'\] is 1"),
    "malformed is a word": (Paying, "step", stepping(info={"malformed": "no"}), r"'malformed'\] is 'no'"),
    "returns are NaN": (Paying, "step", stepping(info={"returns": (np.nan,)}), r"info\['returns'\] is nan"),
}  # fmt: skip
FUNCTIONS: dict[str, tuple[Any, Any, str]] = {
    "generator raises": (fails(RuntimeError("empty")), None, "generate raised RuntimeError: empty"),
    "generator gives three": (
        gives(("1+1=", "2", "3")),
        None,
        "the generator returns is .*a prompt and its gold",
    ),
    "generator gives a text": (gives("ab"), None, "the generator returns is 'ab'"),
    "verifier gives a word": (None, gives("yes"), "the verifier returns is 'yes'"),
    "verifier gives nothing": (None, gives(None), "the verifier returns is None"),
    "verifier gives NaN": (None, gives(float("nan")), "the verifier returns is nan"),
    "verifier gives infinity": (None, gives(float("inf")), "the verifier returns is inf"),
    "verifier raises": (None, fails(RuntimeError("down")), "step raised RuntimeError: down"),
}


def _pair(rng: np.random.Generator) -> tuple[str, str]:
    n = int(rng.integers(1000))
    return f"{n}+1=", str(n + 1)


IDS: dict[str, tuple[str, str]] = {}  # by kind: its id, and what must be said of it
for _number, (_kind, (_base, _method, _broken, _words)) in enumerate(KINDS.items()):
    _made = type(f"Wrong{_number}", (_base,), {_method: _broken})
    gymnasium.register(f"wrong/Kind{_number}-v0", _made)
    IDS[_kind] = f"wrong/Kind{_number}-v0", _words
for _number, (_kind, (_generator, _verifier, _words)) in enumerate(FUNCTIONS.items()):
    IDS[_kind] = (
        register_env(
            _generator or _pair,
            _verifier or (lambda completion, gold: completion == gold),
            id=f"wrong/Functions{_number}-v0",
        ),
        _words,
    )
assert len(IDS) >= 60


@pytest.mark.parametrize("kind", IDS)
def test_the_check_names_it(kind: str) -> None:
    env_id, words = IDS[kind]
    failed = [finding.detail for finding in check_environment(env_id, other_process=False) if not finding.ok]
    assert any(re.search(words, detail) for detail in failed), failed


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy("math", rank=16, alpha=32.0)


@pytest.mark.parametrize("kind", IDS)
def test_training_says_it_in_one_line(
    kind: str,
    policy: Policy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2 and a line that names the env; or, where nothing was ever judged, status 3 and a paragraph."""
    monkeypatch.setattr("shuhari.loops.house.Policy", lambda *args, **kwargs: policy)
    env_id, words = IDS[kind]
    imitate = ImitateConfig(objective=DistillConfig(), examples=20, steps=1, batch=4)
    selfplay = AcceptedAnswersConfig(rounds=1, problems=4, samples=4, updates=[1, 1], batch=4)
    cfg = TrainConfig(
        name="wrong",
        env=env_id,
        policy=PolicyConfig(base="math", max_new_tokens=40),
        phases={"imitate": imitate, "selfplay": selfplay},
        evaluate_problems=8,
        out=str(tmp_path),
        threads=1,
    )
    with pytest.raises(SystemExit) as stop:
        execute("train", cfg)
    printed = capsys.readouterr()
    assert "100.0%" not in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err
    if stop.value.code == TAUGHT_NOTHING:
        assert re.search(f"have no verdict, the first: .*{words}.*What to do", printed.out)
        (report,) = tmp_path.glob("wrong/*/report.md")
        assert "What to do" in report.read_text()
        return
    assert stop.value.code == 2
    (line,) = printed.err.splitlines()
    assert re.search(words, line), line
    assert env_id in line or "no heldout problem" in line


class Metered(Sound):
    """Tells metrics, but after wrong answers fewer."""

    same = False

    def solution(self, task: Task) -> str:
        return str(task.gold)

    def step(self, action: str) -> Any:
        *rest, info = super().step(action)
        told = {"length": len(action), "right": np.float32(action == self.task.gold)}
        few = not self.same and action != self.task.gold
        return (*rest, info | {"metrics": {"length": 1} if few else told})


class Steady(Metered):
    same = True


def test_the_check_names_metrics_that_come_and_go() -> None:
    found = {}
    for env in (Metered, Steady, Sound):
        env_id = gymnasium.register(f"wrong/{env.__name__}-v1", env) or f"wrong/{env.__name__}-v1"
        findings = check_environment(env_id, other_process=False)
        (found[env],) = (f for f in findings if f.name == "metrics are the same numbers everywhere")
    assert not found[Metered].ok
    assert "length, right" in found[Metered].detail
    assert (found[Steady].ok, found[Steady].detail) == (True, "length, right")
    assert (found[Sound].ok, found[Sound].detail) == (True, "none")


def test_the_sound_ones_are_sound() -> None:
    for env in (Sound, Paying):
        gymnasium.register(f"wrong/{env.__name__}-v0", env)
        findings = check_environment(f"wrong/{env.__name__}-v0", other_process=False)
        failed = [finding for finding in findings if not finding.ok]
        assert not failed
