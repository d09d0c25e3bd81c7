"""Is a verifier, or an environment's reward, sound? Attacks that must not pay, and golds that must.

`selftest` takes a verifier (`verify(answer, gold) -> Verdict`) with some golds, or an environment with
`reset(seed=…)` and `step(text)`, and reports what failed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.node import Unparsable
from shuhari.rewards.math.rewrites import KINDS, pairs
from shuhari.rewards.math.verify import verify
from shuhari.rewards.statistics import wilson
from shuhari.rewards.verdict import Verdict

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
    """Answers that must not be judged correct, by the name of the attack.

    `gold` may be a whole completion: what stands in its box or tag is then exchanged, the rest stays.
    """
    try:
        core = extract(gold)
    except Unparsable:
        core = gold
    before, found_it, after = gold.rpartition(core)
    if not found_it:  # what stands there is spelled another way, such as `#### $4`
        before, after = gold[: gold.rfind("####") + 5] if "####" in gold else "", ""
    candidates = ", ".join([*map(str, range(10)), core])
    lists = [candidates, candidates.replace(", ", " or ")]
    found = {
        "empty": ["", " ", "\n", before],
        "all candidates": [before + text + after for text in lists],
        "perturbed gold": [before + text + after for text in perturbed(core)],
        "thinking only": [f"<think>{gold}</think>", f"<think>{gold}"],
    }
    if not before:
        found["all candidates"].append(f"\\boxed{{{candidates}}}")
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


def _constants(judge: Callable[[str, int], Verdict], golds: Sequence[str]) -> Check:
    """One answer for everything: it may be right now and then, and must not be for most tasks."""
    failed, example = 0, ""
    for constant in CONSTANTS:
        others = [i for i, gold in enumerate(golds) if gold.casefold() != constant.casefold()]
        paid = sum(getattr(_guarded(judge, constant, i), "status", "") == "correct" for i in others)
        if paid > len(others) / 2:
            failed += 1
            example = example or f"{constant!a} is correct for {paid} of {len(others)}"
    return Check("constant", len(CONSTANTS), failed, example)


def selftest(subject: Any, golds: Sequence[str] = ()) -> Report:
    """Check a verifier on `golds`, or an environment on its own tasks.

    An environment's gold answer is its `solution(task)`. Raises ValueError where there is none.
    """
    if hasattr(subject, "step"):
        return _environment(subject)
    if not golds:
        raise ValueError("a verifier is tested on some golds: selftest(verify, golds=[...])")
    return _report(lambda answer, i: subject(answer, golds[i]), list(golds), [""] * len(golds))


def _environment(env: Any) -> Report:
    def judge(answer: str, i: int) -> Verdict:
        env.reset(seed=seeds[i])
        _, reward, _, _, info = env.step(answer)
        verdict = info.get("verdict")
        return verdict if verdict is not None else Verdict("correct" if reward >= 1 else "wrong")

    seeds, golds, prompts = [], [], []
    for seed in range(TASKS):
        prompt, _ = env.reset(seed=seed)
        gold = solution(env)
        if gold is not None:
            seeds.append(seed)
            golds.append(gold)
            prompts.append(prompt)
    if not golds:
        raise ValueError("the environment knows no right answer: give it solution(task)")
    return _report(judge, golds, prompts)


def _report(judge: Callable[[str, int], Verdict], golds: list[str], prompts: list[str]) -> Report:
    right = [("gold", gold, _guarded(judge, gold, i)) for i, gold in enumerate(golds)]
    wrong = [
        (name, answer, _guarded(judge, answer, i))
        for i, (gold, prompt) in enumerate(zip(golds, prompts, strict=True))
        for name, answers in attacks(gold, prompt).items()
        for answer in answers
    ]
    checks = _tally(right, want_correct=True) + _tally(wrong, want_correct=False)
    return Report([*checks, _constants(judge, golds)])


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
