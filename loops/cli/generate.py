"""`shuhari generate`: print samples of a checkpoint as they end, and how fast they were made."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from shuhari.policy.chat_renderer import build_renderer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Completion, Request
from shuhari.policy.inference.sampler import spread
from shuhari.policy.load import CheckpointError
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.render import Renderer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shuhari generate",
        description="Sample completions of a prompt.",
        epilog="example: shuhari generate '47+85=' --base math --adapter runs/addition/DATE/adapter-selfplay",
    )
    parser.add_argument("prompt", help="the text to go on from; - reads it from standard input")
    parser.add_argument("--base", default="games", help="a base, as policy.base takes it (games)")
    parser.add_argument("--adapter", type=Path, help="a LoRA adapter's folder, as of a run")
    parser.add_argument("--format", default="auto", help="chat or plain (chat where the base has a template)")
    parser.add_argument("--instructions", default="", help="the system turn of a chat")
    parser.add_argument("-n", "--samples", type=int, default=4)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest tokens")
    parser.add_argument("--stop", action="append", default=[], help="text that ends a sample; repeatable")
    parser.add_argument("--choice", action="append", default=[], help="one text to choose among; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="cpu or cuda (a GPU where there is one)")
    parser.add_argument("--dtype", default="auto", help="float32, bfloat16 (on a GPU the default), float16")
    parser.add_argument("--threads", type=int, help="of the processor (all)")
    parser.add_argument("--memory", type=float, help="MiB of keys and values (1024; a quarter of a GPU's)")
    parser.add_argument("--json", action="store_true", help="one JSON object a sample, and nothing else")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for what the user got wrong."""
    options = _parsed(arguments)
    prompt = sys.stdin.read().removesuffix("\n") if options.prompt == "-" else options.prompt
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        where = {"device": options.device, "dtype": options.dtype}
        policy = Policy(options.base, rank=1, alpha=1.0, adapter=options.adapter, **where)
        renderer = build_renderer(policy, options.instructions, format=options.format)
    except CheckpointError as error:
        print(f"shuhari: --{error.argument} {error.value}: {error.reason}", file=sys.stderr)
        return 2
    generator = Generator(policy, memory=int(options.memory * 2**20) if options.memory else None)
    started = time.monotonic()
    tokens, refused = _print_samples(generator, renderer, prompt, options)
    if refused:
        print(f"shuhari: {refused}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - started
    if not options.json:
        for note in (*policy.notes, *renderer.notes(turns=False)):
            print(f"note: {note}")
        ran = f"{renderer.format} format, " + "forward pass: {forward_pass}, {dtype} on {device}".format_map(
            policy.summary()
        )
        print(f"{tokens} tokens in {seconds:.2f} s: {tokens / seconds:,.0f} tokens/s, {ran}")
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in ("samples", "max_new_tokens", "threads", "memory"):
        if (value := getattr(options, name)) is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} {value}: must be greater than 0")
    return options


def _print_samples(
    generator: Generator, renderer: Renderer, text: str, options: argparse.Namespace
) -> tuple[int, str]:
    """Print each sample when it ends. Returns the number of tokens, and why a sample was refused, or ""."""
    limits = options.max_new_tokens, options.temperature
    given: Any = {"stop": tuple(options.stop), "choices": renderer.choices(tuple(options.choice))}
    prompt = renderer.first(text)
    given["adapter"] = LEARNING if options.adapter else None
    requests = [Request(prompt, *limits, seed, **given) for seed in spread(options.seed, options.samples)]
    numbers = {generator.submit(request): n for n, request in enumerate(requests, 1)}
    tokens, refused = 0, ""
    while not generator.idle:
        for ticket, completion in generator.step():
            refused = refused or completion.error
            tokens += len(completion.tokens)
            if options.json:
                print(json.dumps(_row(numbers[ticket], completion)), flush=True)
            elif not completion.error:
                text = completion.text + ("" if completion.finished else " …")
                logprob = sum(completion.logprobs)
                print(f"{numbers[ticket]}: {text}   (log-probability {logprob:.2f})", flush=True)
    return tokens, refused


def _row(number: int, completion: Completion) -> dict[str, Any]:
    row = {"sample": number, "text": completion.text, "finished": completion.finished}
    row |= {"tokens": list(completion.tokens), "logprobs": list(completion.logprobs)}
    return row | ({"error": completion.error} if completion.error else {})
