"""`shuhari monitor`: it serves, ends quietly, and says in one line what is wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mistakes import mistake

from shuhari.loops.cli import monitor as command
from shuhari.loops.report.event_files import damage, event_files
from shuhari.loops.report.monitor import Monitor
from shuhari.loops.report_page.run_reader import newest_run


def run_of(folder: Path) -> Path:
    """A run's folder with a few events."""
    folder.mkdir(parents=True)
    monitor = Monitor(folder, {"expert": 0.5}, {"seed": 0})
    monitor.figures("selfplay", 1, {"reward": 0.5})
    monitor.skill("selfplay", 1, 2, 0.5, (0.4, 0.6))
    monitor.close()
    return folder


def test_it_serves_the_newest_run_and_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    run = run_of(tmp_path / "runs" / "addition" / "a")
    arguments = [sys.executable, "-P", "-m", "shuhari", "monitor", "--port", "0"]
    with subprocess.Popen(
        arguments,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as served:
        assert served.stdout is not None
        line = served.stdout.readline()
        address = line.partition("http://")[2].partition("/#")[0]
        assert line == f"{run.relative_to(tmp_path)}: http://{address}/#custom_scalars (Ctrl-C ends it)\n"
        assert address.startswith("127.0.0.1:")
        layout: dict[str, list[dict[str, str]]] = {}
        ends = time.monotonic() + 60
        while not layout and time.monotonic() < ends:  # it reads the events after it has begun to serve
            with urllib.request.urlopen(f"http://{address}/data/plugin/custom_scalars/layout") as answer:
                layout = json.load(answer)
            time.sleep(0.1)
        assert [category["title"] for category in layout["category"]] == ["skill", "what it does: selfplay"]
        served.send_signal(signal.SIGINT)
        out, err = served.communicate(timeout=60)
    assert (served.returncode, out.strip(), err) == (0, "", "")


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = str(tmp_path)
    assert "there are no runs; start one with shuhari train" in mistake(
        command.main, ["--runs", empty], capsys
    )
    assert "there are no runs" in mistake(command.main, ["--runs", "/nosuch"], capsys)
    assert "/nosuch: there is no such folder" in mistake(command.main, ["/nosuch"], capsys)
    assert "has no TensorBoard events" in mistake(command.main, [empty], capsys)
    assert "has no TensorBoard events" in mistake(command.main, ["--all", "--runs", empty], capsys)
    assert "leave out" in mistake(command.main, ["--all", empty], capsys)
    assert "--port 65536: a number from 0" in mistake(command.main, ["--port", "65536"], capsys)
    run = run_of(tmp_path / "runs" / "addition" / "a")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port {port}: cannot be taken" in mistake(command.main, ["--port", port, str(run)], capsys)


def test_the_newest_run_is_the_one_that_was_written_last(tmp_path: Path) -> None:
    first, second = (run_of(tmp_path / name / "a") for name in ("b", "a"))
    for age, run in enumerate((second, first)):
        os.utime(run / "metrics.jsonl", (1000 + age, 1000 + age))
    assert newest_run(tmp_path) == first
    assert newest_run(tmp_path / "c") is None


def test_damage_is_found_and_an_unfinished_event_is_none(tmp_path: Path) -> None:
    (path,) = event_files(run_of(tmp_path / "a") / "tensorboard" / "policy")
    sound = path.read_bytes()
    assert damage(path) == ""
    path.write_bytes(sound[:-3])
    assert damage(path) == ""
    path.write_bytes(sound[:-20] + b"?" + sound[-19:])
    assert damage(path) == "damaged after 3 events"  # the version, the figures, the layout
    path.write_bytes(b"?" + sound[1:])
    assert damage(path) == "damaged after 0 events"
    path.unlink()
    assert damage(path) == "cannot be read (No such file or directory)"


def test_a_run_with_a_part_missing_says_which(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    assert list(command._notes(run)) == []
    (path,) = event_files(run / "tensorboard" / "expert")
    path.write_bytes(b"nonsense" * 9)
    (run / "tensorboard" / "policy").rename(tmp_path / "away")
    missing, damaged = command._notes(run)
    assert "tensorboard/policy: is missing" in missing
    assert f"{path}: damaged after 0 events; what comes before is shown" == damaged
