"""Log-probabilities of many short completions of alike prompts, such as moves: each prompt is read once.

Prompts that differ in their last token, as a position's questions for a move and for its outcome do, share a
row. After what they have in common the row holds a trie: the last tokens, and every beginning of completions.
A node of it sees what is common, and what leads to it (tree attention, as in SpecInfer, Miao et al. 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shuhari.policy.model.attention_patterns import attend_in_trie
from shuhari.policy.policy import LEARNING, Policy, Tokens

Pair = tuple[Tokens, Tokens]  # prompt and completion


@dataclass(frozen=True, slots=True)
class SequenceLogprobs:
    """N completion tokens, in any order: log-probability and entropy of each, in nats.

    sequence_N: the number of the sequence that a token belongs to
    token_N: the token's place in all completions laid end to end
    """

    logprobs_N: Tensor
    entropy_N: Tensor
    sequence_N: Tensor
    token_N: Tensor

    def of_each(self, completions: Sequence[Tokens]) -> list[list[float]]:
        """Log-probabilities by completion, in order of its tokens; 0 of a token that was not scored."""
        every_N = self.logprobs_N.new_zeros(sum(map(len, completions)))
        every_N[self.token_N] = self.logprobs_N
        in_order = iter(every_N.tolist())
        return [[next(in_order) for _ in completion] for completion in completions]


class _Rows:
    """Rows whose common beginnings have one length P. Each goes on with L nodes of its trie, and padding.

    read: of each completion token that is scored: row, node that predicts it, token, sequence, place
    """

    def __init__(self) -> None:
        self.numbers: dict[Tokens, int] = {}  # of rows, by their beginnings
        self.tries: list[dict[tuple[int, int], int]] = []  # of each row: its nodes, by parent and token
        self.read: list[tuple[int, int, int, int, int]] = []

    def node(self, row: int, parent: int, token: int) -> int:
        """The number of a node; -1 is the parent of those that follow the beginning."""
        trie = self.tries[row]
        return trie.setdefault((parent, token), len(trie))

    def add(self, prompt: Tokens, completion: Tokens, number: int, place: int) -> None:
        """A sequence, and the place of its first token in all completions laid end to end."""
        row = self.numbers.setdefault(prompt[:-1], len(self.tries))
        if row == len(self.tries):
            self.tries.append({})
        node = self.node(row, -1, prompt[-1])
        for t, token in enumerate(completion):
            node = self.node(row, node, completion[t - 1]) if t else node
            self.read.append((row, node, token, number, place + t))

    def tensors(self, padding: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, P + L], their positions, and which nodes see which, [B, L, L]."""
        B, L = len(self.tries), max(map(len, self.tries))
        tokens_BL, parents_BL = np.full((B, L), padding), np.full((B, L), -1)
        for row, trie in enumerate(self.tries):
            parents_BL[row, : len(trie)], tokens_BL[row, : len(trie)] = zip(*trie, strict=True)
        every, depths_BL = np.arange(B), np.zeros((B, L), dtype=np.int64)
        sees_BLL = np.broadcast_to(np.eye(L, dtype=bool), (B, L, L)).copy()
        for node in range(1, L):  # a node comes after its parent
            parents_B = parents_BL[:, node]
            has_B = parents_B >= 0
            sees_BLL[has_B, node] |= sees_BLL[every[has_B], parents_B[has_B]]
            depths_BL[has_B, node] = depths_BL[every[has_B], parents_B[has_B]] + 1
        begin_BP = np.array([*self.numbers], dtype=np.int64).reshape(B, -1)
        P = begin_BP.shape[1]
        positions_BT = np.concatenate([np.broadcast_to(np.arange(P), (B, P)), P + depths_BL], axis=1)
        tokens_BT = np.concatenate([begin_BP, tokens_BL], axis=1)
        return torch.from_numpy(tokens_BT), torch.from_numpy(positions_BT), torch.from_numpy(sees_BLL)


def shared_logprobs(
    policy: Policy, sequences: Sequence[Pair], adapter: str | None = LEARNING
) -> SequenceLogprobs:
    """Score every completion token of (prompt, completion) pairs; differentiable in the adapter."""
    by_length: dict[int, _Rows] = {}
    place = 0
    for number, (prompt, completion) in enumerate(sequences):
        by_length.setdefault(len(prompt), _Rows()).add(prompt, completion, number, place)
        place += len(completion)
    scored = [_scored(policy, rows, adapter) for rows in by_length.values()]
    return SequenceLogprobs(*(torch.cat(column) for column in zip(*scored, strict=True)))


def _scored(policy: Policy, rows: _Rows, adapter: str | None) -> tuple[Tensor, ...]:
    """The columns of `SequenceLogprobs` of these rows."""
    tokens_BT, positions_BT, sees_BLL = (x.to(policy.device) for x in rows.tensors(policy.eos))
    row_N, node_N, token_N, owner_N, place_N = torch.tensor(rows.read, device=policy.device).T
    L = sees_BLL.shape[1]
    # Without branches each position sees all before it.
    attend = (
        None
        if bool(sees_BLL.tril().equal(sees_BLL.new_ones(L, L).tril().expand_as(sees_BLL)))
        else (attend_in_trie(sees_BLL, positions_BT))
    )
    logits_BLV = policy.logits(tokens_BT, L, adapter, attend, positions_BT)
    logprobs_BLV = logits_BLV.log_softmax(-1)
    known_BLV = logprobs_BLV.detach()
    entropy_BL = -(known_BLV.exp() * known_BLV).sum(-1)
    return logprobs_BLV[row_N, node_N, token_N], entropy_BL[row_N, node_N], owner_N, place_N
