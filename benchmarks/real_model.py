"""How fast, and in how little memory, does a language model learn and sample on a CPU?

    python benchmarks/real_model.py BASE                   a table; BASE: the folder of a checkpoint
    python benchmarks/real_model.py BASE --out FILE.json   and a file; with --only, that part of it anew
    python benchmarks/real_model.py BASE --only sampling   a part: learner, memory, sampling or agreement

The peer is Hugging Face and PEFT as they come: SDPA attention, the same LoRA (rank 16, all linear layers),
the same dtype, the same optimizer (AdamW on the adapter), no padding, the model's own loss over its logits of
all positions, with the prompt's labels masked. Ours scores the same tokens. `generate` samples each prompt by
num_return_sequences. Ours and the peer's are measured in one process, in turn; a ratio is the median of the
rounds' ratios. On a machine with other work wall time wavers; the processor time of all threads wavers less,
and is given beside.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # for both, as our command line sets it

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig

from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.memory import MOST, TrainingMemory
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.run_folder import hardware
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import Policy

RANK, ALPHA = 16, 32.0
SHAPES = ((16, 60, 30), (8, 512, 256))  # sequences, tokens of each, and how many of them are the prompt's
DTYPES = ("float32", "bfloat16")
PROMPTS, SAMPLES, PROMPT, NEW = 8, 8, 32, 32
MEMORY, LIMIT = (16, 512, 256), 4 * 10**9  # the batch whose peak memory is measured, and what it may take


def random_rows(n: int, tokens: int, seed: int = 0) -> list[tuple[int, ...]]:
    rows = torch.randint(100, 40_000, (n, tokens), generator=torch.Generator().manual_seed(seed))
    return [tuple(row) for row in rows.tolist()]


def moved(policy: Policy) -> Policy:
    """An adapter that does something: a new one is zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in policy.parameters.values():
            p.add_(0.005 * torch.randn_like(p))
    policy.updated()
    return policy


def our_learner(policy: Policy, micro_batch: int = MOST, checkpointed: bool = False) -> Learner:
    parameters = list(policy.parameters.values())
    optimizer = Optimizer([], learning_rate=1e-4, rest=parameters, rest_learning_rate=1e-4, steps=1000)
    cfg = OBJECTIVES["distill"].config()
    parts = {"micro_batch": micro_batch, "checkpointed": checkpointed}
    return Learner(policy, cfg, optimizer, reference=None, **parts)


def a_batch(rows: list[tuple[int, ...]], prompt: int) -> Batch:
    return Batch.of([(row[:prompt], row[prompt:]) for row in rows])


def our_step(policy: Policy, rows: list[tuple[int, ...]], prompt: int) -> Callable[[], None]:
    learner, batch = our_learner(policy), a_batch(rows, prompt)

    def run() -> None:
        learner.learn(batch)

    return run


def peer_model(base: str, dtype: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=getattr(torch, dtype), attn_implementation="sdpa", local_files_only=True
    )
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear")
    return get_peft_model(model, config)


