"""Log-probabilities of completions that had to be one of some texts, such as a game's legal moves.

The generator draws each token among those with which the completion can still become one of the choices
(`Request.choices`). So the behaviour policy is the model under that mask, and losses need its masked
log-probabilities. A token that is the only one allowed has probability 1 and is no decision.
"""

from collections.abc import Sequence

import numpy as np
import torch

from shuhari.policy.inference.request import Choices, next_allowed
from shuhari.policy.policy import LEARNING, Policy, Tokens
from shuhari.policy.scoring import completion_logprobs
from shuhari.policy.shared_scoring import Pair, SequenceLogprobs, shared_logprobs


def masked_logprobs(
    policy: Policy, sequences: Sequence[Pair], choices: Sequence[Choices], adapter: str | None = LEARNING
) -> SequenceLogprobs:
    """Score (prompt, completion) pairs, each under the mask of its choices; differentiable in the adapter.

    Of a sequence with choices only the decisions are scored; of one without, every token.
    """
    free = [i for i, allowed in enumerate(choices) if not allowed]
    if len(free) == len(sequences) or not choices:
        return completion_logprobs(policy, sequences, adapter=adapter)
    starts = [0]
    for _, completion in sequences:
        starts.append(starts[-1] + len(completion))
    # By length of context: distinct (context, allowed tokens), each a row; then each decision's row, token,
    # sequence and place.
    shapes: dict[int, tuple[dict[tuple[Tokens, frozenset[int]], int], list[tuple[int, int, int, int]]]] = {}
    for number, ((prompt, completion), allowed) in enumerate(zip(sequences, choices, strict=True)):
        for t, token in enumerate(completion if allowed else ()):
            if len(ways := next_allowed(allowed, completion[:t])) > 1:
                context = prompt + completion[:t]
                rows, decisions = shapes.setdefault(len(context), ({}, []))
                row = rows.setdefault((context, ways), len(rows))
                decisions.append((row, token, number, starts[number] + t))
    scored = [_decisions(policy, *shape, adapter) for shape in shapes.values()]
    if free:
        s = completion_logprobs(policy, [sequences[i] for i in free], adapter=adapter)
        place = [starts[i] + t for i in free for t in range(len(sequences[i][1]))]
        owner_N = torch.tensor(free, device=s.sequence_N.device)[s.sequence_N]
        place_N = torch.tensor(place, device=s.token_N.device)[s.token_N]
        scored.append((s.logprobs_N, s.entropy_N, owner_N, place_N))
    return SequenceLogprobs(*(torch.cat(column) for column in zip(*scored, strict=True)))


def _decisions(
    policy: Policy,
    rows: dict[tuple[Tokens, frozenset[int]], int],
    decisions: list[tuple[int, int, int, int]],
    adapter: str | None,
) -> tuple[torch.Tensor, ...]:
    """Log-probability, entropy, sequence and place of decisions whose contexts have one length."""
    device = policy.device
    logits_RV = policy.logits(torch.tensor([list(c) for c, _ in rows], device=device), 1, adapter)[:, -1]
    hidden_RV = torch.ones_like(logits_RV, dtype=torch.bool)
    ways = [(row, token) for (_, tokens), row in rows.items() for token in tokens]
    hidden_RV[tuple(torch.tensor(ways, device=device).T)] = False
    logprobs_RV = logits_RV.masked_fill(hidden_RV, -torch.inf).log_softmax(-1)
    row_N, token_N, owner_N, place_N = torch.tensor(decisions, device=device).T
    known_RV = logprobs_RV.detach()
    entropy_R = -(known_RV.exp() * known_RV.masked_fill(hidden_RV, 0.0)).sum(-1)
    return logprobs_RV[row_N, token_N], entropy_R[row_N], owner_N, place_N


def legal_mass(
    policy: Policy, turns: Sequence[tuple[Tokens, Choices]], adapter: str | None = LEARNING
) -> float:
    """The probability, on average over prompts, that the policy says one of the choices without a mask."""
    pairs = [(prompt, choice) for prompt, choices in turns for choice in choices]
    with policy.inference():
        scored = shared_logprobs(policy, pairs, adapter)
    logprobs = np.zeros(len(pairs))
    np.add.at(logprobs, scored.sequence_N.cpu().numpy(), scored.logprobs_N.double().cpu().numpy())
    return float(np.exp(logprobs).sum() / len(turns))
