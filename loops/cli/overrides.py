"""From what a person types to overrides that Hydra takes."""

import re
import sys
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from shuhari.loops.cli.messages import fail


def overrides_of(command: str, arguments: list[str]) -> list[str]:
    """Overrides for one of the Hydra commands. Whatever makes no sense together ends it in one line."""
    if command in ("imitate", "selfplay"):
        arguments = [f"only=[{command}]", *arguments]
    if any(argument.startswith("phases=") for argument in arguments):
        fail("phases=...: phases are named, and each has options; to run some of them: only=[imitate]")
    resumed = any(argument.startswith("resume=") for argument in arguments)
    if resumed:
        if command in ("evaluate", "pretrain"):
            fail(f"resume= is not for {command}: a run goes on with shuhari train resume=FOLDER")
        if others := [a for a in arguments if not a.startswith(("resume=", "only="))]:
            fail(f"resume= goes on with the run's own configuration: leave out {' '.join(others)}")
    # Hydra does not know the arguments of an environment or of a chat template. "++" makes it take any.
    free = re.compile(r"(phases\.\w+\.)?env_args\.|policy\.template(\.|=\{)")
    arguments = [f"++{a}" if free.match(a) else a for a in arguments]
    arguments = quote_values(arguments)
    if command != "pretrain" and not resumed:
        # At the front, because argparse takes no override that follows the value of an option.
        arguments = experiment_override(arguments) + arguments
    return arguments


def quote_values(arguments: list[str]) -> list[str]:
    """Put values in quotes that Hydra's grammar refuses, such as `game=go(board_size=2)`.

    A value that begins a list, a dictionary or a quoted text is left alone: its end is missing.
    """
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
        # Values that are separated by commas outside brackets are a sweep: each one is quoted by itself.
        parts = re.findall(r"(?:[^,()]|\((?:[^()]|\([^()]*\))*\))+", value)
        is_sweep = ",".join(parts) == value and all(
            re.fullmatch(r"\w+(\(.*\))?", part.strip()) for part in parts
        )
        return f"{key}={','.join(quoted(key, part) for part in (parts if is_sweep else [value]))}"

    return [readable(argument) for argument in arguments]


def experiment_override(arguments: list[str]) -> list[str]:
    """For an environment that is given without an experiment: the experiment whose phases suit it."""
    given: dict[str, Any] = {}
    for argument in arguments:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:  # Hydra will report it
            continue
        swept = override.is_sweep_override()
        value = next(override.sweep_iterator()) if swept else override.value()
        given[override.key_or_group] = getattr(value, "text", value)
    if "env" not in given or "experiment" in given:
        return []
    from shuhari.loops.house import experiment_for

    env_args = {k.partition(".")[2]: v for k, v in given.items() if re.match(r"env_args\.\w+$", k)}
    try:
        experiment = experiment_for(given["env"], env_args, str(given.get("policy.base", "")))
    except ValueError as error:
        fail(str(error))
    print(f"shuhari: env={given['env']}: taking experiment={experiment}", file=sys.stderr)
    return [f"experiment={experiment}"]
