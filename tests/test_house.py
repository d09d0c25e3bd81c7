"""The walls of the house: import direction, names that must not leak, what a wheel holds."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {
    "rewards": set(),
    "kernels": set(),
    "envs": {"rewards"},
    "policy": {"envs", "kernels", "rewards"},
    "loops": {"envs", "kernels", "policy", "rewards"},
}
WITHOUT_TORCH = ("rewards", "envs")


def imports(path: Path) -> set[str]:
    """Every absolute module name a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("floor", BELOW)
def test_imports_go_down_only(floor: str) -> None:
    allowed = BELOW[floor] | {floor}
    files = list((ROOT / floor).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            assert parts[0] not in BELOW, f"{path.name} imports {name} as a top-level package"
            if parts[0] == "shuhari" and len(parts) > 1 and parts[1] in BELOW:
                assert parts[1] in allowed, f"{floor}/{path.name} imports {name}"
            if floor in WITHOUT_TORCH:
                assert parts[0] != "torch", f"{floor}/{path.name} imports torch"


def test_files_stay_short() -> None:
    for floor in BELOW:
        for path in (ROOT / floor).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path
    assert len((ROOT / "loops" / "train.py").read_text().splitlines()) <= 200


# By room: the modules of its own floor that a room may import.
ROOMS = {
    "loops/learn": ("loops.learn", "loops.config_checks", "loops.distributed"),
    "loops/collect": (
        "loops.collect",
        "loops.learn.batch",
        "loops.learn.judge",
        "loops.learn.replay",
        "loops.config",
        "loops.distributed",
    ),
    "loops/evaluate": ("loops.evaluate", "loops.collect.rollout", "loops.collect.validation"),
    "loops/report": ("loops.report", "loops.evaluate.evaluation"),
    "loops/report_page": ("loops.report_page", "loops.evaluate.skill_curve"),
    "policy/model": ("policy.model",),
}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    """So training never reads evaluation, and nothing below the command line reads the command line."""
    files = list((ROOT / room).rglob("*.py"))
    assert files
    floor = room.partition("/")[0]
    for path in files:
        for name in imports(path):
            if name.startswith(f"shuhari.{floor}."):
                allowed = tuple(f"shuhari.{module}" for module in ROOMS[room])
                assert name.startswith(allowed), f"{path.name} imports {name}"


def test_training_sees_no_solver_and_the_learner_no_environment() -> None:
    for room in ("collect", "learn"):
        for path in (ROOT / "loops" / room).rglob("*.py"):
            for name in imports(path):
                assert not name.endswith(("optimal_moves", "nash_conv", "equilibrium")), f"{path}: {name}"
                assert room != "learn" or not name.startswith("shuhari.envs"), f"{path} imports {name}"


def test_only_the_command_line_knows_the_command_line() -> None:
    for floor in BELOW:
        for path in (ROOT / floor).rglob("*.py"):
            if path.parent != ROOT / "loops" / "cli":
                assert not any(name.startswith("shuhari.loops.cli") for name in imports(path)), path


PHASES = ("imitate", "selfplay", "harder")
# The files of loops/ that may choose by what a thing is: they read the configuration, or what a person types.
BUILDERS = {
    "build.py",
    "house.py",
    "config.py",
    "config_checks.py",
    *(f"cli/{p.name}" for p in (ROOT / "loops/cli").glob("*.py")),
}


def kinds_asked(tree: ast.AST, words: set[str]) -> list[str]:
    """Where code chooses by what a thing is, and not by what it promises."""
    found = []
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Match):
            found.append(f"{where}: match")
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in ("isinstance", "issubclass", "hasattr"):
            found.append(f"{where}: {called}")
        if isinstance(node, ast.Compare):
            texts = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
            found += [f"{where}: compares with {word!r}" for word in texts & words]
    return found


def test_only_the_builders_choose_by_kind() -> None:
    from shuhari.loops.config import ALGORITHMS
    from shuhari.loops.learn.objectives import OBJECTIVES

    words = {*ALGORITHMS, *OBJECTIVES, "muon", "adamw", "game", "hidden", "task", *PHASES}
    paths = {path.relative_to(ROOT / "loops").as_posix() for path in (ROOT / "loops").rglob("*.py")}
    assert paths > BUILDERS
    for path in paths - BUILDERS:
        assert not kinds_asked(ast.parse((ROOT / "loops" / path).read_text()), words), path
    asked = "def f(x):\n    if x.name == 'distill' or isinstance(x, int):\n        return hasattr(x, 'y')"
    assert len(kinds_asked(ast.parse(asked), words)) == 3


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_maps_name_files_that_exist(page: str) -> None:
    known = [f"/{path}" for path in tracked()]
    named = re.findall(r"`([\w/.]+\.(?:py|yaml|jsonl|toml|md))`", (ROOT / page).read_text())
    assert len(named) > 5
    for name in named:
        assert any(path.endswith(f"/{name}") for path in known), f"{page}: there is no {name}"


def test_kernels_is_ours() -> None:
    import shuhari.kernels

    assert Path(shuhari.kernels.__file__ or "").resolve().parent == ROOT / "kernels"


def tracked() -> list[str]:
    """The paths of the working tree that git has, or would have."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    paths = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for path in paths if path and (ROOT / path).exists()]


def copy_tree(folder: Path) -> list[str]:
    """Copy the working tree, symlinks as symlinks, and return the paths."""
    paths = tracked()
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path, follow_symlinks=False)
    return paths


def test_a_wheel_of_the_working_tree_holds_every_file_of_the_five_folders_and_nothing_else(
    tmp_path: Path,
) -> None:
    paths = copy_tree(tmp_path / "tree")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, tmp_path / "tree"], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {f"shuhari/{path}" for path in paths if path.partition("/")[0] in BELOW}
    wanted |= {
        path.removeprefix("src/") for path in paths if (ROOT / path).is_file() and path.startswith("src/")
    }
    assert held == wanted


def test_nothing_executes_text() -> None:
    """No eval, exec or sympy string parser anywhere in the tree, by whatever name it is reached."""
    forbidden = {"eval", "exec", "compile", "sympify", "parse_expr", "parse_latex", "__import__"}
    harmless = {"re.compile", "triton.compile"}  # these make patterns, and kernels of functions
    for floor in BELOW:
        for path in (ROOT / floor).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                name = ""
                if isinstance(node, ast.Name):
                    name = node.id
                elif isinstance(node, ast.Attribute):
                    owner = node.value.id if isinstance(node.value, ast.Name) else ""
                    name = "" if f"{owner}.{node.attr}" in harmless else node.attr
                elif isinstance(node, ast.alias):
                    name = node.name.rpartition(".")[2]
                # A model's own eval() switches dropout off.
                assert name not in forbidden or (floor == "policy" and name == "eval"), (
                    f"{path}:{getattr(node, 'lineno', 0)} names {name}"
                )
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    # sympy's constructors take text too: they are only ever given trees.
                    texts = [a for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                    owner = node.func.value
                    assert not (isinstance(owner, ast.Name) and owner.id == "sympy" and texts), (
                        f"{path}:{node.lineno} hands text to sympy"
                    )
