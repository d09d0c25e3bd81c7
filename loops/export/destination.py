"""Where an export is written: a folder that is new or empty, whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from shuhari.envs.validation import first_line

DRAFT = ".unfinished"  # inside the folder, so that moving out of it is a change of names


class CannotExportError(ValueError):
    """A policy cannot be written in this form, or not there. The message says why, and what to do."""


@contextmanager
def new_files(out: Path) -> Iterator[Path]:
    """A folder to write to, whose files are in `out` once all went well. Raises CannotExportError."""
    if os.path.lexists(out) and not out.is_dir():
        raise CannotExportError(f"{out}: is a file; choose another folder")
    if out.is_dir() and any(path.name != DRAFT for path in out.iterdir()):
        raise CannotExportError(f"{out}: exists and is not empty; choose another folder")
    made, draft = not out.exists(), out / DRAFT
    try:
        shutil.rmtree(draft, ignore_errors=True)  # of an export that was killed
        draft.mkdir(parents=True)
        yield draft
        for path in sorted(draft.iterdir()):
            path.replace(out / path.name)
    except (OSError, SafetensorError) as error:
        raise CannotExportError(f"{out}: cannot be written ({first_line(error)[:160]})") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
