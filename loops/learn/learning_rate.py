"""The learning rate that follows from the base, so that nobody tunes one to get started.

Every phase has a rate that was found at the width of the small bases. It falls with the width of the base to
the power 3/4: so do the best rates of LoRA across Llama models (exponent .78) in "LoRA without regret"
(Schulman et al. 2025; hardly across Qwen's), and between our bases of width 64 and SmolLM2-135M (576), on
which imitation and self-play learn at a fifth of the small base's rates (docs/results.md). AdamW, whose steps
have entries of about the rate itself, takes a fifth of Muon's.
"""

WIDTH = 64  # of the base at which the phases' rates were found
POWER = 0.75
SHARE = {"muon": 1.0, "adamw": 0.2}  # of a phase's rate, by optimizer


def learning_rate(rate: float, optimizer: str, width: int) -> float:
    """For a base of this width, from a phase's `rate`, Muon's at `WIDTH`."""
    return float(rate * SHARE[optimizer] * (WIDTH / width) ** POWER)
