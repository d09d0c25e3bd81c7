"""The command line: `shuhari train | pretrain | imitate | selfplay | evaluate` (Hydra), and plain commands.

Whatever a user gets wrong is answered in one line on standard error, with exit status 2. Heavy imports wait
until a command is known.
"""

import difflib
import os
import re
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from shuhari.loops.failure import only_one_speaks, started

COMMANDS = {
    "train": "both phases, then a report: imitate the expert, then self-play",
    "imitate": "phase 1 alone",
    "selfplay": "phase 2 alone, from the base or from adapter=PATH",
    "evaluate": "measure adapter=PATH (or the base) beside the reference players",
    "pretrain": "make a tiny base from unlabelled text of the environments",
}
ANSWER_AT_ONCE = {
    "envs": "list the environments, or check one, anyone's: --check ID",
    "generate": "sample completions of a prompt from a checkpoint",
    "verify": "judge answers by gold answers, from JSON lines or --answer and --gold",
}
CONF = Path(__file__).parent.parent / "conf"
INTERRUPTED = 130
USUAL_WARNING = warnings.formatwarning
TAUGHT_NOTHING = 3
LAST_WORD = 5.0  # seconds in which the first of several ranks has failed as well, and said why


def _usage() -> str:
    texts = COMMANDS | ANSWER_AT_ONCE
    lines = [f"  {name:<10} {text}" for name, text in texts.items()]
    return "\n".join(
        [
            "usage: shuhari COMMAND [key=value ... | --options]",
            *lines,
            "examples:",
            "  shuhari train experiment=addition seed=1",
            "  shuhari train resume=runs/tic_tac_toe/2026-01-31_12-00-00",
            "  shuhari train name=NAME env=MODULE:ID policy.base=FOLDER",
            "  shuhari train --cfg job        (the configuration; --help for more)",
            "  shuhari verify --answer '\\frac{2}{4}' --gold 1/2",
        ]
    )


