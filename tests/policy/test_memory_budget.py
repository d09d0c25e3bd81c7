"""What a generator keeps in memory, counted tensor by tensor: never more than its budget."""

import gc
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest
import torch

from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.memory_budget import MemoryBudget
from shuhari.policy.inference.request import Request
from shuhari.policy.policy import Policy


def kept_bytes(generator: Generator) -> int:
    """Of all tensors that can be reached from a generator, but not by way of its policy."""
    seen: set[int] = set()
    storages: dict[int, int] = {}
    found: list[Any] = [generator]
    while found:
        item = found.pop()
        if id(item) in seen or isinstance(item, (type, ModuleType, Policy, torch.nn.Module)):
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            storages[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
            continue
        globals_ = getattr(item, "__globals__", None)
        found += [x for x in gc.get_referents(item) if x is not globals_]
    return sum(storages.values())


TABLES = 2**14  # bytes of row numbers, temperatures and the like, which the budget does not count


@pytest.mark.parametrize("engine", ["cpu", pytest.param("gpu", marks=pytest.mark.long)])
def test_distinct_prompts_and_adapters_stay_within_the_budget(engine: Literal["cpu", "gpu"]) -> None:
    policy, size, rng = Policy("games", rank=2, alpha=4.0), 2**20, np.random.default_rng(0)
    adapters = [f"past{n}" for n in range(8)]
    for adapter in adapters:
        policy.freeze(adapter)
    generator = Generator(policy, memory=size, engine=engine)
    most, prompts = 0, 0
    for seed in range(20):
        requests = []
        for adapter in adapters:
            for _ in range(3):  # of about one length: on a CPU they lie together
                prompt = tuple(rng.integers(5, 90, rng.integers(9, 17)).tolist())
                new = int(rng.integers(1, 9))
                requests += [Request(prompt, new, 1.0, seed + sample, adapter) for sample in range(2)]
                prompts += 1
        tickets = {generator.submit(request) for request in requests}
        while not generator.idle:
            ended = generator.step()
            assert not any(completion.error for _, completion in ended)
            tickets -= {ticket for ticket, _ in ended}
            most = max(most, kept := kept_bytes(generator))
            assert kept <= size
            assert kept - TABLES <= generator.engine.budget.used <= size  # what is kept has been taken
        assert not tickets
    assert most > size / 2  # it did fill
    assert 0 < len(generator.scheduler.prompts) < prompts  # and the oldest were forgotten


class Item:
    """Something of ten bytes that is remembered."""

    def __init__(self, budget: MemoryBudget, gone: list["Item"]) -> None:
        self.budget, self.gone = budget, gone
        assert budget.take(10)

    def forget(self) -> None:
        self.gone.append(self)
        self.budget.give(10)


def test_the_oldest_that_nobody_uses_is_forgotten_first() -> None:
    budget, gone = MemoryBudget(40), list[Item]()
    a, b, c, d = (Item(budget, gone) for _ in range(4))
    assert not budget.take(1)  # all are in use
    for item in (b, a, c):
        budget.remember(item)
    budget.recall(b)
    assert budget.take(15)
    assert gone == [a, c]
    assert budget.used == 35
    assert not budget.take(6)
    budget.remember(d)
    assert budget.attempt(lambda: None, kind=str) is None  # of another kind
    assert budget.take(6)
    assert gone == [a, c, d]
    budget.charge(100)  # what must be is taken even so
    assert budget.used == 131
