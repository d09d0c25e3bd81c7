"""`shuhari verify`: judge answers on the command line, or JSON lines from standard input."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from shuhari.rewards.math.forms import FORMS
from shuhari.rewards.math.verify import KINDS, verify
from shuhari.rewards.verdict import Verdict

_NEEDED, _OPTIONAL = ("answer", "gold"), ("kind", "form", "prompt")


def _line(verdict: Verdict, others: Mapping[str, Any] | None = None) -> str:
    """The verdict as one JSON object in ASCII, with the other keys of its line, such as an `id`."""
    told = {
        "verdict": verdict.status,
        "rung": verdict.rung,
        "ms": round(verdict.ms, 3),
        "reason": verdict.reason,
    }
    return json.dumps({**{key: value for key, value in (others or {}).items() if key not in told}, **told})


def judge_line(line: str) -> tuple[Verdict, dict[str, Any]]:
    """The verdict on one line of JSON, and those of its keys that the verifier does not use.

    A line that is not such JSON gets the verdict `error` with the reason. Answers and golds may be numbers.
    """
    if not line.strip():
        return Verdict("error", "an empty line", "task"), {}
    try:
        task: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Verdict("error", f"not JSON: {error}", "task"), {}
    if not isinstance(task, dict):
        return Verdict("error", "not a JSON object", "task"), {}
    others = {key: value for key, value in task.items() if key not in _NEEDED + _OPTIONAL}
    missing = [key for key in _NEEDED if task.get(key) is None]
    if missing:
        return Verdict("error", f"no {missing[0]!r}", "task"), others
    pair = {key: task[key] for key in _NEEDED + _OPTIONAL if task.get(key) is not None}
    for key in _NEEDED:
        if isinstance(pair[key], int | float) and not isinstance(pair[key], bool):
            pair[key] = json.dumps(pair[key])
    wrong = [key for key, value in pair.items() if not isinstance(value, str)]
    if wrong:
        return Verdict("error", f"{wrong[0]!r} is not a string", "task"), others
    return verify(**pair), others


def _joined(arguments: Sequence[str]) -> list[str]:
    """Make `--answer -x` into `--answer=-x`, because an answer may begin with a minus."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--answer", "--gold", "--prompt"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def main(arguments: Sequence[str]) -> int:
    """Exit status 0."""
    parser = argparse.ArgumentParser(
        prog="shuhari verify",
        description="Judge an answer by a gold answer: correct, wrong, unknown or error. Without --answer, "
        'JSON lines are read from standard input: {"answer", "gold", "kind"?, "form"?, "prompt"?}. Each '
        "is answered by a line; other keys, such as an id, are passed on.",
        epilog=r"examples: shuhari verify --answer '\frac{2}{4}' --gold 1/2; shuhari verify < answers.jsonl",
    )
    parser.add_argument("--answer", help="the answer, or a whole completion that holds one")
    parser.add_argument("--gold", help="the right answer")
    parser.add_argument("--kind", choices=KINDS, default="auto", help="what the gold is (default: auto)")
    parser.add_argument("--form", choices=FORMS, default="any", help="how the answer must be written")
    parser.add_argument("--prompt", default="", help="the task's text: an answer that copies it is wrong")
    options = parser.parse_args(_joined(arguments))
    if (options.answer is None) != (options.gold is None):
        parser.error("--answer and --gold go together")
    if options.answer is not None:
        verdict = verify(
            options.answer, options.gold, kind=options.kind, form=options.form, prompt=options.prompt
        )
        print(_line(verdict))
        return 0
    # Bytes that are not UTF-8 must end in a verdict, and not in a traceback.
    sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")  # type: ignore[union-attr]
    for line in sys.stdin:
        print(_line(*judge_line(line)), flush=True)
    return 0
