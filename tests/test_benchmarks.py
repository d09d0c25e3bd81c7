"""The GPU benchmark, tiny and interpreted: whoever has a GPU only has to start it, and loses nothing."""

import importlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu.py"
Rows = list[dict[str, Any]]


def run(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    # Tests of kernels switch Triton's interpreter on for this process and all that it starts.
    inherited = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, SCRIPT, *options]
    return subprocess.run(command, capture_output=True, text=True, env=inherited | environment)


def dry(out: Path, *options: str, **environment: str) -> tuple[Any, dict[str, Rows]]:
    """A dry run, and its rows by their parts."""
    done = run("--dry-run", "--out", str(out), *options, **environment)
    rows: dict[str, Rows] = defaultdict(list)
    for line in out.read_text().splitlines():
        row = json.loads(line)
        rows[row["part"]].append(row)
    return done, rows


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module(f"gpu_parts.{name}")


def bad(rows: Rows) -> list[tuple[str, str]]:
    return [
        (row["item"], row.get("fault", "wrong"))
        for row in rows
        if row.get("right", True) is False or "fault" in row
    ]


@pytest.mark.long
def test_rollouts_and_what_comes_before_them(tmp_path: Path) -> None:
    done, rows = dry(tmp_path / "f.jsonl", "--only", "ahead", "smoke", "rollouts", "peers")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("ahead", "smoke", "rollouts", "peers"):
        assert not bad(rows[part])
        assert rows[part][-1]["status"] == "done"
    assert sum(row.get("compiled", 0) for row in rows["ahead"]) == 7
    judged = [row for row in rows["smoke"] if "right" in row]
    assert {"dk", "normed keys", "swiglu", "backward", "logits of step 0"} <= {row["value"] for row in judged}
    lengths = {row["lengths"]: row for row in rows["rollouts"] if "lengths" in row}
    assert sorted(lengths) == ["equal", "random"]
    (delta,) = [row["delta_logprob_p99"] for row in rows["rollouts"] if "delta_logprob_p99" in row]
    assert delta <= 1e-5
    (step,) = [row for row in rows["rollouts"] if "roofline" in row]
    assert {"replay_ms", "burst_ms", "processor_ms"} < set(step)
    assert next(row for row in rows["peers"] if "peer" in row)["tokens_per_second"] > 0
    assert "MISSED" not in done.stdout
    assert len(done.stdout.splitlines()) < 30


@pytest.mark.long
def test_a_crash_a_hang_and_a_wrong_value_each_cost_one_item(tmp_path: Path) -> None:
    faults = {"GPU_BENCHMARK_FAULT": "decode=crash,training=hang,correct=wrong"}
    parts = ("decode", "shared", "training", "correct")
    done, rows = dry(tmp_path / "f.jsonl", "--stall", "12", "--only", *parts, **faults)
    assert done.returncode == 1
    assert bad(rows["decode"]) == [("D64 Hkv2 r7 B4 length 9", "crashed")]
    assert bad(rows["training"]) == [("causal D64 H2 Hkv1 B2 T5", "hung")]
    assert bad(rows["correct"]) == [("packed D64 r2 float32", "wrong")]
    assert bad(rows["shared"]) == []
    for part in parts:  # what comes behind the fault is there
        assert rows[part][-1]["status"] == "done"
    assert [row["kernel"] for row in rows["decode"] if "kernel" in row] == [
        "norm",
        "rotation",
        "swiglu",
        "sample",
    ]
    assert [row["token_ratio"] for row in rows["training"] if "token_ratio" in row] == [1.5]
    (updated,) = [row for row in rows["correct"] if row.get("value") == "no new capture"]
    assert updated["right"]
    for word in ("crashed", "hung", "wrong o"):
        assert word in done.stdout


