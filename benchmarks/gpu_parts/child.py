"""One process of a part: its items one after another, each row in the report as soon as it is there.

What an item raises is a row. Where the GPU's context is lost with it the process ends, and another goes on
behind that item.
"""

import gc
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

# Where each part's items come from.
PARTS = {
    "ahead": "ahead:items",
    "smoke": "correct:smoke",
    "rollouts": "rollouts:items",
    "peers": "rollouts:peers",
    "decode": "decoding:plain",
    "shared": "decoding:shared",
    "training": "training:items",
    "correct": "correct:items",
}
FAULT = "GPU_BENCHMARK_FAULT"  # tests: "PART=crash", "PART=hang" or "PART=wrong", separated by commas


def write(out: Path, row: dict[str, Any]) -> None:
    """Append a line, whole and at once: processes share the file."""
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")


def run(part: str, shard: int, shards: int, skip: int, dry: bool, out: Path) -> None:
    """Items `skip` and on of those that are this shard's."""
    from gpu_parts.machine import Machine, wait

    m = Machine(dry)
    module, function = PARTS[part].split(":")
    items = getattr(importlib.import_module(f"gpu_parts.{module}"), function)(m)
    for i in range(skip, len(items)):
        if i % shards != shard:
            continue
        name, item = items[i]
        print(f"item {i} {name}", flush=True)  # the parent reads which one a process did not survive
        if i == 0:
            _suffer(m, part)
        about, start = {"part": part, "item": name}, time.monotonic()
        try:
            for row in item():
                write(out, about | row)
            wait()  # what went wrong on the device is this item's
        except Exception as reason:  # whatever an item raises must not cost the others
            traceback.print_exc()
            try:
                wait()
            except Exception:  # the context is lost: another process goes on
                sys.stderr.flush()
                os._exit(3)
            where = traceback.format_exc()[-1500:]
            write(
                out, about | {"fault": "error", "why": f"{type(reason).__name__}: {reason}", "where": where}
            )
        write(out, about | {"item_seconds": round(time.monotonic() - start, 2)})
        gc.collect()


def _suffer(m: Any, part: str) -> None:
    """What a test wants this part to suffer."""
    fault = dict(x.split("=") for x in os.environ.get(FAULT, "").split(",") if x).get(part)
    if fault == "crash":
        os.abort()
    while fault == "hang":
        time.sleep(1)
    m.wrong = fault == "wrong"
