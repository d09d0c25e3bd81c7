"""Right, then fast: our Triton kernels and our rollouts on one GPU, beside what torch and transformers ship.

    python benchmarks/gpu.py                        all of it, within 8 minutes
    python benchmarks/gpu.py --only smoke decode    some parts
    python benchmarks/gpu.py --dry-run              toy sizes on a CPU, by Triton's interpreter

Each part is a process or several, with a limit of time; each row goes to --out (JSON lines) as soon as it is
there. A part that crashes or hangs loses the item that it was at, and no other part anything. Exit status 0:
all that was to be checked is right; 1: something is wrong, failed, or was not checked; 2: it cannot be run.

It needs torch, triton, transformers and peft only: `PYTHONPATH=src python benchmarks/gpu.py` does without an
installation.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from gpu_parts import child, process, summary

RESULTS = Path(__file__).parent / "results"
# In their order: seconds that each may take at most. The last one's are kept for it.
LIMITS = {
    "ahead": 60,
    "smoke": 60,
    "rollouts": 130,
    "peers": 60,
    "decode": 45,
    "shared": 45,
    "training": 45,
    "correct": 120,
}
LEAST = 10  # seconds below which a part is not begun
MANY = ("ahead", "correct")  # parts for as many processes as there are processors, up to MOST
MOST = 12
PROBE = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


class Parser(argparse.ArgumentParser):
    """Answers what it cannot read in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"gpu.py: {message}\n")


def parsed() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument("--out", type=Path, help="JSON lines (default: benchmarks/results/gpu_<name>.jsonl)")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), metavar="PART", help=", ".join(LIMITS))
    parser.add_argument("--minutes", type=float, default=8, help="for all of it (default: 8)")
    parser.add_argument(
        "--stall", type=float, default=60, help="seconds that one item may take (default: 60)"
    )
    parser.add_argument("--dry-run", action="store_true", help="toy sizes on a CPU")
    for name in ("shard", "shards", "skip"):  # of the processes that this one starts
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=list(LIMITS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.minutes > 0 and options.stall > 0):
        parser.error("--minutes and --stall: more than 0")
    return options


def main() -> int:
    options = parsed()
    if options.part:
        child.run(options.part, options.shard, options.shards, options.skip, options.dry_run, options.out)
        return 0
    started = time.monotonic()
    name = "dry run" if options.dry_run else _gpu()
    if not name:
        print("gpu.py: torch sees no GPU; --dry-run runs toy sizes on a CPU", file=sys.stderr)
        return 2
    folder = Path(tempfile.gettempdir()) if options.dry_run else RESULTS
    out: Path = options.out or folder / f"gpu_{name.replace(' ', '_').lower()}.jsonl"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("")
    except OSError as reason:
        print(f"gpu.py: --out {out}: {reason.strerror}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process of ours stays behind
    child.write(out, {"part": "run", "gpu": name, "versions": _versions(), "dry_run": options.dry_run})
    for part in [part for part in LIMITS if part in (options.only or LIMITS)]:
        _run(part, options, out, 60 * options.minutes - 5 - (time.monotonic() - started))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    bad = summary.bad(rows)
    took = round(time.monotonic() - started, 1)
    child.write(out, {"part": "run", "seconds": took, "bad": len(bad)})
    print(f"{name}: {took:.0f} s, {len(bad)} wrong", *summary.lines(rows), f"rows: {out}", sep="\n")
    return int(bool(bad))


def _run(part: str, options: argparse.Namespace, out: Path, left: float) -> None:
    """One part, within its limit and the time left; its last row says how it ended."""
    kept = LIMITS["correct"] if part != "correct" and "correct" in (options.only or LIMITS) else 0
    limit, start = min(LIMITS[part], left - kept), time.monotonic()
    if limit < LEAST:
        child.write(out, {"part": part, "fault": "left out", "why": "no time was left"})
        return
    dry = ["--dry-run"] if options.dry_run else []
    # Kernels that are compiled ahead are compiled; all others run on a CPU by the interpreter alone.
    os.environ.pop("TRITON_INTERPRET", None)
    if dry and part != "ahead":
        os.environ["TRITON_INTERPRET"] = "1"
    shards = min(MOST, os.cpu_count() or 1) if part in MANY and not dry else 1
    ended = process.run(
        Path(__file__).resolve(),
        ["--part", part, "--out", str(out), *dry],
        shards,
        limit,
        options.stall,
        lambda row: child.write(out, {"part": part} | row),
    )
    took, status = round(time.monotonic() - start, 1), "done" if ended else "incomplete"
    child.write(out, {"part": part, "status": status, "seconds": took})
    print(f"{part}: {status}, {took} s", file=sys.stderr, flush=True)


def _gpu() -> str:
    """Its name, from a process of its own: this one takes no memory on it."""
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip()


def _versions() -> dict[str, Any]:
    found = {"python": sys.version.split()[0]}
    for name in ("torch", "triton", "transformers", "peft"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


if __name__ == "__main__":
    sys.exit(main())
