"""Check a reward: right answers must be rewarded, and attacks must not be.

`check_reward` takes a verifier (`verify(answer, gold) -> Verdict`) with some golds, or an environment, and
reports which checks failed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shuhari.rewards.math.extract import extract
from shuhari.rewards.math.node import Unparsable
from shuhari.rewards.verdict import Verdict

CONSTANTS = ("0", "1", "-1", "2", "x", "A", "yes", "True", "nan", "\\boxed{}", "I do not know.")
TASKS = 20  # problems that an environment is checked on


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One kind of attack, or the golds: how often it was tried, how often it failed, and an example."""

    name: str
    tried: int
    failed: int
    example: str = ""


@dataclass(frozen=True)
class RewardReport:
    """All checks of one verifier or environment."""

    checks: list[CheckResult] = field(default_factory=list)

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
    """The text with another last number, or (if it has no number) another last letter."""
    numbers = list(re.finditer("[0-9]+", text))
    if numbers:
        last = numbers[-1]
        for value in (int(last.group()[-15:]) + 1, 10 * int(last.group()[-15:]) + 7):
            yield f"{text[: last.start()]}{value}{text[last.end() :]}"
    elif text:
        yield f"{text[:-1]}{'b' if text[-1] != 'b' else 'c'}"


def attacks(gold: str, prompt: str = "") -> dict[str, list[str]]:
    """Answers that must not be judged correct, by the name of the attack.

    If `gold` is a whole completion, only the answer in its box or tag is replaced.
    """
    try:
        core = extract(gold)
    except Unparsable:
        core = gold
    before, found_it, after = gold.rpartition(core)
    if not found_it:  # `extract` normalizes some answers, such as `#### $4`
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


def _tally(tries: Iterable[tuple[str, str, Verdict | None]], *, want_correct: bool) -> list[CheckResult]:
    """Results by name, from triples of name, answer and verdict (None if the verifier raised)."""
    counts: dict[str, list[Any]] = {}
    for name, tried, verdict in tries:
        row = counts.setdefault(name, [0, 0, ""])
        row[0] += 1
        if verdict is None or (verdict.status == "correct") != want_correct:
            row[1] += 1
            row[2] = row[2] or f"{tried[:60]!a} is {verdict.status if verdict else 'an exception'}"
    return [CheckResult(name, tried, failed, example) for name, (tried, failed, example) in counts.items()]


def _guarded(judge: Callable[..., Verdict], *args: Any) -> Verdict | None:
    try:
        return judge(*args)
    except Exception:  # a verifier under test may raise anything
        return None


def _constants(judge: Callable[[str, int], Verdict], golds: Sequence[str]) -> CheckResult:
    """One answer to every task may be right for some of them, but not for most."""
    failed, example = 0, ""
    for constant in CONSTANTS:
        others = [i for i, gold in enumerate(golds) if gold.casefold() != constant.casefold()]
        paid = sum(getattr(_guarded(judge, constant, i), "status", "") == "correct" for i in others)
        if paid > len(others) / 2:
            failed += 1
            example = example or f"{constant!a} is correct for {paid} of {len(others)}"
    return CheckResult("constant", len(CONSTANTS), failed, example)


def check_reward(subject: Any, golds: Sequence[str] = ()) -> RewardReport:
    """Check a verifier on `golds`, or an environment on its own tasks.

    An environment's gold answer is its `solution(task)`. Raises ValueError if there are no golds.
    """
    if hasattr(subject, "step"):
        return _check_environment(subject)
    if not golds:
        raise ValueError("a verifier is checked on golds: check_reward(verify, golds=[...])")
    return _report(lambda answer, i: subject(answer, golds[i]), list(golds), [""] * len(golds))


def _check_environment(env: Any) -> RewardReport:
    def judge(answer: str, i: int) -> Verdict:
        env.reset(seed=seeds[i])
        _, reward, _, _, info = env.step(answer)
        verdict = info.get("verdict")
        return verdict if verdict is not None else Verdict("correct" if reward >= 1 else "wrong")

    seeds, golds, prompts = [], [], []
    for seed in range(TASKS):
        prompt, _ = env.reset(seed=seed)
        gold = _solution(env)
        if gold is not None:
            seeds.append(seed)
            golds.append(gold)
            prompts.append(prompt)
    if not golds:
        raise ValueError("the environment knows no right answer: give it a method solution(task)")
    return _report(judge, golds, prompts)


def _report(judge: Callable[[str, int], Verdict], golds: list[str], prompts: list[str]) -> RewardReport:
    right = [("gold", gold, _guarded(judge, gold, i)) for i, gold in enumerate(golds)]
    wrong = [
        (name, answer, _guarded(judge, answer, i))
        for i, (gold, prompt) in enumerate(zip(golds, prompts, strict=True))
        for name, answers in attacks(gold, prompt).items()
        for answer in answers
    ]
    checks = _tally(right, want_correct=True) + _tally(wrong, want_correct=False)
    return RewardReport([*checks, _constants(judge, golds)])


def _solution(env: Any) -> str | None:
    """A right completion of the environment's current task, or None if it knows none."""
    inner = getattr(env, "unwrapped", env)
    if hasattr(inner, "solution"):
        found: str | None = inner.solution(inner.task)
        return found
    return None
