"""The event files of runs: which there are, and which are damaged."""

import struct
from itertools import count
from pathlib import Path

from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

PATTERN = "**/events.out.tfevents.*"
HEAD, CHECKSUM = struct.Struct("<QI"), struct.Struct("<I")  # length and its checksum; that of the event


def event_files(folder: Path) -> list[Path]:
    """All of a run, or of all runs in a folder."""
    return sorted(path for path in folder.glob(PATTERN) if path.is_file())


def damage(path: Path) -> str:
    """From where on a file cannot be read, in words; "" if it is sound.

    An event that is cut off at the end is no damage: a run may be writing it.
    """
    try:
        with path.open("rb") as file:
            for number in count():
                head = file.read(HEAD.size)
                if len(head) < HEAD.size:
                    return ""
                length, mark = HEAD.unpack(head)
                if masked_crc32c(head[:8]) != mark:
                    return f"damaged after {number} events"
                event, end = file.read(length), file.read(CHECKSUM.size)
                if len(end) < CHECKSUM.size:
                    return ""
                if masked_crc32c(event) != CHECKSUM.unpack(end)[0]:
                    return f"damaged after {number} events"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""
