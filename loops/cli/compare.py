"""`shuhari compare`: rank a policy's answers; the pairs train it by the objective `preference`."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shuhari.envs import TaskEnv
from shuhari.loops.cli.messages import fail
from shuhari.loops.cli.players import Players, add_policy_options, open_text_env
from shuhari.loops.play.comparison_table import ComparisonTable
from shuhari.loops.play.pairs_file import ComparedPairs
from shuhari.loops.play.terminal import Terminal


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shuhari compare",
        description="Say which of two answers is better. What you have said is kept at once, and goes on.",
        epilog="example: shuhari compare shuhari/WordProblems-v0 --policy base --base smollm2",
    )
    parser.add_argument("env", help="the id of problems, as shuhari envs lists them")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    parser.add_argument("--policy", default="base", help="who answers: base, or an adapter's folder (base)")
    parser.add_argument("--out", type=Path, default=Path("pairs.jsonl"), help="the file (pairs.jsonl)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the answers (1)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="of an answer (256)")
    parser.add_argument("--seed", type=int, help="of problems and answers (another one each time)")
    add_policy_options(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for what the user got wrong."""
    options = _parser().parse_intermixed_args(arguments)
    for name, wrong in (
        ("seed", options.seed is not None and options.seed < 0),
        ("max_new_tokens", options.max_new_tokens < 1),
        ("temperature", not 0 < options.temperature < float("inf")),
    ):
        if wrong:
            least = "from 0" if name == "seed" else "above 0"
            fail(f"--{name.replace('_', '-')} {getattr(options, name):g}: a number {least}")
    if options.out.suffix != ".jsonl":
        fail(f"--out {options.out}: a file NAME.jsonl, to which lines are added")
    env = open_text_env(options.env, options.arguments)
    if not isinstance(env.unwrapped, TaskEnv) or env.unwrapped.history:
        fail(f"{options.env}: compare is for problems that are answered in one message")
    if options.policy in ("random", "expert", "perfect") or options.policy.startswith("search:"):
        fail(f"--policy {options.policy}: base or a folder of an adapter")
    try:
        kept = ComparedPairs(options.out)
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"--out {options.out}: {error.strerror}")
    _compare(env, kept, options)
    return 0


def _compare(env: Any, kept: ComparedPairs, options: argparse.Namespace) -> None:
    players = Players(env, [options.policy], options, 0)
    policy, renderer, adapter = players.language_model(options.policy)
    from shuhari.loops.play.policy_pairs import policy_pairs
    from shuhari.policy.inference.generator import Generator

    comparisons = policy_pairs(
        env,
        Generator(policy),
        renderer,
        adapter,
        kept.prompts,
        np.random.default_rng(options.seed),
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
    )
    terminal = Terminal()
    if kept.prompts:
        terminal.say(f"{len(kept.prompts)} problems were compared before; here are others.")
    try:
        ComparisonTable(comparisons, kept, terminal).play()
    except (ValueError, OSError) as error:
        fail(str(error))
    finally:  # Ctrl-C ends it too, and nothing is lost
        terminal.say(f"{kept.pairs.added} pairs were added to {options.out}, and {kept.ties.added} ties.")
    if kept.pairs.added:
        terminal.say("To train on them:")
        terminal.show(shlex.join(training(options, players.base_of(options.policy))))


def training(options: argparse.Namespace, base: str) -> list[str]:
    """The command that trains the policy on the pairs: the words of a shell."""
    words = ["shuhari", "train", f"env={options.env}", *(f"env_args.{pair}" for pair in options.arguments)]
    words += ["name=compared", f"policy.base={base}", "only=[compare]"]
    words += ["+phase@phases.compare=ranked_pairs", f"phases.compare.pairs={options.out}"]
    if options.policy != "base":
        words += [f"adapter={options.policy}", f"phases.compare.objective.reference={options.policy}"]
    return words
