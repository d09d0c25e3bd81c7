"""Is a verifier, or an environment's reward, sound? Attacks that must not pay, and golds that must.

`selftest` takes a verifier (`verify(answer, gold) -> Verdict`) with some golds, or an environment with
`reset(seed=…)` and `step(text)`, and reports what failed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shuhari.rewards.rewrites import KINDS, pairs
from shuhari.rewards.statistics import wilson
from shuhari.rewards.verdict import Verdict
from shuhari.rewards.verify import verify

CONSTANTS = ("0", "1", "-1", "2", "x", "A", "yes", "True", "nan", "\\boxed{}", "I do not know.")
TASKS = 20  # of an environment


@dataclass(frozen=True, slots=True)
class Check:
    """One attack, or one gold: how often it was tried and what went wrong, with an example."""

    name: str
    tried: int
    failed: int
    example: str = ""


@dataclass(frozen=True)
class Report:
    """All checks of one verifier or environment."""

    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not any(check.failed for check in self.checks)

    def __str__(self) -> str:
        lines = []
        for check in self.checks:
            mark = "ok  " if not check.failed else "FAIL"
            example = f"   {check.example}" if check.failed else ""
            lines.append(f"{mark} {check.name}: {check.tried - check.failed}/{check.tried}{example}")
        return "\n".join(lines)


def perturbed(text: str) -> Iterator[str]:
    """The text with its last number, or its last letter, changed."""
    numbers = list(re.finditer("[0-9]+", text))
    if numbers:
        last = numbers[-1]
        for value in (int(last.group()[-15:]) + 1, 10 * int(last.group()[-15:]) + 7):
            yield f"{text[: last.start()]}{value}{text[last.end() :]}"
    elif text:
        yield f"{text[:-1]}{'b' if text[-1] != 'b' else 'c'}"


def attacks(gold: str, prompt: str = "") -> dict[str, list[str]]:
    """Answers that must not be judged correct, by the name of the attack."""
    candidates = ", ".join([*map(str, range(10)), gold])
    found = {
        "empty": ["", " ", "\n"],
        "constant": [constant for constant in CONSTANTS if constant.casefold() != gold.casefold()],
        "all candidates": [candidates, candidates.replace(", ", " or "), f"\\boxed{{{candidates}}}"],
        "perturbed gold": list(perturbed(gold)),
        "thinking only": [f"<think>{gold}</think>", f"<think>{gold}"],
    }
    if prompt:
        found["prompt echo"] = [prompt, prompt.strip().rstrip("=?.: ")]
    return found


def _tally(tries: Iterable[tuple[str, str, Verdict | None]], *, want_correct: bool) -> list[Check]:
    """Checks by name from (name, what was tried, verdict); None stands for what raised."""
    counts: dict[str, list[Any]] = {}
    for name, tried, verdict in tries:
        row = counts.setdefault(name, [0, 0, ""])
        row[0] += 1
        if verdict is None or (verdict.status == "correct") != want_correct:
            row[1] += 1
            row[2] = row[2] or f"{tried[:60]!a} is {verdict.status if verdict else 'an exception'}"
    return [Check(name, tried, failed, example) for name, (tried, failed, example) in counts.items()]


def _guarded(judge: Callable[..., Verdict], *args: Any) -> Verdict | None:
    try:
        return judge(*args)
    except Exception:  # a verifier under test may raise anything
        return None


def selftest(subject: Any, golds: Sequence[str] = ()) -> Report:
    """Check a verifier on `golds`, or an environment on its own tasks.

    An environment's gold answer is its `solution(task)`. Raises ValueError where there is none.
    """
    if hasattr(subject, "step"):
        return _environment(subject)
    if not golds:
        raise ValueError("a verifier is tested on some golds: selftest(verify, golds=[...])")
    right = [("gold", gold, _guarded(subject, gold, gold)) for gold in golds]
    wrong = [
        (name, answer, _guarded(subject, answer, gold))
        for gold in golds
        for name, answers in attacks(gold).items()
        for answer in answers
    ]
    return Report(_tally(right, want_correct=True) + _tally(wrong, want_correct=False))


def _environment(env: Any) -> Report:
    def judge(seed: int, answer: str) -> Verdict:
        env.reset(seed=seed)
        _, reward, _, _, info = env.step(answer)
        verdict = info.get("verdict")
        return verdict if verdict is not None else Verdict("correct" if reward >= 1 else "wrong")

    right, wrong = [], []
    for seed in range(TASKS):
        prompt, _ = env.reset(seed=seed)
        gold = solution(env)
        if gold is None:
            continue
        right.append(("gold", gold, _guarded(judge, seed, gold)))
        for name, answers in attacks(gold, prompt).items():
            wrong += [(name, a, _guarded(judge, seed, a)) for a in answers]
    if not right:
        raise ValueError("the environment knows no right answer: give it solution(task)")
    return Report(_tally(right, want_correct=True) + _tally(wrong, want_correct=False))


def solution(env: Any) -> str | None:
    """A right completion of the task the environment holds, where it knows one."""
    inner = getattr(env, "unwrapped", env)
    if hasattr(inner, "solution"):
        found: str | None = inner.solution(inner.task)
        return found
    return None


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Of one kind: how many equal answers were refused, and how many others accepted."""

    kind: str
    n: int  # of each
    refused: int
    accepted: int
    undecided: int

    @property
    def intervals(self) -> tuple[list[float], list[float]]:
        """Wilson's 95% intervals of both error rates."""
        return wilson(self.refused / self.n, self.n), wilson(self.accepted / self.n, self.n)


def error_rates(
    n: int, seed: int = 0, *, judge: Callable[..., Verdict] = verify, kinds: Sequence[str] = KINDS
) -> list[ErrorRates]:
    """Error rates on `n` rewrites and `n` mutations of random golds of each kind."""
    rows = []
    for kind in kinds:
        refused = accepted = undecided = 0
        for pair in pairs(kind, n, seed):
            verdict = judge(pair.answer, pair.gold, kind=kind)
            undecided += not verdict.counts
            refused += pair.same and verdict.status != "correct"
            accepted += not pair.same and verdict.status == "correct"
        rows.append(ErrorRates(kind, n, refused, accepted, undecided))
    return rows
