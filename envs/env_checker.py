"""Check that an environment keeps the contract of docs/plugging-in.md: `shuhari envs --check ID`."""

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

from shuhari.envs import validation
from shuhari.envs.registry import open_env
from shuhari.envs.task_env import TaskEnv
from shuhari.envs.text_env import TextEnv
from shuhari.rewards import check_reward

GARBAGE = ("", "=", "the answer", "\x00", "12", "x=1", "1" * 5000, "\u00e9\U0001f600")
MAX_STEPS = 500  # of an episode that is played to compare transcripts
TRACES = 20
METERED = 4  # right answers, or random games, after which the metrics are compared
_REPLAY = (
    "import sys, json; from shuhari.envs.env_checker import transcript_digest; "
    "print(transcript_digest(*json.loads(sys.argv[1])))"
)
# Words of the warnings that Gymnasium's checker gives for every text environment made without its wrappers.
_EXPECTED = ("render", "spec", "np_random", "action space", "Box", "deterministic")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: its name, whether it passed, and what is wrong or worth knowing."""

    name: str
    ok: bool
    detail: str = ""


def transcript(env_id: str, arguments: dict[str, Any], seed: int) -> list[Any]:
    """A whole episode, with random legal actions, or garbage if the environment names no legal actions."""
    env = open_env(env_id, arguments)
    observation, info = validation.reset_or_fault(env, seed)
    rng = np.random.default_rng(seed)
    lines: list[Any] = [observation]
    for _ in range(MAX_STEPS):
        legal = info.get("legal_actions") or GARBAGE
        action = str(legal[int(rng.integers(len(legal)))])
        observation, reward, terminated, truncated, info = validation.step_or_fault(env, action)
        over = terminated or truncated
        lines += [action, observation, reward, over, repr(info.get("returns"))]
        if over:
            break
    env.close()
    return lines


def transcript_digest(env_id: str, arguments: dict[str, Any], seed: int) -> str:
    """A digest of a transcript, to compare between processes."""
    return hashlib.sha256(json.dumps(transcript(env_id, arguments, seed)).encode()).hexdigest()


def check_environment(
    env_id: str, arguments: dict[str, Any] | None = None, *, other_process: bool = True
) -> list[Finding]:
    """Run every check on an environment. Raises CannotOpen if it cannot be made.

    `other_process`: another process must play the same episode too, which takes a second.
    """
    arguments = arguments or {}
    env = open_env(env_id, arguments)
    inner = env.unwrapped
    findings = [
        checked("Gymnasium's check_env", _gymnasium_check, inner),
        checked("speaks text and explains itself", _speaks_text, inner),
        checked("same seed, same transcript", _repeats_itself, env_id, arguments, other_process),
        checked("garbage is answered", _answers_garbage, env_id, arguments),
        checked("legal actions can be told apart", _actions_differ, env),
        checked("metrics are the same numbers everywhere", _metrics_are_steady, env),
    ]
    if isinstance(inner, TaskEnv):
        findings.append(checked("train and held-out are apart", _split_is_clean, inner))
        findings.append(checked("the reward resists attacks", _reward_is_sound, inner))
    findings.append(checked("the expert's traces", _traces_are_right, inner))
    env.close()
    return findings


def checked(name: str, check: Any, *args: Any) -> Finding:
    """The finding of a check, which returns a remark and raises if something is wrong."""
    try:
        detail = check(*args)
    except (Exception, SystemExit) as error:  # the environment under test may raise anything
        message = (str(error).splitlines() or [""])[0]
        return Finding(name, False, f"{type(error).__name__}: {message}" if message else type(error).__name__)
    return Finding(name, True, detail or "")


def _gymnasium_check(env: Any) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    unexpected = [m for m in messages if not any(word in m for word in _EXPECTED)]
    if not unexpected:
        return ""
    return unexpected[0].replace("\x1b[33m", "").replace("\x1b[0m", "").splitlines()[0]


def _speaks_text(env: Any) -> str:
    validation.reset_or_fault(env, seed=0)
    if not isinstance(env, TextEnv):
        return "not a TextEnv: no instructions, no split"
    if not env.instructions:
        raise ValueError("no instructions")
    return ""


def _repeats_itself(env_id: str, arguments: dict[str, Any], other_process: bool) -> str:
    digest, again = (transcript_digest(env_id, arguments, 7) for _ in range(2))
    if digest != again:
        raise ValueError("two episodes of one seed differ in this process")
    if not other_process:
        return ""
    module = env_id.partition(":")[0] if ":" in env_id else ""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}\n{_REPLAY}",
            json.dumps([env_id, arguments, 7]),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        remedy = f"; is {module!r} importable there?" if module else ""
        raise RuntimeError(f"another process cannot play it: {last}{remedy}")
    if done.stdout.strip() != digest:
        raise ValueError("another process plays another episode of the same seed")
    return ""


def _answers_garbage(env_id: str, arguments: dict[str, Any]) -> str:
    verdicts = []
    for text in GARBAGE:
        env = open_env(env_id, arguments)
        validation.reset_or_fault(env, seed=1)
        _, reward, _, _, info = validation.step_or_fault(env, text)
        if reward > 0 and text not in ("12", "x=1"):
            raise ValueError(f"{text[:20]!a} earns {reward:g}")
        verdicts += [info["verdict"]] if info.get("verdict") is not None else []
    if verdicts and not any(verdict.counts for verdict in verdicts):
        raise ValueError(f"none of {len(verdicts)} answers can be judged; the first: {verdicts[0]}")
    return ""


def _actions_differ(env: Any) -> str:
    """Check the names of the legal actions in one episode of random play."""
    _, info = validation.reset_or_fault(env, seed=2)
    rng, listed = np.random.default_rng(2), False
    for _ in range(MAX_STEPS):
        legal = info.get("legal_actions") or ()
        if not legal:
            break
        listed = True
        if repeated := [action for action, n in Counter(legal).items() if n > 1]:
            raise ValueError(f"{repeated[0]!a} is the name of {Counter(legal)[repeated[0]]} legal actions")
        if blank := [action for action in legal if not action.strip()]:
            raise ValueError(f"{blank[0]!a} is the name of a legal action: it must not be blank")
        action = str(legal[int(rng.integers(len(legal)))])
        *_, terminated, truncated, info = validation.step_or_fault(env, action)
        if terminated or truncated:
            break
    return "" if listed else "left out: the environment lists no legal actions"


def _metrics_are_steady(env: Any) -> str:
    """Check that every episode ends with the same metrics. That they are finite numbers every step checks."""
    found: dict[frozenset[str], str] = {}
    for seed, text in enumerate((*GARBAGE[:2], *([None] * METERED))):
        metrics = _metrics_of_an_episode(env, seed, text)
        if metrics is not None:
            found.setdefault(metrics, "" if text is None else f"after {text!a} ")
    if len(found) > 1:
        (some, where), (others, elsewhere), *_ = found.items()
        raise ValueError(
            f"an episode ends {where}with the metrics {_listed(some)}, another {elsewhere}with "
            f"{_listed(others)}: give all in each"
        )
    return next((_listed(names) for names in found if names), "none")


def _metrics_of_an_episode(env: Any, seed: int, text: str | None) -> frozenset[str] | None:
    """The names of the metrics of an episode in which `text` is said or, with None, the solution, the
    expert's answer or a legal action; None if it does not end soon."""
    _, info = validation.reset_or_fault(env, seed)
    inner, rng = env.unwrapped, np.random.default_rng(seed)
    names: set[str] = set()
    solution = None
    if isinstance(inner, TaskEnv):
        solution = inner.solution(inner.task) or validation.expert_answer(inner, inner.task, rng)
    for _ in range(MAX_STEPS):
        legal = info.get("legal_actions") or ((solution or "") if text is None else text,)
        *_, terminated, truncated, info = validation.step_or_fault(
            env, str(legal[int(rng.integers(len(legal)))])
        )
        names |= info.get("metrics", {}).keys()
        if terminated or truncated:
            return frozenset(names)
    return None


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none at all"


