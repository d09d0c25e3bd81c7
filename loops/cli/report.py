"""`shuhari report`: a run, or several beside one another, as one HTML page that needs nothing else."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import TemplateError

from shuhari.loops.cli.messages import fail
from shuhari.loops.report.progress import busy
from shuhari.loops.report_page.page import comparison_page, run_page
from shuhari.loops.report_page.run_reader import NoRunError, RunRecord, newest_run, read_run

NAME = "report.html"


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for what the user got wrong."""
    options = _parser().parse_args(arguments)
    try:
        runs = [read_run(Path(text)) for text in options.runs] or [read_run(_newest(Path("runs")))]
    except NoRunError as error:
        fail(str(error))
    path = Path(options.out) if options.out else _usual_place(runs)
    try:
        with busy("drawing"):
            page = run_page(runs[0]) if len(runs) == 1 else comparison_page(runs)
    except (LookupError, TypeError, ValueError, AttributeError, TemplateError) as error:  # of files by others
        where = " or ".join(str(run.folder / "report.json") for run in runs)
        fail(f"{where}: is no report that this version can read ({error}); make it anew, or move it away")
    try:
        path = path / NAME if path.is_dir() else path
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror}); choose another with --out PATH")
    for run in runs:
        for line in (*run.faults, *([f"{run.folder}: {run.unfinished}"] if run.unfinished else ())):
            print(f"note: {line}", file=sys.stderr)
    print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shuhari report",
        description="Write one HTML page of a run: the claim, tables, curves, samples, health and settings. "
        "Several runs are compared, and seeds of one experiment summed up. The page needs no network.",
        epilog="examples: shuhari report; shuhari report runs/tic_tac_toe/*; "
        "shuhari report runs/addition/2026-01-31_12-00-00 --out page.html",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run's folder (the newest under runs/)")
    parser.add_argument(
        "--out",
        metavar="PATH",
        help=f"a file or folder ({NAME} in the run's; of several in the working folder)",
    )
    return parser


def _newest(folder: Path) -> Path:
    if (run := newest_run(folder)) is None:
        raise NoRunError(f"{folder}/: holds no run; give a run's folder, or make one with shuhari train")
    return run


def _usual_place(runs: Sequence[RunRecord]) -> Path:
    return runs[0].folder / NAME if len(runs) == 1 else Path(NAME)
