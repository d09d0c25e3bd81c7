"""How fast whole generations are, with the adapter on: shapes of real models, weights at random.

Every generation gets prompts that were never seen, so none is remembered from the one before.
"""

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from gpu_parts.machine import Call, Item, Machine, Row, seconds

from shuhari.policy.inference import gpu_engine

ROUNDS = 3


class Ends(set[int]):
    """End tokens that one token in 128 is: random weights would hardly ever draw a real one."""

    def __contains__(self, token: object) -> bool:
        return isinstance(token, int) and token % 128 == 1


def items(m: Machine) -> list[Item]:
    shapes = m.pick(("qwen2.5-0.5b", "qwen2.5-1.5b"), ("tiny",))
    return [(shape, partial(_generations, m, shape)) for shape in shapes]


def peers(m: Machine) -> list[Item]:
    """transformers' own, of the smaller model."""
    shape, forms = m.pick("qwen2.5-0.5b", "tiny"), {"generate": _generate, "continuous batching": _batched}
    names = m.pick(tuple(forms), ("generate",))
    return [(f"{name} {shape}", partial(_peer, m, shape, name, forms[name])) for name in names]


def _sizes(m: Machine) -> tuple[int, int, int, int]:
    """Tokens of a prompt, new ones, samples of a prompt, rows."""
    sizes: tuple[int, int, int, int] = m.pick((512, 256, 16, 256), (6, 6, 2, 4))
    return sizes


def _generations(m: Machine, shape: str) -> Iterator[Row]:
    from gpu_parts.models import policy_of, prompts

    from shuhari.policy.inference.generator import Generator

    P, S, G, B = _sizes(m)
    gpu_engine.BURST = m.pick(gpu_engine.BURST, 1)
    policy, about = policy_of(m, shape), {"model": shape, "P": P, "S": S, "G": G, "B": B}
    generator = Generator(policy, engine="gpu")
    completions: list[Any] = []

    def generate(new: int) -> None:
        completions[:] = generator.generate(rows, new, seed=int(torch.randint(2**31, ())))

    for lengths, ends, new in (("equal", set(), S), ("random", Ends(), S), ("prefill", set(), 1)):
        policy.ends, times, tokens = ends, [], []
        for _ in range(1 + m.pick(ROUNDS, 1)):  # the first captures its graphs
            rows = prompts(B // G, P, G)
            times.append(seconds(partial(generate, new)))
            tokens.append(sum(len(c.tokens) for c in completions))
        times, tokens = times[1:], tokens[1:]
        if lengths == "prefill":
            yield about | {
                "prefill_tokens_per_second": B // G * P / statistics.median(times),
                "seconds": times,
            }
            continue
        rate = statistics.median(n / t for n, t in zip(tokens, times, strict=True))
        yield about | {"lengths": lengths, "tokens_per_second": rate, "seconds": times, "tokens": tokens}
        if lengths == "equal":
            pairs = [(row, c.tokens) for row, c in zip(rows, completions, strict=True)][: m.pick(32, 4)]
            yield about | _delta(policy, pairs, completions)
    policy.ends = set()
    yield about | _burst(m, policy, generator, prompts(B // G, P, G), S)


def _delta(policy: Any, pairs: list[Any], completions: list[Any]) -> Row:
    """How far the learner's log-probabilities are from the sampler's, packed as in training."""
    from shuhari.policy.scoring import completion_logprobs

    sampler = torch.tensor([x for c in completions[: len(pairs)] for x in c.logprobs])
    with torch.no_grad():
        parts = [
            completion_logprobs(policy, pairs[i : i + 16], packed=True) for i in range(0, len(pairs), 16)
        ]
    delta = (torch.cat([part.logprobs_N.cpu() for part in parts]) - sampler).abs()
    return {"delta_logprob_mean": delta.mean().item(), "delta_logprob_p99": delta.quantile(0.99).item()}


def _burst(m: Machine, policy: Any, generator: Any, rows: list[Any], S: int) -> Row:
    """A step in the middle of a generation: the bare graph, the burst around it, and the host's share."""
    from shuhari.policy.inference.request import Request

    for i, row in enumerate(rows):
        generator.submit(Request(row, S, 1.0, i))
    for _ in range(S // 2 // gpu_engine.BURST):
        generator.step()
    step = next(iter(generator.engine.loaded.values()))
    bursts, replays = m.pick((4, 4 * gpu_engine.BURST), (1, 1))
    before = float(step.reads.completion_length_B.float().mean())
    with policy.inference():  # a dry run's replays are the step itself
        replay_ms = _events(m, step.run, replays)
    own = (before + float(step.reads.completion_length_B.float().mean())) / 2
    burst_ms = 1000 * statistics.median(seconds(generator.step) for _ in range(bursts))
    step.run = lambda: None  # what is left of a burst is the host's
    start = time.thread_time()
    for _ in range(bursts):
        generator.step()
    host_ms = 1000 * (time.thread_time() - start) / bursts
    return {
        "replay_ms": replay_ms,
        "burst_ms": burst_ms,
        "steps": gpu_engine.BURST,
        "processor_ms": host_ms,
    } | _bound(m, policy, rows, own, replay_ms)


def _events(m: Machine, step: Call, n: int) -> float:
    """Milliseconds of one of n calls that are on their way before the first ends."""
    if m.dry:
        return 1000 * seconds(step)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(n):
        step()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / n


def _bound(m: Machine, policy: Any, rows: list[Any], own: float, ms: float) -> Row:
    from gpu_parts.roofline import roofline

    products = sum(p.numel() for p in policy.model.parameters() if p.ndim == 2)
    found = roofline(
        B=len(rows),
        prompts=len(set(rows)),
        P=len(rows[0]),
        own=own,
        weights=products,
        bytes_per_position=policy.bytes_per_position,
        vocabulary=policy.model.config.vocab_size,
        bandwidth=m.bandwidth,
        flops=m.flops,
    )
    return {"roofline": found, "share_of_roofline": found["ms"] / ms}


def _peer(m: Machine, shape: str, name: str, form: Any) -> Iterator[Row]:
    from gpu_parts.models import policy_of, prompts
    from transformers import GenerationConfig

    P, S, G, B = _sizes(m)
    policy, rows = policy_of(m, shape), prompts(B // G, P, G)
    settings = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=S, eos_token_id=None, pad_token_id=0)
    policy.model.get_base_model().set_attn_implementation("sdpa")
    row: Row = {"model": shape, "peer": name}
    try:
        with torch.no_grad():
            row["tokens_per_second"] = B * S / seconds(lambda: form(policy, rows, settings))
    except Exception as reason:  # whatever a peer raises is a line of the report, not a fault of ours
        row["missing"] = f"{type(reason).__name__}: {reason}"[:300]
    yield row


def _generate(policy: Any, rows: list[Any], settings: Any) -> None:
    ids = torch.tensor(rows, device=policy.device)
    output = policy.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
    )
    assert output.shape[1] == ids.shape[1] + settings.max_new_tokens


def _batched(policy: Any, rows: list[Any], settings: Any) -> None:
    outputs = policy.model.get_base_model().generate_batch(
        inputs=[list(row) for row in rows], generation_config=settings
    )
    assert len(outputs) == len(rows)