def _fail(message: str, told: bool = False) -> NoReturn:
    """`told`: the ranks have met, and the first of them says it."""
    if started()[0] and not told:
        time.sleep(LAST_WORD)  # torchrun ends this process as soon as the first rank has said it and ended
        sys.stderr = sys.__stderr__
    print(f"shuhari: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _suggest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"


def _leaves(node: Any, prefix: str = "") -> list[str]:
    """Every dotted key of a nested dictionary."""
    keys = []
    for key, value in node.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _leaves(value, f"{prefix}{key}.")
    return keys


def _known_keys(schema: type, key: str) -> list[str]:
    """What may have been meant by a key: those of a run, and those that its phase could have."""
    from dataclasses import asdict

    from shuhari.loops.config import ALGORITHMS, TrainConfig

    keys = _leaves(asdict(schema())) + [path.name for path in CONF.iterdir() if path.is_dir()]
    named = key.split(".")[1:2] if key.startswith("phases.") else ["imitate", "selfplay"]
    for phase in named if schema is TrainConfig else ():
        keys += [k for kind in ALGORITHMS.values() for k in _leaves(asdict(kind()), f"phases.{phase}.")]
    return keys


def _explain(error: Exception, schema: type) -> str:
    """One line for what Hydra and OmegaConf say in many."""
    from shuhari.loops.config import ALGORITHMS
    from shuhari.loops.learn.objectives import OBJECTIVES

    text = str(error)
    chain = f"{text} {error.__cause__ or ''}"
    if missing := re.search(r"missing mandatory value: (\S+)\s+full_key: (\S+)", chain):
        return f"{missing.group(2)}: must be given, as in {missing.group(2)}=..."
    if args := re.search(
        r"Could not override '((?:phases\.\w+\.)?env_args)'.*?Key '([^']+)'", chain, re.DOTALL
    ):
        return f"{args.group(1)}: give its keys one by one, as in {args.group(1)}.{args.group(2)}=3"
    if missing := re.search(r"In '[^']*': Could not find '(\w+)/([^']+)'", text):
        group, choice = missing.groups()
        options = {"phase": list(ALGORITHMS), "objective": list(OBJECTIVES)}.get(group)
        options = options or [path.stem for path in (CONF / group).glob("*.yaml")]
        return f"{group}={choice}: there is no such {group}; {_suggest(choice, options)}"
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", chain):
        full = re.search(r"full_key: (\S+)", chain)
        key = unknown.group(1) or (full.group(1) if full else unknown.group(2))
        known = _known_keys(schema, key)
        if key in known:  # the user's, or the experiment's own value of it
            lacks = "there is no such phase, or its algorithm and objective have no such option"
            return f"{key}: {lacks}; --cfg job shows those there are"
        return f"{key}: there is no such key; {_suggest(key, known)}"
    if group_word := re.search(r"Could not find '([^']+)'", chain):
        return f"{group_word.group(1)}: not found; {_suggest(group_word.group(1), _known_keys(schema, ''))}"
    if bad := re.search(r"(Value '.*?' .*?)\n\s+full_key: (\S+)", chain, re.DOTALL):
        return f"{bad.group(2)}: {bad.group(1)}"
    return text.splitlines()[0] if text else type(error).__name__


def _as_hydra_reads(arguments: list[str]) -> list[str]:
    """Overrides whose values Hydra's grammar refuses, such as `game=go(board_size=2)`, as texts in quotes.

    What begins as a list, a dictionary or a text in quotes is left alone: there something is missing.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    parser = OverridesParser.create()

    def quoted(key: str, value: str) -> str:
        try:
            parser.parse_override(f"{key}={value}")
        except HydraException:
            return str(QuotedString(value, Quote.single).with_quotes())
        return value

    def readable(argument: str) -> str:
        key, equals, value = argument.partition("=")
        if not equals or key.startswith("-") or value[:1] in tuple("[{'\""):
            return argument
        if quoted(key, value) == value:
            return argument
        # Several, separated by commas that stand in no brackets, are a sweep.
        parts = re.findall(r"(?:[^,()]|\((?:[^()]|\([^()]*\))*\))+", value)
        whole = ",".join(parts) == value and all(
            re.fullmatch(r"\w+(\(.*\))?", part.strip()) for part in parts
        )
        return f"{key}={','.join(quoted(key, part) for part in (parts if whole else [value]))}"

    return [readable(argument) for argument in arguments]


def _experiment_for(arguments: list[str]) -> list[str]:
    """For an environment given without an experiment: the one whose phases suit it, and say so."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    given: dict[str, Any] = {}
    for argument in arguments:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:  # which Hydra will say
            continue
        swept = override.is_sweep_override()
        value = next(override.sweep_iterator()) if swept else override.value()
        given[override.key_or_group] = getattr(value, "text", value)
    if "env" not in given or "experiment" in given:
        return []
    from shuhari.loops.build import experiment_for

    env_args = {k.partition(".")[2]: v for k, v in given.items() if re.match(r"env_args\.\w+$", k)}
    try:
        experiment = experiment_for(given["env"], env_args)
    except ValueError as error:
        _fail(str(error))
    print(f"shuhari: env={given['env']}: taking experiment={experiment}", file=sys.stderr)
    return [f"experiment={experiment}"]


def _command(name: str, cfg: Any) -> None:
    """Run one command on its typed configuration; a user's mistake ends it in one line."""
    from shuhari.loops import pretrain, train
    from shuhari.loops.run import Interrupted

    try:
        if name == "pretrain":
            cfg.command = cfg.command or " ".join(sys.argv)
            pretrain.pretrain(cfg)
        elif name == "evaluate":
            train.evaluate(cfg)
        elif train.train(cfg)["failures"]:
            sys.exit(TAUGHT_NOTHING)  # the report says why, and what to do
    except Interrupted as stop:
        print(f"shuhari: {stop}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        print("shuhari: stopped at once; a run of train goes on from its last checkpoint", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError, FloatingPointError) as error:
        _fail(str(error), told=True)


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of ours is for a person, and in one line; those of others stay as they are."""
    ours = category.__module__.startswith("shuhari.")
    return f"shuhari: {message}\n" if ours else USUAL_WARNING(message, category, filename, lineno, line)


def main() -> None:
    """Entry point of `shuhari`."""
    warnings.formatwarning = _warned
    only_one_speaks()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help", "help"):
        print(_usage())
        sys.exit(0 if name else 2)
    if name == "--version":
        from shuhari import __version__

        print(f"shuhari {__version__}")
        return
    if name in ANSWER_AT_ONCE:
        sys.exit(import_module(f"shuhari.loops.cli.{name}").main(sys.argv[2:]))
    if name not in COMMANDS:
        _fail(f"{name!r} is not a command; {_suggest(name, [*COMMANDS, *ANSWER_AT_ONCE])}")
    if name == "pretrain" and started()[1] > 1:
        _fail("pretrain is of one process: start it without torchrun")
    arguments = sys.argv[2:]
    if name in ("imitate", "selfplay"):
        arguments.insert(0, f"only=[{name}]")
    if any(argument.startswith("phases=") for argument in arguments):
        _fail("phases=...: phases are named, and each has options; to run some of them: only=[imitate]")
    if any(argument.startswith("resume=") for argument in arguments):
        if name in ("evaluate", "pretrain"):
            _fail(f"resume= is not for {name}: a run goes on with shuhari train resume=FOLDER")
        others = [a for a in arguments if not a.startswith(("resume=", "only="))]
        if others:
            _fail(f"resume= goes on with the run's own configuration: leave out {' '.join(others)}")
    # An env's arguments are its own: Hydra cannot know them beforehand, which "++" tells it.
    arguments = [f"++{a}" if re.match(r"(phases\.\w+\.)?env_args\.", a) else a for a in arguments]
    # Hydra prints its own errors and exits with 1 unless this is set before it is imported.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # OpenMP threads that spin while they wait make two busy cores many times slower than one; this
    # short a spin costs an idle machine nothing. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # Without it cuBLAS has no deterministic products, which a seed that gives one adapter needs.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from shuhari.loops.config import PretrainConfig, TrainConfig, store_types

    store_types(ConfigStore.instance())
    arguments = _as_hydra_reads(arguments)
    if name != "pretrain" and not any(a.startswith("resume=") for a in arguments):
        arguments = _experiment_for(arguments) + arguments  # argparse takes none behind an option's value
    config_name, schema = ("pretrain", PretrainConfig) if name == "pretrain" else ("train", TrainConfig)
    sys.argv = [f"shuhari {name}", *arguments]

    @hydra.main(  # type: ignore[untyped-decorator]
        version_base="1.3", config_path=str(CONF), config_name=config_name
    )
    def app(cfg: Any) -> None:
        try:
            typed = OmegaConf.to_object(cfg)
        except OmegaConfBaseException as error:  # Hydra would add a line of its own
            _fail(_explain(error, schema))
        _command(name, typed)

    try:
        app()
    except OverrideParseException as error:
        _fail(f"{error.override}: cannot be read as key=value")
    except (HydraException, OmegaConfBaseException) as error:
        _fail(_explain(error, schema))


if __name__ == "__main__":
    main()
