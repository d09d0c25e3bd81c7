"""`shuhari verify`: judge answers on the command line, or JSON lines from standard input."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from shuhari.rewards.forms import FORMS
from shuhari.rewards.verdict import Verdict
from shuhari.rewards.verify import KINDS, verify

_KEYS = ("answer", "gold", "kind", "form", "prompt")


def _line(verdict: Verdict) -> str:
    """One JSON object, ASCII only."""
    return json.dumps(
        {
            "verdict": verdict.status,
            "rung": verdict.rung,
            "ms": round(verdict.ms, 3),
            "reason": verdict.reason,
        }
    )


def judge_line(line: str) -> Verdict:
    """The verdict on one line of JSON; a line that is no such JSON is an `error`, and says why."""
    try:
        task: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Verdict("error", f"not JSON: {error}", "task")
    if not isinstance(task, dict):
        return Verdict("error", "not a JSON object", "task")
    unknown = [key for key in task if key not in _KEYS]
    if unknown:
        return Verdict("error", f"unknown key {unknown[0]!a}; known: {', '.join(_KEYS)}", "task")
    missing = [key for key in ("answer", "gold") if key not in task]
    if missing:
        return Verdict("error", f"no {missing[0]!r}", "task")
    wrong = [key for key, value in task.items() if not isinstance(value, str)]
    if wrong:
        return Verdict("error", f"{wrong[0]!r} is not a string", "task")
    return verify(**task)


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--answer -x` as `--answer=-x`: an answer may begin with a minus."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--answer", "--gold", "--prompt"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def main(arguments: Sequence[str]) -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(
        prog="shuhari verify",
        description="Judge an answer by a gold answer: correct, wrong, unknown or error. Without --answer, "
        'JSON lines are read from standard input: {"answer", "gold", "kind"?, "form"?, "prompt"?}.',
    )
    parser.add_argument("--answer", help="the answer, or a whole completion that holds one")
    parser.add_argument("--gold", help="the right answer")
    parser.add_argument("--kind", choices=KINDS, default="auto", help="what the gold is (default: auto)")
    parser.add_argument("--form", choices=FORMS, default="any", help="how the answer must be written")
    parser.add_argument("--prompt", default="", help="the task's text: an answer that copies it is wrong")
    options = parser.parse_args(_joined(arguments))
    if (options.answer is None) != (options.gold is None):
        parser.error("--answer and --gold go together")
    try:
        if options.answer is not None:
            verdict = verify(
                options.answer, options.gold, kind=options.kind, form=options.form, prompt=options.prompt
            )
            print(_line(verdict), flush=True)
            return 0
        # Bytes that are no UTF-8 must end in a verdict, not in a traceback.
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
        for line in sys.stdin:
            if line.strip():
                print(_line(judge_line(line)), flush=True)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
