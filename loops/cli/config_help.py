"""`--help` of the training commands: experiments, and every key with its default and a line of text.

The texts are the comments in `loops/config.py`, so that a key has one description.
"""

import ast
import inspect
import io
import shutil
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from shuhari.loops import config
from shuhari.loops.cli.experiments import experiments
from shuhari.loops.config import (
    ALGORITHMS,
    CONF,
    GroupsConfig,
    PhaseConfig,
    PolicyConfig,
    PretrainConfig,
    TrainConfig,
)
from shuhari.loops.learn import objectives
from shuhari.loops.learn.objectives import OBJECTIVES

FIXED = ("algorithm", "objective", "name")  # chosen by a group, not by a key of its own
EXAMPLES = {
    "train": (
        "shuhari train                                   (tic-tac-toe)",
        "shuhari train experiment=addition seed=1 policy.rank=32",
        "shuhari train name=NAME env=MODULE:ID policy.base=FOLDER phases.imitate.steps=100",
        "shuhari train -m seed=0,1,2                     (one run after another)",
        "shuhari train resume=runs/addition/DATE",
    ),
    "imitate": ("shuhari imitate experiment=legs phases.imitate.steps=100",),
    "selfplay": ("shuhari selfplay experiment=addition adapter=runs/addition/DATE/adapter-imitation",),
    "evaluate": ("shuhari evaluate experiment=addition adapter=runs/addition/DATE/adapter-selfplay",),
    "pretrain": ("shuhari pretrain recipe=games out=mine", "shuhari pretrain recipe=math steps=100 out=mine"),
}
PHASES = (
    "An experiment names its phases, such as imitate and selfplay, and chooses their algorithms and losses: "
    f"phase@phases.NAME={{{', '.join(ALGORITHMS)}}} and objective@phases.NAME.objective="
    f"{{{', '.join(OBJECTIVES)}}}. Behind a key stands its default, which experiments may change."
)


@dataclass(frozen=True)
class Key:
    """A key of the configuration. default: as it is written on a command line; "" where it must be given."""

    name: str
    default: str
    text: str


@cache
def _comments(module: Any) -> dict[int, tuple[str, bool]]:
    """By line of a module: its comment, and whether it stands alone."""
    found, source = {}, inspect.getsource(module)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            found[token.start[0]] = token.string.lstrip("# "), alone
    return found


@cache
def _texts(cls: type) -> dict[str, str]:
    """The comments on a class's own fields: those above a field, and those beside it."""
    module = inspect.getmodule(cls)
    assert module is not None
    comments, tree = _comments(module), ast.parse(inspect.getsource(module))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
    texts = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first, last = node.lineno, node.end_lineno or node.lineno
            above, line = list[str](), first - 1
            while line in comments and comments[line][1]:
                above.insert(0, comments[line][0])
                line -= 1
            beside = [comments[n][0] for n in range(first, last + 1) if n in comments]
            texts[node.target.id] = " ".join(above + beside)
    return texts


def keys(cls: type, own: bool = False) -> list[Key]:
    """The keys of a type. `own`: only those that its parent does not have."""
    texts = {name: text for parent in reversed(cls.__mro__[:-1]) for name, text in _texts_of(parent).items()}
    inherited = {f.name for f in fields(cls.__mro__[1])} if own else set()
    found = []
    for field in fields(cls):
        if field.name in inherited or (field.name in FIXED and cls is not TrainConfig):
            continue
        value = field.default if field.default is not REQUIRED else None
        if value is None and field.default_factory is not REQUIRED:
            value = "" if field.name == "threads" else field.default_factory()
        found.append(Key(field.name, _as_written(value), texts.get(field.name, "")))
    return found


def _texts_of(cls: type) -> dict[str, str]:
    return _texts(cls) if cls.__module__ in (config.__name__, objectives.__name__) else {}


def _as_written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value == MISSING or isinstance(value, PolicyConfig) else str(value).replace("'", "")


def sections() -> Iterator[tuple[str, str, list[Key]]]:
    """The keys of a run in groups: the prefix of their names, what they are of, and they."""
    yield "", "of the run", [k for k in keys(TrainConfig) if k.name not in ("policy", "phases")]
    yield "policy.", "of the model", keys(PolicyConfig)
    yield "phases.NAME.", "of every phase", keys(PhaseConfig)
    yield "phases.NAME.", f"of phases that sample. {_first_line(GroupsConfig)}", keys(GroupsConfig, own=True)
    for name, cls in ALGORITHMS.items():
        yield "phases.NAME.", f"of phases with {name}. {_first_line(cls)}", keys(cls, own=True)
    for name, objective in OBJECTIVES.items():
        if found := keys(objective.config):
            yield "phases.NAME.objective.", f"of objective {name}", found


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def described(files: Iterable[Path]) -> dict[str, str]:
    """Configuration files by their names, with the comment that each begins with."""
    found = {}
    for path in sorted(files, key=lambda path: path.stem):
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        comment = []
        for line in lines:
            if not line.startswith("#"):
                break
            comment.append(line.lstrip("# "))
        found[path.stem] = " ".join(comment)
    return found


def main(command: str, usage: str) -> int:
    """Print the help of a training command, as wide as the terminal."""
    width = max(40, min(110, shutil.get_terminal_size().columns))
    print(f"usage: shuhari {command} [key=value ...]")
    print(textwrap.fill(usage[0].upper() + usage[1:] + ".", width))
    print("\nexamples:")
    for example in EXAMPLES[command]:
        print(f"  {example}")
    if command == "pretrain":
        _print(
            "\nrecipes: recipe=NAME",
            [*described((CONF / "recipe").glob("*.yaml")).items()],
            width,
        )
        _print("\nkeys", [(_name("", k), k.text) for k in keys(PretrainConfig)], width)
        return 0
    _print(
        "\nexperiments: experiment=NAME",
        [*described(experiments().values()).items()],
        width,
    )
    print(f"\n{textwrap.fill(PHASES, width)}")
    for prefix, title, found in sections():
        _print(f"\nkeys {title}", [(_name(prefix, key), key.text) for key in found], width)
    print()
    print(textwrap.fill("The configuration of a run: --cfg job. Hydra's own options: --hydra-help.", width))
    return 0


def _name(prefix: str, key: Key) -> str:
    return f"{prefix}{key.name}" + (f"={key.default}" if key.default else "")


def _print(title: str, rows: list[tuple[str, str]], width: int) -> None:
    """Names in a column and texts beside them, or below where there is no room."""
    print(textwrap.fill(title.lstrip("\n"), width, initial_indent="\n" * title.startswith("\n")))
    column = min(max(len(name) for name, _ in rows) + 4, width // 2)
    for name, text in rows:
        lines = textwrap.wrap(text, max(20, width - column)) or [""]
        head = f"  {name}"
        if len(head) + 2 > column:
            print(head)
        else:
            print(f"{head:<{column}}{lines.pop(0)}".rstrip())
        for line in lines:
            print(f"{'':<{column}}{line}".rstrip())
