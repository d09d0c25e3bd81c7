"""The walls of the house: import direction, names that must not leak, what a wheel holds."""

import ast
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


@pytest.mark.parametrize("room", ["collect", "learn"])
def test_training_never_reads_evaluation(room: str) -> None:
    files = list((ROOT / "loops" / room).rglob("*.py"))
    assert files
    allowed = {"collect": ("collect", "learn.batch", "learn.replay", "config"), "learn": ("learn",)}[room]
    allowed += ("ranks",)
    for path in files:
        for name in imports(path):
            if name.startswith("shuhari.loops."):
                inner = name.removeprefix("shuhari.loops.")
                assert inner.startswith(allowed), f"{path.name} imports {name}"
            assert room != "learn" or not name.startswith("shuhari.envs"), f"{path.name} imports {name}"
            assert not name.endswith(("optimal_moves", "nash_conv", "equilibrium")), f"{path.name}: {name}"


PHASES = ("imitate", "selfplay", "harder")
BUILDERS = ("build.py", "config.py", "main.py")  # what reads the configuration


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
    for path in (ROOT / "loops").rglob("*.py"):
        if path.name not in BUILDERS:
            assert not kinds_asked(ast.parse(path.read_text()), words), path
    asked = "def f(x):\n    if x.name == 'distill' or isinstance(x, int):\n        return hasattr(x, 'y')"
    assert len(kinds_asked(ast.parse(asked), words)) == 3


def test_kernels_is_ours() -> None:
    import shuhari.kernels

    assert Path(shuhari.kernels.__file__ or "").resolve().parent == ROOT / "kernels"


def test_wheel_holds_one_top_level_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    subprocess.run([*command, "-w", str(tmp_path), str(clone)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"shuhari"}
    for needed in (
        "loops/conf/train.yaml",
        "loops/conf/experiment/addition.yaml",
        "policy/bases/games/model.safetensors",
    ):
        assert f"shuhari/{needed}" in names


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
