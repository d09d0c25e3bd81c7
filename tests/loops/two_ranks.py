"""What each of two processes does for `test_distributed.py`: the same with its fellow, and alone.

It has torchrun's environment, and writes what it found to the file that the command line names.
"""

import sys
from typing import Any

import gymnasium
import numpy as np
import torch

from shuhari.envs import FreeText
from shuhari.envs.types import Turn
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.distributed import SINGLE_PROCESS, Ranks, join
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.sharded_player import ShardedPlayer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer

torch.set_num_threads(1)
RANK = join().rank


class Guess(gymnasium.Env[str, str]):
    """Pays by the length of the number that is said; `broken`: raises, on the second rank."""

    observation_space = action_space = FreeText()

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return f"{self.np_random.integers(1000)}=", {"legal_actions": ("1", "22", "313")}

    def step(self, action: str) -> Any:
        if self.broken and RANK == 1:
            raise RuntimeError("fell over")
        return "", float(len(action)), True, False, {}


def talk(ranks: Ranks) -> dict[str, Any]:
    calls: list[int] = []

    def double(items: Any) -> list[int]:
        calls.append(len(items))
        nested = ranks.map_sharded(
            items, list
        )  # within a part nothing is shared: or this would wait for ever
        return [2 * item for item in nested]

    tensors = [torch.full((2, 2), 1.0 + RANK), torch.tensor(10.0 * RANK)]
    ranks.all_reduce(tensors)
    found = {
        "gather": ranks.gather(RANK),
        "any": (ranks.any_rank(RANK == 1), ranks.any_rank(False)),
        "add": [t.tolist() for t in tensors],
        "each": ranks.map_sharded(range(7), double),
        "groups": ranks.map_sharded([3, 3, 3, 3, 5, 5], double, keys=[3, 3, 3, 3, 5, 5]),
        "one": ranks.map_sharded([9], double),
        "none": ranks.map_sharded([], double),
    }
    ranks.check_equal([torch.ones(3)])
    try:
        ranks.check_equal([torch.ones(3) * RANK])
    except ValueError as error:
        found["apart"] = str(error)
    return found | {"calls": calls}


def learner(policy: Policy, objective: str, ranks: Ranks) -> Learner:
    optimizer = Optimizer(list(policy.parameters.values()), learning_rate=0.01, steps=9)
    cfg = OBJECTIVES[objective].config()
    return Learner(policy, cfg, optimizer, micro_batch=60, reference=None, ranks=ranks)


def batch(pairs: int) -> Batch:
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(5, 90, rng.integers(3, 9)).tolist()) for _ in range(pairs)]
    completions = [tuple(rng.integers(5, 90, rng.integers(1, 12)).tolist()) for _ in range(2 * pairs)]
    return Batch(
        [prompt for prompt in prompts for _ in range(2)],
        completions,
        weights=rng.random(2 * pairs).tolist(),
        advantages=[1.0, -1.0] * pairs,
        groups=[i for i in range(pairs) for _ in range(2)],
        sampler=[(-4.0 - rng.random(len(c))).tolist() for c in completions],
    )


def learn(ranks: Ranks) -> dict[str, Any]:
    """Figures and gradients by objective and by pairs of a batch, and the adapter after two steps."""
    found: dict[str, Any] = {}
    for objective in OBJECTIVES:
        for pairs in (1, 9):  # of one pair a rank has nothing
            policy = Policy("math", rank=4, alpha=8.0)
            policy.load_state({key: value + 0.02 for key, value in policy.state().items()})
            one = learner(policy, objective, ranks)
            figures = one.learn(batch(pairs))
            gradient = torch.cat([p.grad.flatten() for p in policy.parameters.values() if p.grad is not None])
            one.learn(batch(pairs))
            found[f"{objective} {pairs}"] = figures, gradient, policy.state()
    return found


def play(ranks: Ranks) -> dict[str, Any]:
    policy = Policy("math", rank=4, alpha=8.0)
    found: dict[str, Any] = {}
    for name, seeds, broken in (
        ("groups", [4, 4, 4, 7, 7, 7, 1, 1, 1], False),
        ("one", [5], False),
        ("broken", [1, 2, 3, 4, 5, 6] if ranks.size > 1 else [], True),
    ):
        env = lambda broken=broken: Guess(broken)  # noqa: E731
        rollouts = Rollouts(env, Generator(policy), Renderer(policy), 6, ranks)
        episodes = rollouts.play(seeds, seed=3)
        found[name] = [(e.seed, e.stop, [s.completion for s in e.steps], e.returns) for e in episodes]
        found[f"{name} made"] = rollouts._made
    player = ShardedPlayer(ranks, policy, Renderer(policy))
    turns = [Turn(f"{n}+1=", ("1", "22", "31")) for n in range(100)]
    found["moves"], found["mass"] = player.probabilities_and_mass(turns)
    return found


def main(out: str) -> None:
    with join().as_one() as ranks:
        found = {"talk": talk(ranks), "learn": learn(ranks), "learn alone": learn(SINGLE_PROCESS)}
        found |= {"play": play(ranks), "play alone": play(SINGLE_PROCESS)}
        try:
            learner(Policy("math", rank=4, alpha=8.0), "distill", ranks).learn(batch(2 + RANK))
        except ValueError as error:
            found["different"] = str(error)
        torch.save(found, f"{out}/{RANK}.pt")
        if RANK == 1:
            raise ValueError("the second fell over")
        ranks.gather(None)  # for which the first waits, until it is told


main(sys.argv[1])
