"""Right, then fast: our Triton kernels and our rollouts on one GPU, beside what torch and transformers ship.

    python benchmarks/gpu.py                     all of it, JSON to benchmarks/results/gpu_<name>.json
    python benchmarks/gpu.py --only decode       one part: correct, decode, shared, training, rollouts
    python benchmarks/gpu.py --smoke             tiny shapes on a CPU, by the kernels' definitions

Times are medians of CUDA events with a cold L2 cache (`triton.testing.do_bench`); both sides of a ratio are
timed in turn. It needs torch, triton, transformers and peft only: `PYTHONPATH=src python benchmarks/gpu.py`
does without an installation.
"""

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gpu_kernels import Machine, correct, decode, shared, training
from gpu_rollouts import SHAPES, rollouts

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--smoke", action="store_true", help="tiny shapes on a CPU; no figure of it means anything"
    )
    parser.add_argument("--only", choices=["correct", "decode", "shared", "training", "rollouts"])
    parser.add_argument("--json", action="store_true", help="print the JSON and write no file")
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), help="models of the rollouts")
    options = parser.parse_args()
    if not options.smoke and not torch.cuda.is_available():
        print("gpu.py: torch sees no GPU; --smoke runs tiny shapes on a CPU", file=sys.stderr)
        return 2
    m, started = Machine(options.smoke), time.monotonic()
    bandwidth = m.copy_bandwidth()
    report: dict[str, Any] = {
        "gpu": platform.processor() if m.smoke else torch.cuda.get_device_name(),
        "versions": {name: version(name) for name in ("torch", "triton", "transformers", "peft")}
        | {"python": platform.python_version()},
        "smoke": m.smoke,
        "copy_bandwidth": bandwidth,
    }
    parts: dict[str, Callable[[], Any]] = {
        "correct": lambda: correct(m),
        "decode": lambda: decode(m, bandwidth),
        "shared": lambda: shared(m),
        "training": lambda: training(m),
        "rollouts": lambda: [
            rollouts(m, s, bandwidth)
            for s in options.shapes or m.pick(("qwen2.5-0.5b", "qwen2.5-1.5b"), ("tiny",))
        ],
    }
    failed = False
    for name, part in parts.items():
        if options.only in (None, name):
            start = time.monotonic()
            try:
                report[name] = part()
            except Exception as reason:  # one part's failure must not cost the others' figures
                failed = True
                report[name] = {
                    "failed": f"{type(reason).__name__}: {reason}",
                    "where": traceback.format_exc()[-1500:],
                }
            report[f"{name}_seconds"] = round(time.monotonic() - start, 1)
            print(f"{name}: {report[f'{name}_seconds']} s", file=sys.stderr, flush=True)
    report["seconds"] = round(time.monotonic() - started, 1)
    text = json.dumps(report, indent=1)
    if options.json or m.smoke:
        print(text)
    else:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"gpu_{report['gpu'].replace(' ', '_').lower()}.json"
        path.write_text(text + "\n")
        print(path)
    wrong = (
        failed
        or bool(report.get("correct", {}).get("wrong"))
        or report.get("correct", {}).get("decode_batch_invariant_bitwise") is False
    )
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
