"""The pages that are made from the code: configuration, commands, environments.

`hooks.py` gives them to MkDocs. `python docs/site/generated_pages.py configuration.md` prints one.
"""

import html
import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib import import_module
from unittest.mock import patch

import gymnasium
import numpy as np
import yaml

from shuhari.envs.text_env import TextEnv
from shuhari.loops.cli import config_help
from shuhari.loops.cli.config_help import Key, described, sections
from shuhari.loops.cli.envs import rows
from shuhari.loops.cli.main import HYDRA_COMMANDS, PLAIN_COMMANDS
from shuhari.loops.config import CONF, PretrainConfig

WIDTH = "80"  # columns of --help


def configuration() -> str:
    """Experiments, and every key of the configuration with its default and its line."""
    ours = described((CONF / "experiment").glob("*.yaml"))
    parts = [
        "# Configuration",
        "A key is set on the command line, `shuhari train experiment=addition seed=1 policy.rank=32`, or in "
        "an experiment of your own. `shuhari train experiment=addition --cfg job` prints what a run would "
        "use, `shuhari train --help` what this page says.",
        "An experiment names its phases and chooses an algorithm and an objective for each: "
        "`phase@phases.NAME=ALGORITHM`, `objective@phases.NAME.objective=OBJECTIVE`. Behind a key stands its "
        "default, which experiments may change.",
        "## Experiments",
        _table(
            ("`experiment=`", "what it is"),
            ((f"`{n}`", t) for n, t in ours.items()),
        ),
    ]
    for prefix, title, keys in sections():
        short, _, rest = title.partition(". ")
        parts += [f"## Keys {short}", rest, _keys(prefix, keys)]
    parts += ["## Keys of pretrain", _keys("", config_help.keys(PretrainConfig))]
    recipes = ((f"`{n}`", t) for n, t in described((CONF / "recipe").glob("*.yaml")).items())
    parts += ["## Recipes of pretrain", _table(("`recipe=`", "what it is"), recipes)]
    return _page(parts)


def commands() -> str:
    """Every command, with what `--help` says of it."""
    parts = [
        "# Commands",
        "`shuhari COMMAND`. Training commands take `key=value` ([Configuration](configuration.md)), the "
        "others `--options`. A mistake of yours is answered in one line, with exit status 2.",
        "## Training",
    ]
    for name, text in HYDRA_COMMANDS.items():
        examples = "\n".join(config_help.EXAMPLES[name])
        parts += [f"### shuhari {name}", f"{_sentence(text)}", f"```sh\n{examples}\n```"]
    parts.append("## All others")
    for name, text in PLAIN_COMMANDS.items():
        parts += [f"### shuhari {name}", _sentence(text), f"```text\n{help_of(name)}\n```"]
    return _page(parts)


def help_of(name: str) -> str:
    """What `shuhari NAME --help` prints."""
    printed = io.StringIO()
    with patch.dict(os.environ, COLUMNS=WIDTH, NO_COLOR="1"), redirect_stdout(printed), suppress(SystemExit):
        import_module(f"shuhari.loops.cli.{name}").main(["--help"])
    return printed.getvalue().strip()


def environments() -> str:
    """Every registered environment of ours: instructions, arguments, expert, an example, experiments."""
    parts = [
        "# Environments",
        "`shuhari envs` prints this list, with yours in it; `shuhari envs --check ID` says whether one keeps "
        "the contract. Games of OpenSpiel, environments of Gymnasium and your own go the same way: "
        "[Your domain](plugging-in.md).",
    ]
    trained = dict[str, list[str]]()
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        if env := yaml.safe_load(path.read_text(encoding="utf-8")).get("env"):
            trained.setdefault(env, []).append(f"`experiment={path.stem}`")
    ours = [row[0] for row in rows() if row[0].startswith("shuhari/")]
    kinds: dict[str, list[str]] = {"Problems": [], "Games": [], "Gymnasium's": []}
    for env_id in ours:
        env = gymnasium.make(env_id).unwrapped
        module = type(env).__module__
        kind = "Games" if ".games." in module else "Gymnasium's" if "gymnasium" in module else "Problems"
        kinds[kind].append(_environment(env_id, env, trained.get(env_id, [])))
    for kind, found in kinds.items():
        parts += [f"## {kind}", *found]
    return _page(parts)


def _environment(env_id: str, env: gymnasium.Env, experiments: list[str]) -> str:
    assert isinstance(env, TextEnv)
    lines = [f"### {env_id.removeprefix('shuhari/')}", "", f"<p>{html.escape(env.instructions)}</p>", ""]
    if env.arguments_description:
        lines.append(f"- Arguments: {env.arguments_description}")
    if env.expert_description != "none":
        lines.append(f"- Expert: {env.expert_description}")
    if experiments:
        lines.append(f"- Trained by: {', '.join(experiments)}")
    try:
        observation, _ = env.reset(seed=0)
    except Exception as error:  # one that needs an argument says which
        lines.append(f"- As it is: {error}")
        return "\n".join(lines)
    shown = [f"observation:  {_indented(observation)}"]
    if traces := env.expert_traces(1, np.random.default_rng(0)):
        shown = [
            f"observation:  {_indented(traces[0].prompt)}",
            f"expert:       {_indented(traces[0].completion)}",
        ]
    return "\n".join([*lines, "", "```text", *shown, "```"])


def _indented(text: str) -> str:
    return text.rstrip("\n").replace("\n", "\n" + " " * 14)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _keys(prefix: str, keys: list[Key]) -> str:
    return _table(
        ("key", "default", "what it is"),
        ((f"`{prefix}{k.name}`", f"`{k.default}`" if k.default else "", k.text) for k in keys),
    )


def _table(head: tuple[str, ...], body: Iterator[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in body)])


def _cell(text: str) -> str:
    """Text of a table's cell: no bar, tag or star in it means anything."""
    plain = text.replace("|", "\\|")
    return plain if text.startswith("`") else html.escape(plain, quote=False).replace("*", "\\*")


def _page(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


PAGES = {"configuration.md": configuration, "commands.md": commands, "environments.md": environments}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
