"""Log-probabilities of given completions, for losses and for players."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from shuhari.kernels.logprobs import linear_logprobs, token_logprobs
from shuhari.kernels.segments import Segments
from shuhari.policy.model import llama
from shuhari.policy.model.attention_patterns import attend_within
from shuhari.policy.policy import LEARNING, Policy
from shuhari.policy.shared_scoring import Pair, SequenceLogprobs, shared_logprobs

# The share of a padded batch's tokens up to which it is packed. Packing moves queries, keys and values to and
# fro in every layer, which a batch without much padding or repetition does not earn back.
PACKED = 0.75

SHORT = 8  # tokens of completions that may share a row as branches, as moves do; texts share too little
SHARED = 2  # how many times fewer tokens that must be


def completion_logprobs(
    policy: Policy, sequences: Sequence[Pair], packed: bool | None = None, adapter: str | None = LEARNING
) -> SequenceLogprobs:
    """Score every completion token of (prompt, completion) pairs; differentiable in the adapter.

    Short completions of one prompt, as a game's moves are, share a row where that saves enough. Packed,
    sequences stand without padding, and each distinct prompt is computed once for all its completions; that
    is the default on a GPU, and where it leaves few enough tokens. Otherwise rows are padded on the right,
    where causal attention cannot see.
    """
    if packed is None:
        # The logits of a large vocabulary are better made in chunks, which branches are not.
        if policy.small and _worth_sharing(sequences):
            return shared_logprobs(policy, sequences, adapter)
        prompts = {prompt for prompt, _ in sequences}
        tokens = sum(map(len, prompts)) + sum(len(c) - 1 for _, c in sequences)
        padded = len(sequences) * max(len(p) + len(c) - 1 for p, c in sequences)
        packed = policy.fused and (policy.device.type == "cuda" or tokens <= PACKED * padded)
    return _packed(policy, sequences, adapter) if packed else _padded(policy, sequences, adapter)


def _worth_sharing(sequences: Sequence[Pair]) -> bool:
    """Whether rows that branch, as `shared_logprobs` makes them, have few enough tokens."""
    if max(len(completion) for _, completion in sequences) > SHORT:
        return False
    distinct = set(sequences)
    beginnings = {prompt[:-1] for prompt, _ in distinct}
    nodes = {prompt + completion[:k] for prompt, completion in distinct for k in range(len(completion))}
    branching = sum(map(len, beginnings)) + len(nodes)
    return SHARED * branching <= sum(len(prompt) + len(completion) - 1 for prompt, completion in distinct)


def _padded(policy: Policy, sequences: Sequence[Pair], adapter: str | None) -> SequenceLogprobs:
    lengths = [len(p) + len(c) for p, c in sequences]
    rows_BT = torch.full((len(sequences), max(lengths)), policy.eos)
    scored_BT = torch.zeros(rows_BT.shape, dtype=torch.bool)
    for i, (prompt, completion) in enumerate(sequences):
        rows_BT[i, : lengths[i]] = torch.tensor(prompt + completion)
        scored_BT[i, len(prompt) : lengths[i]] = True
    # What stands at position t predicts token t + 1; before the shortest prompt's end nothing is scored.
    keep = rows_BT.shape[1] - min(len(p) for p, _ in sequences)
    scored_BK = scored_BT[:, -keep:].to(policy.device)
    targets_N = rows_BT[:, -keep:].to(policy.device)[scored_BK]
    tokens_BT = rows_BT[:, :-1].to(policy.device)
    if policy.fused:
        weights = policy.weights(adapter)
        h_NC = llama.hidden(weights, tokens_BT, keep)[scored_BK]
        return _scored(weights, h_NC, targets_N, scored_BK.nonzero()[:, 0])
    logprobs_N, entropy_N = token_logprobs(policy.logits(tokens_BT, keep, adapter)[scored_BK], targets_N)
    return _in_order(logprobs_N, entropy_N, scored_BK.nonzero()[:, 0])


def packed_hidden(
    policy: Policy, sequences: Sequence[Pair], adapter: str | None = LEARNING, layers: int | None = None
) -> tuple[llama.Weights, Tensor, list[list[int]]]:
    """All in one row: each prompt, then its completions without their last tokens, which predict nothing.

    The weights, hidden states [1, N, C] after so many layers (all), and the places that predict each
    completion's tokens.
    """
    members: dict[tuple[int, ...], list[int]] = {}
    for i, (prompt, _) in enumerate(sequences):
        members.setdefault(prompt, []).append(i)
    tokens: list[int] = []
    lengths: list[int] = []
    prompts: list[int] = []
    read: list[list[int]] = [[]] * len(sequences)
    for prompt, rows in members.items():
        root = len(lengths)
        tokens += prompt
        lengths.append(len(prompt))
        prompts.append(-1)
        last = len(tokens) - 1
        for i in rows:
            completion = sequences[i][1]
            read[i] = [last, *range(len(tokens), len(tokens) + len(completion) - 1)]
            tokens += completion[:-1]
            lengths.append(len(completion) - 1)
            prompts.append(root)
    segments = Segments.pack(lengths, prompts, policy.device)

    weights = policy.weights(adapter)
    weights = replace(weights, layers=weights.layers[:layers])
    tokens_1N = torch.tensor([tokens], device=policy.device)
    h_1NC = llama.hidden(weights, tokens_1N, None, attend_within(segments), segments.positions_N[None])
    return weights, h_1NC, read


def _packed(policy: Policy, sequences: Sequence[Pair], adapter: str | None) -> SequenceLogprobs:
    weights, h_1NC, read = packed_hidden(policy, sequences, adapter)
    read_N = torch.tensor([place for places in read for place in places], device=policy.device)
    targets_N = torch.tensor([t for _, completion in sequences for t in completion], device=policy.device)
    owners = [i for i, (_, completion) in enumerate(sequences) for _ in completion]
    return _scored(weights, h_1NC[0][read_N], targets_N, torch.tensor(owners, device=policy.device))


def _scored(weights: llama.Weights, h_NC: Tensor, targets_N: Tensor, sequence_N: Tensor) -> SequenceLogprobs:
    logprobs_N, entropy_N = linear_logprobs(h_NC.to(weights.dtype), weights.head_VC, targets_N)
    return _in_order(logprobs_N, entropy_N, sequence_N)


def _in_order(logprobs_N: Tensor, entropy_N: Tensor, sequence_N: Tensor) -> SequenceLogprobs:
    token_N = torch.arange(len(logprobs_N), device=logprobs_N.device)
    return SequenceLogprobs(logprobs_N, entropy_N, sequence_N, token_N)
