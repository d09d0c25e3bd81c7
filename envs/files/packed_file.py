"""A file that may be compressed: gzip, bzip2 and xz are unpacked into memory."""

import bz2
import gzip
import io
import lzma
import shlex
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from shuhari.envs.files.errors import DataError, conversion

LARGEST = 2**30  # size in bytes up to which a file is unpacked
# By its first bytes: the command that unpacks it, and the module, if ours reads it.
PACKED: dict[bytes, tuple[str, Any]] = {
    b"\x1f\x8b": ("gunzip -c", gzip),
    b"BZh": ("bunzip2 -c", bz2),
    b"\xfd7zXZ": ("unxz -c", lzma),
    b"\x28\xb5\x2f\xfd": ("unzstd -c", None),
    b"PK\x03\x04": ("unzip -p", None),
}
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")


class PackedFile:
    """The bytes of a file, unpacked where it is compressed.

    size: in bytes, unpacked
    suffix: of its name, without that of the compression, in small letters
    Raises OSError if it cannot be read, and DataError if it cannot be unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size, self._bytes, self._command = path, path.stat().st_size, b"", ""
        bare = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
        self.suffix = bare.suffix.lower()
        with path.open("rb") as file:
            head = file.read(8)
        for magic, (command, module) in PACKED.items():
            if head.startswith(magic):
                self._command = command
                self._unpack(module)

    def _unpack(self, module: Any) -> None:
        if module is None:
            raise DataError(f"{self.path}:1: is compressed; {self.conversion('')}")
        try:
            with cast(IO[bytes], module.open(self.path)) as file:
                self._bytes = file.read(LARGEST + 1)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.path}: cannot be unpacked ({reason}): is it whole?") from None
        self.size = len(self._bytes)
        if self.size > LARGEST:
            raise DataError(
                f"{self.path}: is more than {LARGEST // 2**10:,} KiB unpacked; {self.conversion('')}"
            )

    @property
    def is_packed(self) -> bool:
        """Whether the file is compressed."""
        return bool(self._command)

    def open(self) -> BinaryIO:
        """The bytes, from the beginning."""
        return io.BytesIO(self._bytes) if self._command else cast(BinaryIO, self.path.open("rb"))

    def read(self) -> bytes:
        """All bytes."""
        return self._bytes if self._command else self.path.read_bytes()

    def conversion(self, command: str, suffix: str = ".jsonl") -> str:
        """The advice to convert the file by a command that contains {file}, or to unpack it first."""
        if not self._command:
            return conversion(self.path, command, suffix)
        bare = self.path.with_suffix("") if self.path.suffix.lower() in SUFFIXES else self.path
        new = bare.with_suffix(f".flat{self.suffix or suffix}")
        return f"unpack it: {self._command} {shlex.quote(str(self.path))} > {shlex.quote(str(new))}"
