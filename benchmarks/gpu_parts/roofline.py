"""What a step of decoding cannot be faster than: the one place where its bytes and FLOPs are counted.

    python benchmarks/gpu_parts/roofline.py

Three things follow one another in a step, each bound by memory or by arithmetic:

- products: every weight is read once (a head tied to the embedding once, rows of the embedding not), and
  2 FLOPs a weight and row are computed; the longer of the two;
- attention: keys and values are read once: a prompt's once for all its rows, a row's own ones for itself;
- logits: [B, V] in fp32, written by the head and read by sampling.

Not counted: activations between kernels, which stay in the L2 cache, launches, and what the host does.
"""

from typing import Any

QWEN_HALF = {"weights": 493_961_216, "bytes_per_position": 12_288, "vocabulary": 151_936}


def roofline(
    *,
    B: int,
    prompts: int,
    P: int,
    own: float,
    weights: int,
    bytes_per_position: int,
    vocabulary: int,
    bandwidth: float,
    flops: float,
    bytes_per_weight: int = 2,
) -> dict[str, Any]:
    """Milliseconds of a step of B rows and tokens a second, with all that they are made of.

    prompts, P: prompts in all and tokens of each; own: mean keys of a row's own
    weights: of all products, an adapter's among them; bytes_per_position: of a token's keys and values
    bandwidth, flops: bytes and floating-point operations a second
    """
    inputs = dict(locals())
    read = 1000 * bytes_per_weight * weights / bandwidth
    computed = 1000 * 2 * weights * B / flops
    keys = 1000 * bytes_per_position * (prompts * P + B * own) / bandwidth
    logits = 1000 * 2 * 4 * B * vocabulary / bandwidth
    parts = {"weights_ms": read, "flops_ms": computed, "keys_ms": keys, "logits_ms": logits}
    ms = max(read, computed) + keys + logits
    return {"inputs": inputs, **parts, "ms": ms, "tokens_per_second": 1000 * B / ms}


if __name__ == "__main__":
    for label, prompts, own, flops in (
        ("shared prompts, own keys at their mean", 16, 128, 790e12),
        ("shared prompts, own keys at their end", 16, 256, 790e12),
        ("each row its prompt, own keys at their end", 256, 256, 790e12),
    ):
        given: dict[str, Any] = {"B": 256, "prompts": prompts, "P": 512, "own": own, **QWEN_HALF}
        found = roofline(**given, bandwidth=4.3e12, flops=flops)
        shown = ", ".join(f"{key} {found[key]:.3f}" for key in found if key.endswith("ms"))
        print(f"{label}: {found['tokens_per_second']:,.0f} tokens/s ({shown})")