def peer_step(model: Any, rows: list[tuple[int, ...]], prompt: int) -> Callable[[], None]:
    model.train()
    ids_BT = torch.tensor(rows)
    labels_BT = ids_BT.clone()
    labels_BT[:, :prompt] = -100
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        model(input_ids=ids_BT, labels=labels_BT, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_((p for p in model.parameters() if p.requires_grad), 1.0)
        optimizer.step()

    return run


def in_turn(ours: Callable[[], None], peer: Callable[[], None], rounds: int) -> dict[str, Any]:
    """Both in turn, `rounds` times after one that does not count; milliseconds and ratios."""
    ours(), peer()
    times = [[seconds(run) for run in (ours, peer)] for _ in range(rounds)]
    found: dict[str, Any] = {"rounds": rounds}
    for clock, name in enumerate(("", "processor_")):
        own, theirs = ([row[i][clock] for row in times] for i in (0, 1))
        ratios = [b / a for a, b in zip(own, theirs, strict=True)]
        found[f"ours_{name}ms"] = spread([1000 * t for t in own])
        found[f"peer_{name}ms"] = spread([1000 * t for t in theirs])
        found[f"{name}ratio"] = round(statistics.median(ratios), 2)
        found[f"{name}ratio_spread"] = [round(min(ratios), 2), round(max(ratios), 2)]
    return found


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """Of the clock on the wall, and of the processors."""
    start, busy = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - busy


def spread(values: list[float]) -> list[float]:
    """Median, least, most."""
    return [round(x, 1) for x in (statistics.median(values), min(values), max(values))]


def learner(base: str, rounds: int) -> list[dict[str, Any]]:
    """Optimizer steps per second, ours and the peer's."""
    rows = []
    for dtype in DTYPES:
        policy, peer = moved(Policy(base, rank=RANK, alpha=ALPHA, dtype=dtype)), peer_model(base, dtype)
        for n, tokens, prompt in SHAPES:
            drawn = random_rows(n, tokens)
            pair = our_step(policy, drawn, prompt), peer_step(peer, drawn, prompt)
            found = in_turn(*pair, rounds)
            shape = {"dtype": dtype, "sequences": n, "tokens": tokens, "in_the_loss": n * (tokens - prompt)}
            speed = {"tokens_per_second": round(1000 * n * tokens / found["ours_ms"][0])}
            rows.append(shape | found | speed)
            print("learner", rows[-1], flush=True)
    return rows


def sampling(base: str, rounds: int) -> list[dict[str, Any]]:
    """A rollout that nobody has seen, ours and `generate`'s, both with an adapter that is not merged."""
    rows = []
    for dtype in DTYPES:
        policy, peer = moved(Policy(base, rank=RANK, alpha=ALPHA, dtype=dtype)), peer_model(base, dtype)
        policy.eos = -1  # no sample may end early, on either side
        peer.eval().get_base_model().generation_config.eos_token_id = None
        with torch.no_grad():
            theirs = dict(peer.named_parameters())
            for name, p in policy.parameters.items():
                theirs[name].copy_(p)
        drawn = random_rows(PROMPTS, PROMPT, seed=2)
        prompts = [row for row in drawn for _ in range(SAMPLES)]
        ids, mask = torch.tensor(drawn), torch.ones(PROMPTS, PROMPT, dtype=torch.long)
        settings = GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=NEW,
            num_return_sequences=SAMPLES,
            eos_token_id=None,
            pad_token_id=0,
        )
        seed = iter(range(10_000))

        def ours(policy: Policy = policy, prompts: Any = prompts, seed: Any = seed) -> None:
            completions = Generator(policy).generate(prompts, NEW, seed=next(seed))
            assert all(len(c.tokens) == NEW for c in completions), completions[0]

        @torch.no_grad()
        def generate(peer: Any = peer, ids: Tensor = ids, mask: Tensor = mask, s: Any = settings) -> None:
            output = peer.generate(input_ids=ids, attention_mask=mask, generation_config=s)
            assert output.shape == (PROMPTS * SAMPLES, PROMPT + NEW)

        found = in_turn(ours, generate, rounds)
        shape = {"dtype": dtype, "prompts": PROMPTS, "samples": SAMPLES, "prompt": PROMPT, "new": NEW}
        speed = {"tokens_per_second": round(1000 * PROMPTS * SAMPLES * NEW / found["ours_ms"][0])}
        rows.append(shape | found | speed | {"share_of_time": shares(ours)})
        print("sampling", rows[-1], flush=True)
    return rows


