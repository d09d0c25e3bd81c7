"""`shuhari envs`: list the environments, or check one of them."""

import argparse
import re
import sys
from collections.abc import Sequence

import gymnasium

import shuhari.envs  # noqa: F401 (registers ours)
from shuhari.envs.env_checker import check_environment
from shuhari.envs.registry import load_plugins, parse_arguments
from shuhari.envs.text_env import TextEnv
from shuhari.envs.validation import first_line
from shuhari.loops.report.progress import busy


def _first_sentence(text: str) -> str:
    """The text up to its first full stop or semicolon, in at most 72 characters."""
    sentence = re.split(r"(?<=[a-z)\]])[.;](?:\s|\Z)", " ".join(text.split()), maxsplit=1)[0]
    return sentence if len(sentence) <= 72 else f"{sentence[:69]}..."


def rows() -> list[tuple[str, str, str, str]]:
    """Id, first sentence, arguments and expert of every registered environment that is a TextEnv."""
    found = []
    for env_id, spec in sorted(gymnasium.registry.items()):
        if spec.namespace is None or str(spec.entry_point).startswith("gymnasium."):
            continue  # Gymnasium's own are not text environments
        try:
            env = gymnasium.make(env_id).unwrapped
        except Exception as error:  # a plug-in may raise anything, also because it needs arguments
            found.append((env_id, f"cannot be made: {first_line(error)}"[:72], "", ""))
            continue
        if isinstance(env, TextEnv):
            found.append(
                (
                    env_id,
                    _first_sentence(env.instructions),
                    env.arguments_description or "-",
                    env.expert_description,
                )
            )
        env.close()
    return found


def main(arguments: Sequence[str]) -> int:
    """Exit status 0; 1 if the environment fails a check; 2 for an environment that there is not."""
    parser = argparse.ArgumentParser(
        prog="shuhari envs",
        description=__doc__,
        epilog="examples: shuhari envs; shuhari envs --check shuhari/Countdown-v0 difficulty=2",
    )
    parser.add_argument("--check", metavar="ID", help="say what is wrong with this environment")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    options = parser.parse_args(arguments)
    for message in load_plugins():
        print(f"shuhari: {message}", file=sys.stderr)
    if options.check is None:
        if options.arguments:
            parser.error("arguments belong to --check ID")
        table = [("environment", "what it is", "arguments", "expert"), *rows()]
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        for row in table:
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            print("  ".join([*padded, row[3]]).rstrip())
        return 0
    try:
        given = parse_arguments(options.arguments)
        with busy("checking"):
            findings = check_environment(options.check, given)
    except ValueError as error:
        print(f"shuhari: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        mark = "ok  " if finding.ok else "FAIL"
        print(f"{mark} {finding.name}{': ' if finding.detail else ''}{finding.detail}")
    return 0 if all(finding.ok for finding in findings) else 1
