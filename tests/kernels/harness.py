"""What tests of kernels share: errors against fp64, poisoned outputs, mutants of a kernel's source."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 5e-3}  # relative RMS


def relative_rms(got: Tensor, want: Tensor) -> float:
    """RMS of the difference over RMS of `want`; not a number where `got` is not all finite."""
    difference = (got.double() - want.double()).square().mean().sqrt()
    return float(difference / want.double().square().mean().sqrt())


def right(got: Tensor, want: Tensor) -> bool:
    """Whether `got` is `want` (fp64) within its dtype's tolerance."""
    return got.shape == want.shape and relative_rms(got, want) <= TOLERANCE[got.dtype]


def mutant(module: ModuleType, old: str, new: str, folder: Path) -> ModuleType:
    """A module like `module`, but that in its source `old`, which must stand there once, is `new`."""
    source = Path(module.__file__ or "").read_text()
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {module.__name__}"
    path = folder / f"mutant_{abs(hash((module.__name__, old, new)))}.py"
    path.write_text(source.replace(old, new))
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()  # the file is new
        return importlib.import_module(path.stem)
    finally:
        sys.path.remove(str(folder))
