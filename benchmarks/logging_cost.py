"""What watching a run costs: the share of its processor time that goes into TensorBoard and sample episodes.

    python benchmarks/logging_cost.py                                  the default run
    python benchmarks/logging_cost.py experiment=addition seed=1       any other, by its overrides

Counted is what `Watch` does beside a round and beside measuring the skill: figures, pictures of boards,
worked answers and sample games. Measuring is left out of both, because its time is not the logging's.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from shuhari.loops.cli import hydra_commands
from shuhari.loops.report.monitor import Monitor
from shuhari.loops.scoreboard import Scoreboard
from shuhari.loops.watch import Watch

SPENT = {"logging": 0.0, "measuring": 0.0}


def clocked(kind: type, name: str, account: str) -> None:
    """Add the processor seconds of a method to an account."""
    method: Callable[..., Any] = getattr(kind, name)

    @wraps(method)
    def timed(*given: Any, **named: Any) -> Any:
        started = time.process_time()
        try:
            return method(*given, **named)
        finally:
            SPENT[account] += time.process_time() - started

    setattr(kind, name, timed)


def main() -> None:
    for kind, account, names in (
        (Monitor, "logging", ("__init__", "figures", "skill", "own_skill", "close")),
        (Watch, "logging", ("samples",)),
        (Scoreboard, "measuring", ("skill", "measure_references", "measure_policy", "measure_companions")),
    ):
        for name in names:
            clocked(kind, name, account)
    started = time.process_time()
    hydra_commands.run("train", sys.argv[1:])
    training = time.process_time() - started - SPENT["measuring"]
    share = SPENT["logging"] / training
    found = {name: round(seconds, 2) for name, seconds in SPENT.items()}
    print(json.dumps({"processor_seconds": found, "training": round(training, 2), "share": round(share, 4)}))


if __name__ == "__main__":
    main()
