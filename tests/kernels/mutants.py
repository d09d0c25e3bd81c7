"""A kernel's module with one line of its source changed: a test that passes it shows nothing."""

import importlib
import sys
from pathlib import Path
from types import ModuleType


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
