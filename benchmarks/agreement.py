"""How far apart are sampler and learner on a base, where the policy has not moved?

    python benchmarks/agreement.py --base FOLDER [--dtype float32 bfloat16] [--tokens 64] [--device cpu]
        [--temperature 1]

For each dtype it samples at temperature 1, scores the samples as the learner does, and prints the
differences of the log-probabilities in nats a token: with a fresh adapter, and with noise added to all its
matrices. These are the figures behind the bounds in loops/agreement.py.
"""

import argparse

import numpy as np
import torch

import shuhari.policy.policy as policy_module
from shuhari.loops.agreement import compare
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.objectives import DistillConfig
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import Policy

PROMPTS = (
    "Question: Ann has 3 apples and buys 4 bags of 5. How many?\nAnswer:",
    "Compute 47+85=",
    "Once upon a time",
    "def add(a, b):\n",
)
SAMPLES = 4  # of each prompt
NOISE = (0.0, 0.02)  # standard deviations, added to the adapter


def main() -> None:
    """Print one row for each dtype and adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--temperature", type=float, default=1.0, help="another one is a fault to be found")
    given = parser.parse_args()
    torch.set_num_threads(1)
    # A run refuses float16 on a CPU, because it is slow there; a measurement need not.
    policy_module.usable = lambda device, dtype: (torch.device(device), getattr(torch, dtype))
    print("| dtype | adapter | n | mean | 99% | most |\n|---|---|---|---|---|---|")
    for dtype in given.dtype:
        policy = Policy(given.base, rank=16, alpha=32.0, dtype=dtype, device=given.device)
        optimizer = Optimizer([], learning_rate=0.0, steps=1, rest=list(policy.parameters.values()))
        learner = Learner(policy, DistillConfig(), optimizer, micro_batch=8192, reference=None)
        fresh = policy.state()
        for noise in NOISE:
            torch.manual_seed(0)
            policy.load_state({key: v + noise * torch.randn_like(v) for key, v in fresh.items()})
            prompts = [policy.opening(text) for text in PROMPTS for _ in range(SAMPLES)]
            sampled = Generator(policy).generate(prompts, given.tokens, temperature=given.temperature, seed=1)
            tokens, logprobs = [c.tokens for c in sampled], [c.logprobs for c in sampled]
            off = np.array(compare(learner, Batch(prompts, tokens, sampler=logprobs)).differences)
            name = f"noise of {noise:g}" if noise else "fresh"
            figures = " | ".join(f"{x:.2g}" for x in (off.mean(), np.quantile(off, 0.99), off.max()))
            print(f"| {dtype} | {name} | {len(off)} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
