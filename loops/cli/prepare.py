"""`shuhari prepare`: make a named base of a GGUF file, or of a wheel that holds one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from shuhari.loops.report.progress import busy
from shuhari.policy.base_source import prepared_bases
from shuhari.policy.prepare_base import CannotPrepareError, prepare


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for what the user got wrong."""
    parser = argparse.ArgumentParser(
        prog="shuhari prepare",
        description="Make a GGUF file a base, once: policy.base=NAME then takes it from any folder. Its "
        "weights are dequantised and written as transformers writes them, quantised ones in half precision.",
        epilog="example: shuhari prepare model.gguf mine && shuhari train experiment=chat policy.base=mine. "
        f"Bases are kept in {prepared_bases()} (SHUHARI_HOME moves them); remove one by its folder.",
    )
    parser.add_argument("file", type=Path, help="a GGUF file, or a wheel that holds one")
    parser.add_argument("name", help="what policy.base will call it")
    options = parser.parse_args(arguments)
    try:
        with busy("dequantising"):
            made = prepare(options.file, options.name)
    except CannotPrepareError as error:
        print(f"shuhari: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    about, size = made.record["says_of_itself"], sum(p.stat().st_size for p in made.folder.iterdir())
    print(
        f"{options.name}: {'written to' if made.fresh else 'already in'} {made.folder}, {size / 1e6:.0f} MB"
    )
    print(f"made of {made.record['gguf']}; weights {made.record['weights']}")
    owner, terms = about.get("organization", "not named"), about.get("license", "not named")
    print(f"by {owner}, license {terms}; use it as policy.base={options.name}")
    return 0
