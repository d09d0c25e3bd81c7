"""The one place that says which implementation serves a call."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shuhari.kernels.dispatch import SHORT, Implementation, choose

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
TORCH: tuple[Implementation, ...] = ("plain", "torch")
ALL: tuple[Implementation, ...] = ("plain", "torch", "triton")


def test_the_rule() -> None:
    assert [choose(None, CPU), choose(None, CPU, TORCH), choose(None, CPU, ALL)] == [
        "plain",
        "torch",
        "torch",
    ]
    assert [choose(None, CUDA), choose(None, CUDA, TORCH), choose(None, CUDA, ALL)] == [
        "triton",
        "torch",
        "triton",
    ]


def test_few_keys_are_the_definitions_on_a_cpu() -> None:
    assert [choose(None, CPU, TORCH, keys) for keys in (1, SHORT, SHORT + 1)] == ["plain", "plain", "torch"]
    assert choose(None, CUDA, TORCH, 1) == "torch"


def test_what_is_asked_for_overrules_the_rule() -> None:
    for device in (CPU, CUDA):
        for name in ALL:
            assert choose(name, device, ALL, keys=1) == name


def test_what_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no implementation 'fast', only 'plain', 'triton'"):
        choose("fast", CPU)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no implementation 'triton', only 'plain', 'torch'"):
        choose("triton", CUDA, TORCH)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert choose("triton", CUDA) == "triton"
    with pytest.raises(ValueError, match="'triton' runs on CUDA tensors, not on cpu"):
        choose("triton", CPU)


KERNELS = Path(__file__).parents[2] / "kernels"
DISPATCHING = {
    "attention",
    "shared_prompt",
    "packed",
    "rectangles",
    "decode",
    "fused",
    "sampling",
    "logprobs",
}


@pytest.mark.parametrize("path", sorted((KERNELS / "gpu").glob("*.py")), ids=lambda path: path.stem)
def test_kernels_do_not_import_what_dispatches_to_them(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shuhari.kernels"):
            names = {x.name for x in node.names} if node.module == "shuhari.kernels" else set()
            assert not {*node.module.split(".")[2:3], *names} & DISPATCHING, ast.unparse(node)


def test_without_triton_all_but_the_kernels_is_there() -> None:
    modules = [f"shuhari.kernels.{path.stem}" for path in KERNELS.glob("[a-z]*.py")]
    assert {name.rpartition(".")[2] for name in modules} >= DISPATCHING
    program = "import importlib, sys; sys.modules['triton'] = None"
    program += "".join(f"; importlib.import_module({name!r})" for name in modules)
    subprocess.run([sys.executable, "-c", program], check=True)
