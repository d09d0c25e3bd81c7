"""The command line: `shuhari COMMAND`.

Hydra reads the overrides of the training commands (`hydra_commands.py`). The plain commands have a file each
and answer at once. Heavy imports wait until a command is known.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import NoReturn

from shuhari.loops.cli.messages import INTERRUPTED, fail, format_warning, suggest
from shuhari.loops.rank_failure import launched_rank_and_size, only_one_speaks

HYDRA_COMMANDS = {
    "train": "both phases, then a report: imitate the expert, then self-play",
    "imitate": "phase 1 alone",
    "selfplay": "phase 2 alone, from the base or from adapter=PATH",
    "evaluate": "measure adapter=PATH (or the base) beside the reference players",
    "pretrain": "make a tiny base from unlabelled text of the environments",
}
PLAIN_COMMANDS = {
    "arena": "let players of a game meet: a cross-table, and Elo with intervals",
    "compare": "say which of two answers is better: pairs that train by preference",
    "doctor": "say what this machine has, what will run on it, and what is missing",
    "envs": "list the environments, or check one, anyone's: --check ID",
    "export": "take an adapter along: for PEFT, merged, or as two files that need NumPy only",
    "generate": "sample completions of a prompt from a checkpoint",
    "monitor": "watch a run, or all of them, in TensorBoard",
    "new": "write a plug-in package to fill: an environment or a game, its test and its experiment",
    "play": "sit against any player of a game, or answer problems beside a policy",
    "prepare": "make a named base of a GGUF file, for policy.base=NAME",
    "report": "write one HTML page of a run, or of several beside one another",
    "validate": "say what a run of an environment would meet: answers, duplicates, lengths in tokens",
    "verify": "judge answers by gold answers, from JSON lines or --answer and --gold",
}


def main() -> None:
    """Entry point of `shuhari`."""
    warnings.formatwarning = format_warning
    only_one_speaks()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help", "help"):
        _answer(partial(_print_usage, status=0 if name else 2))
    if name == "--version":
        _answer(_print_version)
    if name in PLAIN_COMMANDS:
        _answer(lambda: int(import_module(f"shuhari.loops.cli.{name}").main(sys.argv[2:])))
    if name not in HYDRA_COMMANDS:
        fail(f"{name!r} is not a command; {suggest(name, [*HYDRA_COMMANDS, *PLAIN_COMMANDS])}")
    if name == "pretrain" and launched_rank_and_size()[1] > 1:
        fail("pretrain runs in one process: start it without torchrun")
    if {"-h", "--help"} & set(sys.argv[2:]):
        text = HYDRA_COMMANDS[name]
        _answer(lambda: int(import_module("shuhari.loops.cli.config_help").main(name, text)))
    # Hydra prints its own errors and exits with 1 unless this is set before it is imported.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # OpenMP threads that spin while they wait make two busy cores many times slower than one; this
    # short a spin costs an idle machine nothing. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # Without it cuBLAS has no deterministic products, which a seed that gives one adapter needs.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import_module("shuhari.loops.cli.hydra_commands").run(name, sys.argv[2:])


def _answer(command: Callable[[], int]) -> NoReturn:
    """Run a plain command and exit with its status."""
    status = 0
    try:
        try:
            status = command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as in `shuhari envs | head -3`. Python flushes standard output once more
        # when it exits, and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would end it without its status
        status = INTERRUPTED
    sys.exit(status)


def _print_version() -> int:
    from shuhari import __version__

    print(f"shuhari {__version__}")
    return 0


def _print_usage(status: int) -> int:
    print("usage: shuhari COMMAND [key=value ... | --options]")
    for name, text in (HYDRA_COMMANDS | PLAIN_COMMANDS).items():
        print(f"  {name:<10} {text}")
    print("examples:")
    print("  shuhari train experiment=addition seed=1")
    print("  shuhari train resume=runs/tic_tac_toe/2026-01-31_12-00-00")
    print("  shuhari train name=NAME env=MODULE:ID policy.base=FOLDER")
    print("  shuhari train --cfg job        (the configuration; --help for more)")
    print("  shuhari verify --answer '\\frac{2}{4}' --gold 1/2")
    return status


if __name__ == "__main__":
    main()
