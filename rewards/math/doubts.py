"""Reasons to leave a pair undecided although both sides were compared: the texts have a second meaning."""

import re
from collections import Counter

from shuhari.rewards.math.gold import CLOCK_TIME, Reading
from shuhari.rewards.math.lexer import METRES
from shuhari.rewards.math.node import TooLarge, Unparsable, operators

_LETTERS = re.compile(r"(?:[A-Za-z (){}\[\],;]|\\[{}])+")
_FAMILY = re.compile(r"\\in\s*\\mathbb\s*\{?[ZN]")  # a parameter that runs through the whole numbers


def readings_differ(first: Reading, second: Reading, *texts: str) -> bool:
    """Whether some text has two readings, and all texts can be read in the second one."""
    try:
        if not any(_has_two_readings(first, text) for text in texts):
            return False
        return [first.tree(text) for text in texts] != [second.tree(text) for text in texts]
    except (Unparsable, TooLarge):
        return False


def _has_two_readings(reading: Reading, text: str) -> bool:
    """Whether the text contains a function call, or is a number followed by m."""
    if "(" in text and "call" in operators(reading.tree(text)):
        return True
    return "m" in text and bool(METRES.fullmatch(text))


def confirms_metres(reading: Reading, *texts: str) -> bool:
    """Whether one text is a number followed by m, and the other has a unit that is not a variable's name."""
    if not any("m" in text and METRES.fullmatch(text) for text in texts):
        return False
    try:
        return any(not METRES.fullmatch(text) and "unit" in operators(reading.tree(text)) for text in texts)
    except (Unparsable, TooLarge):
        return False


def are_clock_times(text: str, gold: str) -> bool:
    """Whether one text looks like a time of day, and neither text ends with the other."""
    clock = CLOCK_TIME.fullmatch(text) or CLOCK_TIME.fullmatch(gold)
    return bool(clock) and not text.endswith(gold) and not gold.endswith(text)


def are_families(text: str, gold: str) -> bool:
    """Whether both describe infinitely many values by a parameter, as in `k\\pi, k \\in \\mathbb{Z}`."""
    return bool(_FAMILY.search(text) and _FAMILY.search(gold))


def letters_reordered(text: str, gold: str, prompt: str) -> bool:
    """Whether both texts are only words, and some word of one has the letters of a word of the other.

    Words whose letters are all variables in the prompt do not count: these are products.
    """
    if not (_LETTERS.fullmatch(text) and _LETTERS.fullmatch(gold)):
        return False
    answer_words, gold_words = (
        Counter(re.findall("[A-Za-z]{2,}", side.replace(" ", ""))) for side in (text, gold)
    )
    others = [sorted(word) for word in answer_words - gold_words]
    reordered = [word for word in gold_words - answer_words if sorted(word) in others]
    return not all(_are_variables(word, prompt) for word in reordered)


def _are_variables(word: str, prompt: str) -> bool:
    """Whether every letter of the word stands alone somewhere in the prompt, as a variable does."""
    lone = set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", prompt))
    # "a" and "I" are words in prose. They are variables only next to a sign of a formula.
    formula = re.findall(r"[$(=+*/^_-]\s*([aI])(?![A-Za-z])|(?<![A-Za-z])([aI])\s*[$)=+*/^_-]", prompt)
    lone -= {"a", "I"} - {letter for pair in formula for letter in pair}
    return set(word) <= lone
