"""Does an environment keep the contract? For ours and for anyone's: `shuhari envs --check ID`."""

import hashlib
import json
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import check_env

from shuhari.envs import contract
from shuhari.envs.base import TaskEnv, TextEnv
from shuhari.envs.register import open_env
from shuhari.rewards import selftest

GARBAGE = ("", "=", "the answer", "\x00", "12", "x=1", "1" * 5000, "\u00e9\U0001f600")
MAX_STEPS = 500  # of an episode that is played to compare transcripts
TRACES = 20
_REPLAY = "import sys, json; from shuhari.envs.check import replay; print(replay(*json.loads(sys.argv[1])))"
# What Gymnasium's checker says of every environment that speaks text, or is made without its wrappers.
_EXPECTED = ("render", "spec", "np_random", "action space", "Box", "deterministic")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, whether it holds, and what is wrong or worth knowing."""

    name: str
    ok: bool
    detail: str = ""


def transcript(env_id: str, arguments: dict[str, Any], seed: int) -> list[Any]:
    """A whole episode: random legal text where it is said what is legal, garbage elsewhere."""
    env = open_env(env_id, arguments)
    observation, info = contract.opening(env, seed)
    rng, over = np.random.default_rng(seed), False
    lines: list[Any] = [observation]
    for _ in range(MAX_STEPS):
        legal = info.get("legal_actions") or GARBAGE
        action = str(legal[int(rng.integers(len(legal)))])
        observation, reward, terminated, truncated, info = contract.answered(env, action)
        over = terminated or truncated
        lines += [action, observation, reward, over, repr(info.get("returns"))]
        if over:
            break
    env.close()
    return lines


def replay(env_id: str, arguments: dict[str, Any], seed: int) -> str:
    """A digest of a transcript, to compare between processes."""
    return hashlib.sha256(json.dumps(transcript(env_id, arguments, seed)).encode()).hexdigest()


def check(env_id: str, arguments: dict[str, Any] | None = None) -> list[Finding]:
    """Everything the contract asks. Raises what making the environment raises."""
    arguments = arguments or {}
    env = open_env(env_id, arguments)
    inner = env.unwrapped
    findings = [
        _guarded("Gymnasium's check_env", _gymnasium, inner),
        _guarded("speaks text and explains itself", _speaks, inner),
        _guarded("same seed, same transcript", _repeats, env_id, arguments),
        _guarded("garbage is answered", _garbage, env_id, arguments),
        _guarded("legal actions can be told apart", _actions, env),
    ]
    if isinstance(inner, TaskEnv):
        findings.append(_guarded("train and held-out are apart", _split, inner))
        findings.append(_guarded("reward self-test", _selftest, inner))
    findings.append(_guarded("the expert's traces", _traces, inner))
    env.close()
    return findings


def _guarded(name: str, test: Any, *args: Any) -> Finding:
    try:
        detail = test(*args)
    except (Exception, SystemExit) as error:  # an environment under test may raise anything
        message = (str(error).splitlines() or [""])[0]
        return Finding(name, False, f"{type(error).__name__}: {message}" if message else type(error).__name__)
    return Finding(name, True, detail or "")


def _gymnasium(env: Any) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    odd = [m for m in messages if not any(word in m for word in _EXPECTED)]
    return odd[0].replace("\x1b[33m", "").replace("\x1b[0m", "").splitlines()[0] if odd else ""


def _speaks(env: Any) -> str:
    contract.opening(env, seed=0)
    if not isinstance(env, TextEnv):
        return "not a TextEnv: no instructions, no split"
    if not env.instructions:
        raise ValueError("no instructions")
    return ""


def _repeats(env_id: str, arguments: dict[str, Any]) -> str:
    here = [replay(env_id, arguments, 7), replay(env_id, arguments, 7)]
    if here[0] != here[1]:
        raise ValueError("two episodes of one seed differ in this process")
    module = env_id.partition(":")[0] if ":" in env_id else ""
    task = json.dumps([env_id, arguments, 7])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{_REPLAY}", task],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        where = f"; is {module!r} importable there?" if module else ""
        raise RuntimeError(f"another process cannot play it: {last}{where}")
    if done.stdout.strip() != here[0]:
        raise ValueError("another process plays another episode of the same seed")
    return ""


def _garbage(env_id: str, arguments: dict[str, Any]) -> str:
    verdicts = []
    for text in GARBAGE:
        env = open_env(env_id, arguments)
        contract.opening(env, seed=1)
        _, reward, _, _, info = contract.answered(env, text)
        if reward > 0 and text not in ("12", "x=1"):
            raise ValueError(f"{text[:20]!a} earns {reward:g}")
        verdicts += [info["verdict"]] if info.get("verdict") is not None else []
    if verdicts and not any(verdict.counts for verdict in verdicts):
        raise ValueError(f"none of {len(verdicts)} answers can be judged; the first: {verdicts[0]}")
    return ""


def _actions(env: Any) -> str:
    """Over one episode of random legal play."""
    _, info = contract.opening(env, seed=2)
    rng, told = np.random.default_rng(2), False
    for _ in range(MAX_STEPS):
        legal = info.get("legal_actions") or ()
        if not legal:
            break
        told = True
        if twice := [action for action, n in Counter(legal).items() if n > 1]:
            raise ValueError(f"{twice[0]!a} is the name of {Counter(legal)[twice[0]]} legal actions")
        if blank := [action for action in legal if not action.strip()]:
            raise ValueError(f"{blank[0]!a} is the name of a legal action: nothing to say")
        *_, terminated, truncated, info = contract.answered(env, str(legal[int(rng.integers(len(legal)))]))
        if terminated or truncated:
            break
    return "" if told else "left out: it does not say what is legal"


def _split(env: TaskEnv) -> str:
    keys = {
        split: {contract.opening(env, s, {"split": split})[1]["key"] for s in range(200)}
        for split in ("train", "heldout")
    }
    if both := keys["train"] & keys["heldout"]:
        raise ValueError(f"{len(both)} problems are on both sides, such as {min(both)[:60]!a}")
    return f"{len(keys['train'])} and {len(keys['heldout'])} distinct problems in 200 draws each"


def _selftest(env: TaskEnv) -> str:
    env.reset(seed=0)
    if env.solution(env.task) is None:
        return "left out: no solution(task)"
    report = selftest(env)
    if not report.passed:
        raise ValueError("; ".join(line for line in str(report).splitlines() if line.startswith("FAIL")))
    return f"{sum(c.tried for c in report.checks)} answers"


def _traces(env: Any) -> str:
    if not isinstance(env, TextEnv):
        return "none"
    traces = contract.traces(env, TRACES, np.random.default_rng(0))
    if not traces:
        return "none"
    if not isinstance(env, TaskEnv):
        return f"{len(traces)} moves"
    right = n = 0
    for seed in range(TRACES):
        env.reset(seed=seed)
        completion = contract.expert_answer(env, env.task, np.random.default_rng(seed))
        if completion is not None:
            n += 1
            right += contract.answered(env, completion)[1] >= 1
    if n and not right:
        raise ValueError(f"none of {n} earns full reward")
    return f"{right} of {n} earn full reward"