def _split_is_clean(env: TaskEnv) -> str:
    keys = {
        split: {validation.reset_or_fault(env, seed, {"split": split})[1]["key"] for seed in range(200)}
        for split in ("train", "heldout")
    }
    if both := keys["train"] & keys["heldout"]:
        raise ValueError(f"{len(both)} problems are on both sides, such as {min(both)[:60]!a}")
    return f"{len(keys['train'])} and {len(keys['heldout'])} distinct problems in 200 draws each"


def _reward_is_sound(env: TaskEnv) -> str:
    env.reset(seed=0)
    if env.solution(env.task) is None:
        return "left out: no solution(task)"
    report = check_reward(env)
    if not report.passed:
        raise ValueError("; ".join(line for line in str(report).splitlines() if line.startswith("FAIL")))
    return f"{sum(check.tried for check in report.checks)} answers"


def _traces_are_right(env: Any) -> str:
    if not isinstance(env, TextEnv):
        return "none"
    traces = validation.expert_traces(env, TRACES, np.random.default_rng(0))
    if not traces:
        return "none"
    if not isinstance(env, TaskEnv):
        return f"{len(traces)} moves"
    right = n = 0
    for seed in range(TRACES):
        env.reset(seed=seed)
        completion = validation.expert_answer(env, env.task, np.random.default_rng(seed))
        if completion is not None:
            n += 1
            right += validation.step_or_fault(env, completion)[1] >= 1
    if n and not right:
        raise ValueError(f"none of {n} earns full reward")
    return f"{right} of {n} earn full reward"
