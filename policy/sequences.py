"""Log-probabilities of given completions, for losses: the learner's side of what the generator sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shuhari.kernels.logprobs import token_logprobs
from shuhari.policy.lm import Policy


@dataclass(frozen=True, slots=True)
class SequenceLogprobs:
    """Of N completion tokens, in order of the sequences: log-probability and entropy (nats), and whose."""

    logprobs_N: Tensor
    entropy_N: Tensor
    sequence_N: Tensor


Pair = tuple[tuple[int, ...], tuple[int, ...]]  # prompt and completion


def completion_logprobs(policy: Policy, sequences: Sequence[Pair]) -> SequenceLogprobs:
    """Of every completion token of (prompt, completion) pairs, differentiable in the adapter.

    Rows are padded on the right, where causal attention cannot see: padding changes nothing.
    """
    lengths = [len(p) + len(c) for p, c in sequences]
    rows_BT = torch.full((len(sequences), max(lengths)), policy.eos)
    scored_BT = torch.zeros(rows_BT.shape, dtype=torch.bool)
    for i, (prompt, completion) in enumerate(sequences):
        rows_BT[i, : lengths[i]] = torch.tensor(prompt + completion)
        scored_BT[i, len(prompt) : lengths[i]] = True
    # The logits of position t predict token t + 1; before the shortest prompt's end nothing is scored.
    keep = rows_BT.shape[1] - min(len(p) for p, _ in sequences)
    logits_BKV = policy.logits(rows_BT[:, :-1], keep)
    targets_BK, scored_BK = rows_BT[:, -keep:], scored_BT[:, -keep:]
    logprobs_N, entropy_N = token_logprobs(logits_BKV[scored_BK], targets_BK[scored_BK])
    return SequenceLogprobs(logprobs_N, entropy_N, scored_BK.nonzero()[:, 0])
