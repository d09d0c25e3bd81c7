"""The ahead-of-time gate, in processes of its own: here kernels are interpreted, there compiled."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
OLDER = "3.6.0"  # of Triton, with torch 2.11

BAD = """
import dataclasses
import sys

import triton
import triton.language as tl

from shuhari.kernels.gpu import gate
from shuhari.kernels.gpu.launch import Shipped


@triton.jit
def product(x, out, M: tl.constexpr):
    m = tl.arange(0, M)
    at = m[:, None] * M + m[None, :]
    total = tl.zeros((M, M), tl.float32)
    for i in range(9):
        a, b = tl.load(x + at + i * M * M), tl.load(x + at + (i + 9) * M * M)
        total += tl.dot(a, tl.trans(b), input_precision="ieee")
    tl.store(out + at, total)


@triton.jit
def unnamed(x, out, N: tl.constexpr):
    tl.store(out + nowhere, 0.0)


def ship(name, kernel, kind, constants, warps, stages, tensor_cores=False):
    signature = {"x": kind, "out": "*fp32", **dict.fromkeys(constants, "constexpr")}
    return "bad", Shipped(name, kernel, signature, constants, warps, stages, tensor_cores)


_, good = ship("good", product, "*fp16", {"M": 64}, 4, 2, True)
turned = dict(reversed(good.signature.items()))
listed = [
    ("bad", dataclasses.replace(good, name="another order", signature=turned)),
    ship("spills", product, "*fp16", {"M": 128}, 1, 1),
    ship("overflows", product, "*fp16", {"M": 128}, 8, 6),
    ship("no tensor cores", product, "*fp32", {"M": 16}, 4, 1, True),
    ship("no such name", unnamed, "*fp32", {"N": 16}, 1, 1),
    ("bad", good),
]
sys.exit(gate.report_all(listed, [90], ["any"], True))
"""


def run(*command: str, python: str = sys.executable, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | changes
    return subprocess.run([python, *command], env=environment, cwd=ROOT, capture_output=True, text=True)


def gate(*arguments: str, **options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = run("-m", "shuhari.kernels.gpu.gate", "--json", *arguments, **options)
    assert done.stdout, done.stderr
    return done, json.loads(done.stdout)


def all_well(done: subprocess.CompletedProcess[str], found: dict[str, Any]) -> None:
    assert done.returncode == 0, done.stderr
    for report in found["reports"]:
        assert not report["broken"]
        assert report["registers"] > 0


def modules() -> set[str]:
    """Those of kernels/gpu that have kernels."""
    return {x.stem for x in (ROOT / "kernels" / "gpu").glob("*.py") if "def shipped()" in x.read_text()}


@pytest.mark.long
def test_one_configuration_of_each_kernel_passes() -> None:
    done, found = gate("--few", "1", "--target", "90")
    all_well(done, found)
    assert {x["module"] for x in found["reports"]} == modules()


@pytest.mark.long
def test_bad_kernels_are_caught_and_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    done = run(str(tmp_path / "bad.py"))
    assert done.stdout, done.stderr
    found = {x["name"]: x for x in json.loads(done.stdout)["reports"]}
    assert done.returncode == 1
    assert "spills" in found["spills"]["broken"][0]
    assert found["spills"]["ldl"] > 0
    assert found["spills"]["stl"] > 0
    assert found["overflows"]["shared"] > 232_448
    assert found["overflows"]["broken"] == [
        f"{found['overflows']['shared']:,} bytes of shared memory of 232,448"
    ]
    assert found["no tensor cores"]["broken"] == ["no tensor core instructions"]
    assert "does not compile" in found["no such name"]["broken"][0]
    assert "nowhere" in found["no such name"]["broken"][0]
    assert found["another order"]["broken"] == ["its signature is not its arguments"]
    assert not found["good"]["broken"]
    assert found["good"]["hmma"] + found["good"]["hgmma"] > 0
    assert "breaks a rule: bad: overflows on sm_90" in done.stderr
    assert "6 compiled, 5 break a rule" in done.stderr


def test_the_interpreter_is_switched_off_and_a_wrong_name_is_answered() -> None:
    done = run("-m", "shuhari.kernels.gpu.gate", "--only", "no such kernel", TRITON_INTERPRET="1")
    assert done.returncode == 2
    assert "TRITON_INTERPRET is set; taken out" in done.stderr
    assert "nothing is shipped whose name holds 'no such kernel'" in done.stderr


@pytest.mark.long
def test_everything_shipped_passes() -> None:
    done, found = gate()
    all_well(done, found)
    assert {x["target"] for x in found["reports"]} == {80, 90}
    assert {x["module"] for x in found["reports"]} == modules()


@pytest.mark.long
def test_everything_shipped_passes_with_the_older_triton(tmp_path: Path) -> None:
    """In an environment whose Triton comes first and whose other packages are those of this one."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    done = run("-m", "pip", "install", "--quiet", "--no-deps", f"triton=={OLDER}", python=str(python))
    assert done.returncode == 0, done.stderr
    (own,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (own / "others.pth").write_text("\n".join(x for x in sys.path if x.endswith("site-packages")))
    done, found = gate(
        python=str(python), PYTHONPATH=str(ROOT / "src"), TRITON_CACHE_DIR=str(tmp_path / "cache")
    )
    assert found["triton"] == OLDER
    all_well(done, found)
