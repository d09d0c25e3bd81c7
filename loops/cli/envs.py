"""`shuhari envs`: the environments, and whether one keeps the contract."""

import argparse
import re
import sys
from collections.abc import Sequence

import gymnasium

import shuhari.envs  # noqa: F401 (registers ours)
from shuhari.envs.base import TextEnv
from shuhari.envs.check import check
from shuhari.envs.register import arguments_of, load_plugins, open_env


def _first_sentence(text: str) -> str:
    """The text up to its first full stop or semicolon, in at most 72 characters."""
    sentence = re.split(r"(?<=[a-z)\]])[.;](?:\s|\Z)", " ".join(text.split()), maxsplit=1)[0]
    return sentence if len(sentence) <= 72 else f"{sentence[:69]}..."


def rows() -> list[tuple[str, str, str, str]]:
    """Id, description, difficulty and expert of each environment of text, of ours and of plug-ins."""
    found = []
    for env_id, spec in sorted(gymnasium.registry.items()):
        if spec.namespace is None or str(spec.entry_point).startswith("gymnasium."):
            continue  # Gymnasium's own environments do not use text
        try:
            env = gymnasium.make(env_id).unwrapped
        except Exception as error:  # of a plug-in, or of an environment that needs arguments
            found.append((env_id, f"cannot be made: {(str(error).splitlines() or ['?'])[0]}"[:72], "", ""))
            continue
        if isinstance(env, TextEnv):
            found.append((env_id, _first_sentence(env.instructions), env.knob or "-", env.teacher))
        env.close()
    return found


def main(arguments: Sequence[str]) -> int:
    """Exit status 0; 1 if the environment fails a check; 2 for an environment that there is not."""
    parser = argparse.ArgumentParser(prog="shuhari envs", description=__doc__)
    parser.add_argument("--check", metavar="ID", help="say what is wrong with this environment")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    options = parser.parse_args(arguments)
    for trouble in load_plugins():
        print(f"shuhari: {trouble}", file=sys.stderr)
    if options.check is None:
        if options.arguments:
            parser.error("arguments belong to --check ID")
        table = [("environment", "what it is", "difficulty", "expert"), *rows()]
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        for row in table:
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            print("  ".join([*padded, row[3]]).rstrip())
        return 0
    try:
        given = arguments_of(options.arguments)
        open_env(options.check, given).close()
    except ValueError as error:
        print(f"shuhari: {error}", file=sys.stderr)
        return 2
    findings = check(options.check, given)
    for finding in findings:
        mark = "ok  " if finding.ok else "FAIL"
        print(f"{mark} {finding.name}{': ' if finding.detail else ''}{finding.detail}")
    return 0 if all(finding.ok for finding in findings) else 1
