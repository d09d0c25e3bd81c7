"""What an answer says, as a key: answers of one key are one answer in a majority vote."""

import re
from functools import lru_cache

from shuhari.rewards.math.gold import answer_text
from shuhari.rewards.math.normalize_text import without_layout
from shuhari.rewards.math.parser import parse
from shuhari.rewards.math.rational import rational

LONGEST = 64  # characters of an answer that may be a number
_DIGITS_AS_TEXT = re.compile(r"[+-]?0[0-9]")  # 07 may be a word, and another one than 7


@lru_cache(2**16)
def answer_key(completion: str) -> str | None:
    """The key of the answer in a completion; None where there is none. Never raises.

    The answer is found as the verifier finds it. A number's key is its exact value, so that 1/2 and 0.50 are
    one; any other's is its text without layout.
    """
    try:
        text = answer_text(completion)
    except Exception:  # no answer; or a bug in the reader, which must not end a run
        return None
    try:
        number = len(text) <= LONGEST and not _DIGITS_AS_TEXT.match(text)
        value = rational(parse(text)) if number else None
    except Exception:  # words, or no value
        value = None
    return without_layout(text) if value is None else str(value)
