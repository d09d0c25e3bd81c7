"""`shuhari new`: write a plug-in package, to be filled with a domain of one's own."""

import argparse
import keyword
import os
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from string import Template

import gymnasium

import shuhari.envs  # noqa: F401 (registers ours)
from shuhari.envs.registry import load_plugins
from shuhari.loops.cli.experiments import experiments
from shuhari.loops.cli.messages import fail

TEMPLATES = Path(__file__).parents[1] / "templates"
# By kind: what is said of the module that is to be changed.
KINDS = {
    "problem": "problems, the verifier that is their reward, and an expert who errs",
    "game": "the rules of a game for two, in OpenSpiel's words; its expert is a short tree search",
}
# By template, in `every/` or the kind's folder: where in the package it goes.
PLACES = {
    "README.md": "README.md",
    "pyproject.toml": "pyproject.toml",
    "__init__.py": "src/$name/__init__.py",
    "experiment.yaml": "src/$name/conf/experiment/$name.yaml",
    "test.py": "tests/test_$name.py",
}
NAME = re.compile(r"[a-z]([a-z0-9_]*[a-z0-9])?", re.ASCII)
MEANT_OTHERWISE = ("null", "true", "false", "yes", "no", "on", "off", "nan", "inf")  # in YAML or overrides


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for a name that cannot be used; then nothing is written."""
    parser = argparse.ArgumentParser(
        prog="shuhari new", description="Write a plug-in package into a new folder."
    )
    parser.add_argument("name", metavar="NAME", help="of the folder, the package and its experiment")
    parser.add_argument("--kind", choices=KINDS, default="problem", help="what its environment is (problem)")
    options = parser.parse_args(arguments)
    check_name(options.name, options.kind)
    written = write_package(Path(), options.name, options.kind)
    print("\n".join([f"{options.name}/ has", *(f"  {path}" for path in written)]))
    print("Install it, see that it is sound, and train:")
    for command in (f"pip install -e ./{options.name}", f"shuhari envs --check {id_of(options.name)}"):
        print(f"  {command}")
    print(f"  shuhari train experiment={options.name}")
    return 0


def id_of(name: str) -> str:
    """The id of the package's environment, such as two_words/TwoWords-v0."""
    return f"{name}/{''.join(word.capitalize() for word in name.split('_'))}-v0"


def check_name(name: str, kind: str) -> None:
    """End the command for a name that is no package's, or that something else has."""
    if not NAME.fullmatch(name):
        fail(f"{name!r}: a package's name has small letters, digits and _ alone, as in two_words")
    if keyword.iskeyword(name) or name in MEANT_OTHERWISE:
        fail(f"{name!r}: is a word of Python or YAML; choose another")
    if os.path.lexists(name):
        fail(f"{name}: there is such a file or folder here already")
    load_plugins()
    if has := [i for i, spec in gymnasium.registry.items() if spec.namespace == name]:
        fail(f"{name}: is taken, by the environment {has[0]}")
    if name in (known := experiments()):
        fail(f"{name}: is taken, by the experiment in {known[name]}")
    if _is_module(name):
        fail(f"{name}: is taken, by a module or package that is installed")
    if kind == "game":
        import pyspiel

        if name in pyspiel.registered_names():
            fail(f"{name}: is taken, by a game of OpenSpiel; shuhari/OpenSpiel-v0 game={name} plays it")


def _is_module(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        try:
            return find_spec(name) is not None
        except (ImportError, ValueError):  # it is loaded, and does not say from where
            return True
    return True


def write_package(parent: Path, name: str, kind: str) -> list[str]:
    """Write the package into the new folder `name`. Returns its files' paths in there."""
    values = {"name": name, "id": id_of(name), "parts": KINDS[kind]}
    files = {}
    for template, place in PLACES.items():
        folder = TEMPLATES / ("every" if (TEMPLATES / "every" / f"{template}.template").exists() else kind)
        text = (folder / f"{template}.template").read_text(encoding="utf-8")
        files[Template(place).substitute(values)] = Template(text).substitute(values)
    folder = parent / name
    try:
        folder.mkdir()
    except OSError as error:
        fail(f"{name}: cannot be made here: {error.strerror}")
    try:
        for place, text in files.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder)
        fail(f"{name}: cannot be written: {error.strerror}")
    return sorted(files)
