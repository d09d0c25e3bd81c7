"""Judge an answer that must be one integer and nothing else."""

import re
import time

from shuhari.rewards.verdict import Status, Verdict

# ASCII digits only: `\d` also matches digits of other scripts.
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
MAX_DIGITS = 1000  # below CPython's own limit of 4,300, where int() raises


def verify_integer(completion: str, gold: int, *, tag: str | None = None) -> Verdict:
    """Judge the integer that `completion` answers with.

    With a `tag`, the answer is the text after the last tag, and a completion without the tag is wrong.
    Without one, the answer is the whole completion. Leading zeros are allowed, any other text is not.
    """
    start = time.perf_counter()

    def verdict(status: Status, rung: str, reason: str = "") -> Verdict:
        return Verdict(status, reason, rung, (time.perf_counter() - start) * 1e3)

    answer = completion
    if tag is not None:
        _, found, answer = completion.rpartition(tag)
        if not found:
            return verdict("wrong", "extract", f"no {tag!r} before an answer")
    answer = answer.strip()
    if len(answer) > MAX_DIGITS:
        return verdict("wrong", "limit", f"answer longer than {MAX_DIGITS} characters")
    if not _INTEGER.fullmatch(answer):
        return verdict("wrong", "parse", "answer is not an integer")
    if int(answer) != gold:
        return verdict("wrong", "integer", "another integer")
    return verdict("correct", "integer")