def shares(run: Callable[[], None]) -> dict[str, float]:
    """Where the time of a rollout goes, by torch's operations on the processor; the rest is Python's."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        start = time.perf_counter()
        run()
        whole = time.perf_counter() - start
    found: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        found[event.key] += event.self_cpu_time_total / 1e6 / whole
    products = sum(v for k, v in found.items() if k in ("aten::mm", "aten::addmm", "aten::addmm_"))
    attention = sum(v for k, v in found.items() if k in ("aten::bmm", "aten::baddbmm", "aten::_softmax"))
    rest = sum(found.values()) - products - attention
    named = {
        "products": products,
        "attention": attention,
        "elementwise": rest,
        "outside": 1 - sum(found.values()),
    }
    top = sorted(found.items(), key=lambda item: -item[1])[:12]
    return {k: round(v, 3) for k, v in named.items()} | {k: round(v, 3) for k, v in top}


def one_step(base: str, dtype: str) -> None:
    """A step of the learner in this process, which is told that it may take LIMIT in all; its peak memory."""
    policy = moved(Policy(base, rank=RANK, alpha=ALPHA, dtype=dtype))
    n, tokens, prompt = MEMORY
    before = resident()
    training = TrainingMemory(policy, LIMIT - before)
    chosen = training.plan(tokens)
    learner = our_learner(policy, chosen.tokens, chosen.checkpointed)
    learner.learn(a_batch(random_rows(n, tokens), prompt))
    estimate = {"choice": training.line(chosen, tokens, "learner"), "before_bytes": before}
    print(json.dumps({"dtype": dtype, "peak_bytes": resident(), "limit_bytes": LIMIT, **estimate}))


def resident() -> int:
    """Bytes of main memory that this process has held at most; getrusage would count its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def memory(base: str) -> list[dict[str, Any]]:
    """Peak resident memory of a process that makes one step, base and libraries included."""
    rows = []
    for dtype in DTYPES:
        command = [sys.executable, "-P", __file__, base, "--only", "one_step", "--dtype", dtype]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        n, tokens, _ = MEMORY
        rows.append({"sequences": n, "tokens": tokens} | json.loads(done.stdout.splitlines()[-1]))
        print("memory", rows[-1], flush=True)
    return rows


def agreement(base: str) -> dict[str, float]:
    """Loss and gradients in micro-batches, and with layers computed twice, beside the whole batch's; fp32."""
    policy = moved(Policy(base, rank=RANK, alpha=ALPHA, dtype="float32"))
    n, tokens, prompt = SHAPES[0]
    batch, found = a_batch(random_rows(n, tokens), prompt), []
    for micro_batch, checkpointed in ((MOST, False), (4 * tokens, False), (4 * tokens, True)):
        learner = our_learner(policy, micro_batch, checkpointed)
        totals = learner._gradients(batch)
        assert totals is not None
        gradients = [p.grad.clone() for p in policy.parameters.values() if p.grad is not None]
        found.append((float(totals[0]), torch.cat([g.flatten() for g in gradients])))
    (loss, whole_N), (parts, parts_N), (twice, twice_N) = found
    result = {
        "loss": loss,
        "loss_difference": abs(parts - loss),
        "gradient_relative": float((parts_N - whole_N).norm() / whole_N.norm()),
        "gradient_largest_difference": float((parts_N - whole_N).abs().max() / whole_N.abs().max()),
        "checkpointed_is_the_same_bits": float(parts == twice and torch.equal(parts_N, twice_N)),
    }
    print("agreement", result, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a checkpoint's folder")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--only", choices=("agreement", "learner", "memory", "sampling", "one_step"))
    parser.add_argument("--dtype", default="", help="only this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    if options.dtype:
        globals()["DTYPES"] = (options.dtype,)
    if options.only == "one_step":
        one_step(options.base, options.dtype)
        return
    parts: dict[str, Callable[[], Any]] = {
        "agreement": lambda: agreement(options.base),
        "learner": lambda: learner(options.base, options.rounds),
        "memory": lambda: memory(options.base),
        "sampling": lambda: sampling(options.base, options.rounds),
    }
    machine = hardware(options.threads, torch.device("cpu"), torch.float32)
    del machine["dtype"]  # both are measured
    before = json.loads(options.out.read_text()) if options.out and options.out.is_file() else {}
    report = {
        **(before if options.only else {}),
        "hardware": machine,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        **{name: part() for name, part in parts.items() if options.only in (None, name)},
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
