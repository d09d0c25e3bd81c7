"""How fast are rollouts? Our generator beside `transformers.generate` and TRL's GRPOTrainer, on a CPU.

    python benchmarks/rollouts_cpu.py            a table
    python benchmarks/rollouts_cpu.py --json     one JSON object

One random Llama of 0.8M parameters (width 128, 4 layers) with a LoRA adapter of rank 16; every new token is
sampled at temperature 1, and no sample may end early. 16 prompts of 16 samples each. Ours and `generate` are
measured in turn, and each ratio is the median of the rounds' ratios.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from shuhari.policy.character_tokenizer import build_tokenizer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import Policy

PROMPTS, SAMPLES, RANK = 16, 16, 16
BATCHES = (1, 4, 16, 64, 256, 512)  # prompts of one sample each, 32 + 32 tokens


def write_base(folder: Path) -> Path:
    """The model, with weights drawn at random."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def never_ends(policy: Policy) -> None:
    """Make end-of-text impossible, for both, so that all samples have the same length."""
    policy.ends = set()
    policy.model.get_base_model().generation_config.eos_token_id = None  # what None in a call falls back on


def draw_prompts(n: int, length: int, repeat: int) -> list[tuple[int, ...]]:
    """`n` random prompts, each `repeat` times."""
    rows = torch.randint(5, 90, (n, length), generator=torch.Generator().manual_seed(length)).tolist()
    return [tuple(row) for row in rows for _ in range(repeat)]


def ours(policy: Policy, prompts: list[tuple[int, ...]], new: int) -> Callable[[int], None]:
    """A rollout with a generator that has seen nothing yet."""

    def run(seed: int) -> None:
        completions = Generator(policy).generate(prompts, new, seed=seed)
        assert all(len(c.tokens) == new for c in completions), completions[0]

    return run


def generate(policy: Policy, prompts: list[tuple[int, ...]], new: int) -> Callable[[int], None]:
    """The same by `transformers.generate`, adapter on, keys and values cached."""
    ids, mask = torch.tensor(prompts), torch.ones(len(prompts), len(prompts[0]), dtype=torch.long)
    settings = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, max_new_tokens=new, eos_token_id=None, pad_token_id=0
    )

    @torch.no_grad()
    def run(seed: int) -> None:
        torch.manual_seed(seed)
        output = policy.model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        assert output.shape[1] == ids.shape[1] + new

    return run


def seconds(run: Callable[[int], None], seed: int) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run(seed)
    return time.perf_counter() - start


def compare(policy: Policy, n: int, samples: int, length: int, new: int, rounds: int) -> dict[str, Any]:
    """Both in turn, `rounds` times after one that does not count."""
    prompts = draw_prompts(n, length, samples)
    pair = ours(policy, prompts, new), generate(policy, prompts, new)
    for run in pair:
        run(0)
    times = [[seconds(run, seed) for run in pair] for seed in range(1, rounds + 1)]
    own, other = ([row[i] for row in times] for i in (0, 1))
    ratios = [b / a for a, b in times]
    return {
        "prompts": n,
        "samples": samples,
        "prompt_tokens": length,
        "new_tokens": new,
        "rounds": rounds,
        "ours_ms": _spread([1000 * t for t in own]),
        "generate_ms": _spread([1000 * t for t in other]),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "tokens_per_second": round(n * samples * new / statistics.median(own)),
    }


def _spread(values: list[float]) -> list[float]:
    """Median, least, most."""
    return [round(x, 1) for x in (statistics.median(values), min(values), max(values))]


def trl(folder: Path, rounds: int) -> float:
    """Median seconds of the generation in a GRPOTrainer step: 256 samples of 32 + 32 tokens."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer.decode(row) for row in draw_prompts(PROMPTS, 32, 1)]
    times: list[float] = []

    class Timed(GRPOTrainer):  # type: ignore[misc]
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = super()._generate(*args, **kwargs)
            times.append(time.perf_counter() - start)
            return result

    with tempfile.TemporaryDirectory() as out:
        trainer = Timed(
            model=AutoModelForCausalLM.from_pretrained(folder),
            reward_funcs=lambda completions, **_: [float(len(set(c))) for c in completions],
            args=GRPOConfig(
                output_dir=out,
                per_device_train_batch_size=PROMPTS * SAMPLES,
                num_generations=SAMPLES,
                max_completion_length=32,
                max_steps=rounds + 1,
                temperature=1.0,
                generation_kwargs={"min_new_tokens": 32},
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="no",
                use_cpu=True,
                bf16=False,
            ),
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear"),
        )
        with redirect_stdout(sys.stderr):  # it prints whatever it is told
            trainer.train()
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = write_base(Path(name))
        policy = Policy(str(folder), rank=RANK, alpha=32.0)
        with torch.no_grad():
            for p in policy.parameters.values():
                p.add_(0.01 * torch.randn_like(p))
        policy.updated()
        never_ends(policy)
        short = compare(policy, PROMPTS, SAMPLES, 32, 32, options.rounds)
        long = compare(policy, PROMPTS, SAMPLES, 256, 8, options.rounds)
        batches = [compare(policy, n, 1, 32, 32, options.rounds) for n in BATCHES]
        peer = trl(folder, options.rounds)
    report = {
        "hardware": {"processor": platform.processor() or platform.machine(), "threads": options.threads},
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
        "forward_pass": policy.forward_pass,
        "ratio_generate_32_32": short["ratio"],
        "ratio_generate_256_8": long["ratio"],
        "ratio_trl": round(1000 * peer / short["ours_ms"][0], 2),
        "trl_generation_ms": round(1000 * peer, 1),
        "rows": [short, long, *batches],
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    heads = (
        "prompts",
        "samples",
        "prompt_tokens",
        "new_tokens",
        "ours_ms",
        "generate_ms",
        "ratio",
        "ratio_spread",
    )
    print(*heads, sep=" | ")
    for row in report["rows"]:
        print(*(row[head] for head in heads), sep=" | ")
    print(
        f"TRL's generation: {report['trl_generation_ms']} ms, {report['ratio_trl']} times ours; "
        f"forward pass: {policy.forward_pass}"
    )


if __name__ == "__main__":
    sys.exit(main())
