"""What `policy.base` may name, and where that lies: a shipped base, a prepared one, a folder, a GGUF file, or
a model of the Hugging Face hub."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from shuhari.policy import hub

SHIPPED = Path(__file__).parent / "bases"
MADE_BY = {"smollm2": "make smollm2"}  # bases that a command of ours prepares
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class BaseNotFoundError(ValueError):
    """A name stands for no base. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class BaseSource:
    """Where a base is read from.

    folder: of the checkpoint, or of the GGUF file
    again: what it may be loaded by from any folder: the hub's id, or an absolute path
    gguf: the name of the GGUF file, or "" for a checkpoint as transformers writes it
    """

    folder: Path
    again: str
    gguf: str = ""

    @property
    def notes(self) -> list[str]:
        """What a reader of a report must know of it."""
        if not self.gguf:
            return []
        prepare = f"shuhari prepare {self.gguf} NAME makes a base of it once, for policy.base=NAME"
        return [f"{self.gguf} is dequantised at every start, which takes a while: {prepare}"]


def prepared_bases() -> Path:
    """The folder of prepared bases: in SHUHARI_HOME, else in the user's cache (XDG_CACHE_HOME, ~/.cache)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SHUHARI_HOME") or Path(cache) / "shuhari").expanduser() / "bases"


def names_in(folder: Path) -> list[str]:
    """The names of the bases in a folder."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p.name for p in found if p.name[0] != "." and (p / "config.json").is_file())


def find_base(name: str) -> BaseSource:
    """The source that `name` stands for. A hub's model that is not in the cache is downloaded.

    Names of shipped and prepared bases come first: a folder of the same name is ./NAME.
    Raises BaseNotFoundError.
    """
    for folder in (SHIPPED, prepared_bases()):
        if name in names_in(folder):
            return _in_folder(folder / name)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise BaseNotFoundError("there is no such file")
        return BaseSource(path.parent, str(path.resolve()), path.name)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        raise BaseNotFoundError("a file that is no GGUF; give the folder that holds config.json")
    if HUB_ID.fullmatch(name):
        return _of_hub(name)
    if name in MADE_BY:
        raise BaseNotFoundError(f"is not prepared yet; do so once: {MADE_BY[name]}")
    if "/" in name:
        raise BaseNotFoundError("there is no such folder")
    prepared = ", ".join(names_in(prepared_bases())) or "none yet; make smollm2"
    known = f"shipped ({', '.join(names_in(SHIPPED))}) nor prepared ({prepared})"
    raise BaseNotFoundError(
        f"neither {known}; or give a checkpoint's folder, a hub id (org/name), a .gguf file"
    )


def _in_folder(folder: Path) -> BaseSource:
    if (folder / "config.json").is_file():
        return BaseSource(folder, str(folder.resolve()))
    if (folder / "adapter_config.json").is_file():
        raise BaseNotFoundError("holds an adapter and no base; give it as the adapter")
    if files := sorted(p.name for p in folder.glob("*.gguf")):
        raise BaseNotFoundError(f"no config.json there; give the GGUF file itself: {folder / files[0]}")
    raise BaseNotFoundError("no config.json there; give a checkpoint's folder")


def _of_hub(name: str) -> BaseSource:
    try:
        return BaseSource(hub.snapshot(name), name)
    except hub.NotAvailableError as error:
        raise BaseNotFoundError(f"no folder here, and as the id of a hub's model {error}") from None
