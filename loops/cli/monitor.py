"""`shuhari monitor`: TensorBoard on a run, the newest one or all of them, on this machine only."""

import argparse
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorboard import program

from shuhari.loops.cli.messages import fail
from shuhari.loops.report.event_files import damage, event_files
from shuhari.loops.report_page.run_reader import newest_run

HOST = "127.0.0.1"  # whoever wants it from elsewhere has a tunnel: TensorBoard asks nobody who they are
STORY = "#custom_scalars"  # the page that opens


def main(arguments: Sequence[str]) -> int:
    """Serves until Ctrl-C. Exit status 2 with one line for what the user got wrong."""
    parser = argparse.ArgumentParser(
        prog="shuhari monitor",
        description="Watch a run in TensorBoard, while it runs or afterwards (docs/monitoring.md).",
        epilog="examples: shuhari monitor; shuhari monitor runs/addition/2026-01-31_12-00-00; "
        "shuhari monitor --all --port 6007",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="the folder of a run, or of several (the newest run)"
    )
    parser.add_argument("--all", action="store_true", help="every run in the folder of runs, to compare them")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="where runs are (runs)")
    parser.add_argument("--port", type=int, help="of the address (6006, or the next that is free)")
    options = parser.parse_args(arguments)
    if options.port is not None and not 0 <= options.port < 2**16:
        fail(f"--port {options.port}: a number from 0, which takes any that is free, to 65535")
    folder = _chosen(options)
    address = serve(folder, options.port)
    for note in _notes(folder):
        print(f"note: {note}", file=sys.stderr)
    print(f"{folder}: {address}{STORY} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    return 0


def _chosen(options: argparse.Namespace) -> Path:
    """The folder to show, in which there is something."""
    if options.run and options.all:
        fail(f"--all: shows every run in {options.runs}; leave out {options.run}, or --all")
    runs = Path(options.runs)
    if options.run or options.all:
        folder = Path(options.run or runs)
        if not folder.is_dir():
            fail(f"{folder}: there is no such folder; give the folder of a run, as shuhari train prints it")
        if not event_files(folder):
            fail(f"{folder}: has no TensorBoard events; give the folder of a run, as shuhari train prints it")
        return folder
    newest = newest_run(runs)
    if newest is None:
        fail(f"{runs}: there are no runs; start one with shuhari train, or name a folder: --runs FOLDER")
    return newest


def _notes(folder: Path) -> Iterator[str]:
    """What of a run is missing or damaged. The rest is shown."""
    events = folder / "tensorboard"
    if events.is_dir() and not (events / "policy").is_dir():
        yield f"{events / 'policy'}: is missing, and with it the policy's figures"
    for path in event_files(events):
        if found := damage(path):
            yield f"{path}: {found}; what comes before is shown"


def serve(folder: Path, port: int | None) -> str:
    """Start TensorBoard in the background; its address.

    folder: of a run, whose parts are then named by themselves, or of several runs
    port: None: the first from 6006 on that is free
    """
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = folder / "tensorboard"
    server = program.TensorBoard()
    server.configure(
        logdir=str(events if events.is_dir() else folder), host=HOST, port=port, load_fast="false"
    )
    try:
        return str(server.launch())
    except program.TensorBoardServerException as error:
        fail(f"--port {port}: cannot be taken ({error.msg}); leave it out, and a free one is found")
