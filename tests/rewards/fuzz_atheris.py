"""Coverage-guided fuzzing of the parser and the ladder, for whoever has atheris:

    python tests/rewards/fuzz_atheris.py -max_total_time=600

A crash is an exception out of `verify`, or a verdict that took more than five seconds of this process.
"""

import sys
import time

import atheris

with atheris.instrument_imports(include=["shuhari.rewards"]):
    from shuhari.rewards import verify
    from shuhari.rewards.math.random_pairs import RANDOM_KINDS

ALL_KINDS = ("auto", *RANDOM_KINDS)


def one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    kind = ALL_KINDS[provider.ConsumeIntInRange(0, len(ALL_KINDS) - 1)]
    answer = provider.ConsumeUnicode(80)
    gold = answer if provider.ConsumeBool() else provider.ConsumeUnicode(80)
    start = time.process_time()  # wall time is as much the neighbours' as ours; -timeout sees to what hangs
    verdict = verify(answer, gold, kind=kind)
    assert verdict.status in {"correct", "wrong", "unknown", "error"}
    assert time.process_time() - start < 5, (answer, gold, kind)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
