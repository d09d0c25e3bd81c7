"""docs/tutorial.md does what it says: its code keeps the contract, its commands train (long)."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import pytest
from generated_pages import configuration

import shuhari
from shuhari.envs.env_checker import check_environment
from shuhari.loops.cli.config_help import described, sections
from shuhari.loops.cli.new import main
from shuhari.loops.config import CONF

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text()
((PLACE, CODE),) = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
followed = pytest.mark.skipif(
    find_spec("ascending") is not None, reason="its package is installed here already"
)


@followed
def test_its_code_goes_where_it_says_and_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[0].split("\n")[0]
    assert main(command.removeprefix("shuhari new ").split()) == 0
    assert (tmp_path / PLACE).exists()
    names = ("generate", "verify", "expert", "solution", "register_env")
    assert all(name in (tmp_path / PLACE).read_text() for name in names)
    (tmp_path / PLACE).write_text(CODE)
    source = str((tmp_path / PLACE).parents[1])
    monkeypatch.syspath_prepend(source)
    try:
        findings = check_environment("ascending:ascending/Ascending-v0")
    finally:
        gymnasium.registry.pop("ascending/Ascending-v0", None)
        sys.modules.pop("ascending", None)
    assert [finding.name for finding in findings if not finding.ok] == []


def test_the_page_of_the_configuration_has_every_key_and_experiment() -> None:
    page = configuration()
    for prefix, _, keys in sections():
        for key in keys:
            assert f"| `{prefix}{key.name}` |" in page
    assert all(f"| `{name}` |" in page for name in described((CONF / "experiment").glob("*.yaml")))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Its `shuhari`, `pip` and `python` are a new virtual environment's, which has all that this one has."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = [str(Path(shuhari.__file__ or "").parents[1]), sysconfig.get_path("purelib")]
    (site / "shared.pth").write_text("\n".join(shared))
    python = folder / "bin" / "python"
    for name, command in {
        "shuhari": f'{python} -P -m shuhari.loops.cli.main "$@"',
        "pip": f'{python} -m pip "$@" --quiet --no-deps --no-build-isolation',
    }.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\nexec {command}\n")
        (folder / "bin" / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


@followed
@pytest.mark.long
def test_its_commands_go_from_an_empty_folder_to_a_policy_that_is_taken_along(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    printed = ""
    for i, block in enumerate(COMMANDS):
        dates = [path.name for path in folder.glob("runs/ascending/*")]
        done = subprocess.run(
            ["sh", "-ec", block.replace("DATE", dates[0] if dates else "DATE")],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, block + done.stdout + done.stderr
        printed += done.stdout
        if i == 0:
            (folder / PLACE).write_text(CODE)
    for line in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0].splitlines():
        assert line in printed
    assert printed.rstrip().endswith("0179")
    (run,) = folder.glob("runs/ascending/*")
    assert (run / "report.html").exists()
    players = json.loads((run / "report.json").read_text())["players"]
    assert players["selfplay"]["ci95"]["greedy"][0] > players["expert"]["greedy"]
