"""Whole steps: a captured one says what an eager one says, and sees an adapter's update as it is."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
from gpu_parts.machine import Item, Machine, Row

MODELS = ("D64", "D128", "D128 normed")
STEPS = 3
MEMORY = 2**28  # bytes of a generator: several processes share the GPU


def items(m: Machine) -> list[Item]:
    """Of every model; in a dry run of the smallest, whose graphs are the steps themselves."""
    found: list[Item] = []
    for model in m.pick(MODELS, ("tiny",)):
        found.append((f"captured step {model}", partial(_captured, m, model)))
        found.append((f"update without recapture {model}", partial(_updated, m, model)))
    return found


def _captured(m: Machine, model: str) -> Iterator[Row]:
    """Steps of the same rows from the same state: logits after each, and the tokens drawn."""
    from gpu_parts.models import policy_of, prompts

    from shuhari.policy.inference import captured_step
    from shuhari.policy.inference.generator import Generator
    from shuhari.policy.inference.request import Request

    policy = policy_of(m, model)
    generator: Any = Generator(policy, memory=MEMORY, engine="gpu")
    scheduler, engine = generator.scheduler, generator.engine
    rows = prompts(2, m.pick(300, 4), m.pick(5, 2))
    for i, row in enumerate(rows):
        generator.submit(Request(row, STEPS + 2, 1.0, i))
    running = list(scheduler.waiting)
    with policy.inference():
        for new in scheduler.admit():
            for request, token in zip(new.requests, new.tokens[0], strict=True):
                request.tokens.append(token)
        captured = engine.load("default", running)
        with mock.patch.object(captured_step, "_captured", lambda step, device, memory: step):
            engine.captured.clear()
            eager = engine.load("default", running)
        for i in range(STEPS):
            eager.run()
            captured.run()
            got, want = (x.logits_BV[: len(rows)].double() for x in (captured, eager))
            yield m.judged(f"logits of step {i}", got, want, policy.dtype)
            others = int((captured.tokens_B != eager.tokens_B).sum())
            yield {"value": f"tokens of step {i}", "other_tokens": others, "right": others == 0}
            captured.tokens_B.copy_(eager.tokens_B)


def _updated(m: Machine, model: str) -> Iterator[Row]:
    """A generator that has captured its graphs says, after an update, what a new one says."""
    from gpu_parts.models import policy_of, prompts

    from shuhari.policy.inference.generator import Generator

    policy, rows, new = policy_of(m, model), prompts(2, m.pick(300, 4), m.pick(5, 2)), m.pick(12, 4)
    old: Any = Generator(policy, memory=MEMORY, engine="gpu")
    before = old.generate(rows, new, temperature=0)
    captured = set(old.engine.captured)
    with torch.no_grad():
        for p in policy.parameters.values():
            p.mul_(1.5)
    policy.updated()
    after = old.generate(rows, new, temperature=0)
    anew = Generator(policy, memory=MEMORY, engine="gpu").generate(rows, new, temperature=0)
    again = set(old.engine.captured) - captured
    seen = [c.logprobs for c in after] != [c.logprobs for c in before]
    yield {"value": "completions", "right": after == anew and seen, "captured_again": len(again)}
    yield {"value": "no new capture", "right": not again}
