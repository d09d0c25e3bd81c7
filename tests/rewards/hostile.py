"""Inputs meant to fool, hang, crash or starve the verifier. None deserves `correct`.

`hostile.jsonl` holds what can be written down; what is huge is made here.
"""

import json
from pathlib import Path

BIG = 1_000_000


def _huge() -> list[str]:
    """Answers of ten thousand to a million characters."""
    n = 10_000
    return [
        "5" * BIG,
        "0." + "0" * BIG + "5",
        "5." + "0" * BIG + "1",
        "1+" * BIG + "5",
        "x*" * BIG + "x",
        " " * BIG + "6",
        "1e999999999",
        "1e-999999999",
        "5e" + "9" * 1000,
        "0." + "3" * 3000,
        "9" * 3999,
        "(" * n + "5" + ")" * n,
        "(" * n,
        ")" * n,
        "[" * n,
        "\\frac{" * n,
        "\\frac{1}{" * n + "5" + "}" * n,
        "\\sqrt{" * n + "5" + "}" * n,
        "-" * n + "5x",
        "|" * n,
        "!" * n,
        "5" + "!" * 500,
        "^" * n,
        "2^" * 500 + "2",
        "5/" * 500 + "1",
        "\\left(" * 1000 + "6" + "\\right)" * 1000,
        "<think>" * n + "5",
        "\\boxed{" * n + "5",
        "\\boxed{" * 2000 + "6" + "}" * 2000,
        "#### " * n,
        "{" * n + "5" + "}" * n,
        "\\{" * 300 + "5" + "\\}" * 300,
        ",".join("5" * 1 for _ in range(2000)),
        ",".join(str(i) for i in range(250)),
        "\\sin(" * 200 + "x" + ")" * 200,
        "+".join(f"\\sin(x^{{{i}}})" for i in range(60)),
        "*".join(f"(x+{i})" for i in range(90)),
        "+".join(f"\\sqrt{{{i}}}" for i in range(2, 90)),
        "\\begin{pmatrix}" + "&".join(["5"] * 200) + "\\end{pmatrix}",
        "a" * 100_000,
        "\\a" * 10_000,
        "=".join(["5"] * 200),
        "5" + "\\pm 1" * 100,
        "1\\frac" * 1000,
        "\\text{" * 3000,
        "$" * BIG + "6",
    ]


def cases() -> list[dict[str, str]]:
    """Every case: `answer`, `gold`, `group`, and where they matter `prompt` and `expect` (a status)."""
    found = [{"answer": answer, "gold": "5", "group": "huge"} for answer in _huge()]
    for line in Path(__file__).with_suffix(".jsonl").read_text().splitlines():
        group = json.loads(line)
        found += [{"answer": answer} | group for answer in group.pop("answers")]
    return found


def limit_s(case: dict[str, str]) -> float:
    """Seconds a case may take: twice the documented limits, because tests share their machine."""
    asked = ("\\int", "\\sum", "\\prod", "\\lim", "\\frac{d}")
    return 2 if any(word in case["answer"] for word in asked) else 0.1