@pytest.mark.long
def test_who_stops_it_keeps_the_rows_and_leaves_no_process(tmp_path: Path) -> None:
    out = tmp_path / "f.jsonl"
    command = [sys.executable, SCRIPT, "--dry-run", "--out", str(out), "--only", "shared", "training"]
    environment = os.environ | {"GPU_BENCHMARK_FAULT": "training=hang"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def processes() -> list[list[str]]:
        """Command lines that name the report."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it may have ended meanwhile
                found.append(path.read_text().split("\0"))
        return [words for words in found if str(out) in words]

    try:
        while not (out.exists() and '"status": "done"' in out.read_text()):
            assert running.poll() is None
            time.sleep(0.1)
        while not any("training" in x and "--part" in x for x in processes()):
            time.sleep(0.1)
        running.terminate()
        running.communicate(timeout=30)
        assert running.returncode == 143
        assert processes() == []
        assert any("shared_over_plain" in json.loads(line) for line in out.read_text().splitlines())
    finally:
        running.kill()


def test_what_no_time_is_left_for_is_said(tmp_path: Path) -> None:
    done, rows = dry(tmp_path / "f.jsonl", "--minutes", ".1", "--only", "smoke", "decode")
    assert done.returncode == 1
    assert "left out: smoke (all), decode (all)" in done.stdout
    assert [row["fault"] for row in (*rows["smoke"], *rows["decode"])] == ["left out"] * 2


def test_what_decides_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = module("summary", monkeypatch)
    harmless = [
        {"part": "decode", "item": "a", "fault": "out of time"},
        {"part": "peers", "item": "a", "fault": "crashed"},
        {"part": "correct", "item": "a", "value": "o", "right": True},
    ]
    assert summary.bad(harmless) == []
    for row in (
        {"part": "correct", "item": "a", "value": "o", "right": False},
        {"part": "smoke", "fault": "left out"},
        {"part": "correct", "item": "a", "fault": "out of time"},
        {"part": "shared", "item": "a", "fault": "error"},
    ):
        assert summary.bad([*harmless, row]) == [row]


def test_the_roofline_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"weights": 100, "bytes_per_position": 8, "vocabulary": 4, "bandwidth": 1000, "flops": 1000}
    found = module("roofline", monkeypatch).roofline(B=2, prompts=1, P=10, own=5, **given)
    assert (found["weights_ms"], found["flops_ms"]) == (200, 400)
    assert (found["keys_ms"], found["logits_ms"], found["ms"]) == (160, 64, 624)
    printed = subprocess.run(
        [sys.executable, SCRIPT.parent / "gpu_parts" / "roofline.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    documented = (ROOT / "docs" / "kernels.md").read_text()
    for line in printed.stdout.splitlines():
        assert line.split(": ")[1].split(",")[0] + "k" in documented


@pytest.mark.parametrize(
    "options",
    [["--only", "nothing"], ["--minutes", "0"], ["--out", "/dev/null/x"], ["--dry"], ["--stall", "x"]],
)
def test_what_cannot_be_run_is_one_line(options: list[str]) -> None:
    done = run("--dry-run", *options)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert options[0] in done.stderr


def test_without_a_gpu_it_is_one_line() -> None:
    import torch

    if not torch.cuda.is_available():
        done = run()
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "--dry-run" in done.stderr


def test_players_are_compared_problem_by_problem_over_runs_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    paired = importlib.import_module("paired")

    def report(mine: str, right: list[int], other: str, others: list[int]) -> dict[str, Any]:
        rows = {"a": {"greedy": mine, "right": right}, "b": {"greedy": other, "right": others}}
        players = {name: {"outcomes": outcomes} for name, outcomes in rows.items()}
        return {"players": players, "evaluation": {"samples_per_problem": 4}}

    runs = [report("11?0", [4, 2, 0, 1], "1000", [2, 2, 1, 0]), report("1111", [4] * 4, "0101", [0] * 4)]
    found = paired.differences(runs, "a", "b")
    assert found["greedy"] == [0.5, 0.5, 1.0, 0.0]  # the third problem has a verdict in one run only
    assert found["pass@1"] == [0.75, 0.5, 0.375, 0.625]
    assert found["pass@k"] == [0.5, 0.5, 0.0, 1.0]
    mean, low, high = paired.interval([0.0, 1.0, 0.0, 1.0], 0.99)
    assert (mean, high - mean) == (0.5, pytest.approx(2.5758 * (1 / 3 / 4) ** 0.5, abs=1e-4))
    assert mean - low == pytest.approx(high - mean)
