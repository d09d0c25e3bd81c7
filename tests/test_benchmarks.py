"""The GPU benchmark runs, tiny, by the definitions: whoever has a GPU should only have to start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    # Tests of kernels switch Triton's interpreter on for this process and all that it starts.
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, SCRIPT, *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_every_part_runs_and_says_so() -> None:
    done = run("--smoke")
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["smoke"] is True
    assert report["correct"]["cases"] > 100
    assert report["correct"]["wrong"] == []
    assert report["correct"]["decode_batch_invariant_bitwise"] is True
    for part in ("decode", "shared", "training", "rollouts"):
        assert "failed" not in report[part]
    (rollout,) = report["rollouts"]
    assert rollout["adapter_updates_without_recapture"] is True
    for form in ("padded", "packed"):
        assert rollout[f"delta_logprob_{form}"]["p99"] <= 1e-5
    assert rollout["generate_tokens_per_second"] > 0


def test_without_a_gpu_it_is_one_line() -> None:
    import torch

    if not torch.cuda.is_available():
        done = run()
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "--smoke" in done.stderr
