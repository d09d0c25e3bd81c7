"""Log-probability and entropy of tokens, in fp32 whatever the logits are in."""

from torch import Tensor


def token_logprobs(logits_NV: Tensor, targets_N: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, both [N], in nats."""
    logprobs_NV = (logits_NV.float() / temperature).log_softmax(-1)
    entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(-1)
    return logprobs_NV.gather(-1, targets_N[:, None]).squeeze(-1), entropy_N
