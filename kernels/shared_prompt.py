"""Attention of many samples of few prompts by torch alone.

Every row attends to the whole of one *prefix* (a prompt that it may share with others) and, causally, to its
*completion*. A prompt's keys and values are read once for all its samples, and the two are merged by their
log-sum-exps, as in FlashAttention (Dao et al. 2022) and Hydragen (Juravsky et al. 2024). Read once, fp32:
8·Hkv·D·(N·P + B·S) bytes for N prefixes of P keys and B rows of S, where without sharing it is
8·Hkv·D·B·(P + S); 4·B·H·T·(P + S)·D FLOPs either way.

Keys and values of completions come in parts, best contiguous: a processor fetches ahead within what lies
together, and products run several times faster there than on the first positions of longer rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.attention import plain as causal
from shuhari.kernels.dispatch import Implementation

Part = tuple[Tensor, Tensor]  # keys and values [B, Hkv, S, D] of the next S positions of completions


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of N prompts, and who attends to them.

    k_NHPD, v_NHPD: padded on the right; lengths_N: int64 of valid keys, or None where all are P
    rows_NG: int64 row numbers, -1 in unused places
    in_order: rows_NG counts all rows, 0, 1, 2, ...: nothing need be gathered
    """

    k_NHPD: Tensor
    v_NHPD: Tensor
    rows_NG: Tensor
    lengths_N: Tensor | None = None
    in_order: bool = False

    def lengths(self) -> list[int]:
        """Valid keys of each prompt."""
        if self.lengths_N is None:
            return [self.k_NHPD.shape[2]] * len(self.k_NHPD)
        lengths: list[int] = self.lengths_N.tolist()
        return lengths


def shared_attention(
    q_BHTD: Tensor,
    parts: Sequence[Part],
    completion_length: int | Tensor,
    prefixes: Sequence[Prefix],
    implementation: Implementation | None = None,
    window: int | None = None,
) -> Tensor:
    """Attention [B, H, T, D] of each row's last T positions to its prompt and, causally, its completion.

    Every row is in one prefix.

    completion_length: how many keys of a completion are valid, in every row or (int64 [B]) in each; at least
        T. What stands beyond them changes nothing, but its values must be finite.

    implementation: "plain", row by row, or "torch": the queries of all samples of a prompt as one matrix
        against its keys. None: the rule of `shuhari.kernels.dispatch`
    window: how many positions of its text each looks back over, itself included; None: all

    Raises ValueError where another implementation is asked for.
    """
    if dispatch.choose(implementation, q_BHTD.device, ("plain", "torch")) == "plain":
        texts = _texts(len(q_BHTD), parts, completion_length, prefixes)
        return torch.cat(
            [causal(q_BHTD[b : b + 1], k[None], v[None], window) for b, (k, v) in enumerate(texts)]
        )
    B, H, T, D = q_BHTD.shape
    Hkv = parts[0][0].shape[1]
    q_BHRD = (q_BHTD * D**-0.5).reshape(B, Hkv, H // Hkv * T, D)  # R: queries that share a head's keys
    last_BT = reach_BR = None
    if T > 1 or isinstance(completion_length, Tensor) or window is not None:
        length_B1 = completion_length[:, None] if isinstance(completion_length, Tensor) else completion_length
        # The last key of its completion that a query sees.
        last_BT = torch.arange(-T, 0, device=q_BHTD.device)[None] + length_B1
    if last_BT is not None and window is not None:
        reach_BR = (last_BT - window).repeat(1, H // Hkv).expand(B, -1)
    completion_BHRS = _completion_scores(q_BHRD, parts, completion_length, last_BT, window)

    if len(prefixes) == 1:  # one softmax over both
        (prefix,) = prefixes
        P, back_B = prefix.k_NHPD.shape[2], None if prefix.in_order else _back(prefix.rows_NG, B)
        scores = [_prefix_scores(q_BHRD, prefix, reach_BR), _grouped(completion_BHRS, prefix)]
        weights_NHGRK = torch.cat(scores, 4).softmax(-1)
        shared_NHGRD = _prefix_values(weights_NHGRK[..., :P], prefix)
        completion_BHRS, o_BHRD = (_ungrouped(x, back_B) for x in (weights_NHGRK[..., P:], shared_NHGRD))
        return _add_completion_values(o_BHRD, completion_BHRS, parts).reshape(B, H, T, D)

    completion_lse_BHR1 = completion_BHRS.logsumexp(-1, keepdim=True)
    o_BHRD = _add_completion_values(
        torch.zeros_like(q_BHRD), (completion_BHRS - completion_lse_BHR1).exp(), parts
    )
    for prefix in prefixes:
        scores_NHGRP = _prefix_scores(q_BHRD, prefix, reach_BR)
        # Of a prompt that a window has left behind the sum is 0: its logarithm must still be a number.
        lse_NHGR1 = scores_NHGRP.logsumexp(-1, keepdim=True).clamp(min=torch.finfo(q_BHTD.dtype).min)
        part_NHGRD = _prefix_values((scores_NHGRP - lse_NHGR1).exp(), prefix)
        rows = prefix.rows_NG.flatten()
        used = rows >= 0
        rows = rows[used]
        part, lse = (x.transpose(1, 2).flatten(0, 1)[used] for x in (part_NHGRD, lse_NHGR1))
        o = o_BHRD[rows]
        o_BHRD = o_BHRD.index_copy(0, rows, o + torch.sigmoid(lse - completion_lse_BHR1[rows]) * (part - o))
    return o_BHRD.reshape(B, H, T, D)


def _texts(
    B: int, parts: Sequence[Part], completion_length: int | Tensor, prefixes: Sequence[Prefix]
) -> Iterator[Part]:
    """The keys and values [Hkv, S, D] of each row's whole text: its prompt, then its completion."""
    length_B = [completion_length] * B if isinstance(completion_length, int) else completion_length.tolist()
    completions = [torch.cat(x, 2) for x in zip(*parts, strict=True)]
    prompt_of = {
        row: (prefix.k_NHPD[n, :, :length], prefix.v_NHPD[n, :, :length])
        for prefix in prefixes
        for n, (length, rows) in enumerate(zip(prefix.lengths(), prefix.rows_NG.tolist(), strict=True))
        for row in rows
        if row >= 0
    }
    for b, length in enumerate(length_B):
        k, v = (torch.cat([x, y[b, :, :length]], 1) for x, y in zip(prompt_of[b], completions, strict=True))
        yield k, v


def _completion_scores(
    q_BHRD: Tensor,
    parts: Sequence[Part],
    completion_length: int | Tensor,
    last_BT: Tensor | None,
    window: int | None,
) -> Tensor:
    """[B, Hkv, R, S] of all parts; -inf of what a query does not see."""
    scores = [_scored(q_BHRD, k_BHSD) for k_BHSD, _ in parts]
    scores_BHRS = scores[0] if len(scores) == 1 else torch.cat(scores, 3)
    S = scores_BHRS.shape[3]
    if last_BT is not None:
        last_BT1, place_S = last_BT[:, :, None], torch.arange(S, device=q_BHRD.device)
        unseen_BTS = place_S > last_BT1
        if window is not None:
            unseen_BTS |= place_S <= last_BT1 - window
        unseen_BRS = unseen_BTS.repeat(1, q_BHRD.shape[2] // last_BT.shape[1], 1)
        return scores_BHRS.masked_fill(unseen_BRS[:, None], -torch.inf)
    if completion_length < S:
        scores_BHRS[..., completion_length:] = -torch.inf
    return scores_BHRS


def _add_completion_values(o_BHRD: Tensor, weights_BHRS: Tensor, parts: Sequence[Part]) -> Tensor:
    """o + the weighted values of all parts."""
    widths = [v_BHSD.shape[2] for _, v_BHSD in parts]
    for weights, (_, v_BHSD) in zip(torch.split(weights_BHRS, widths, 3), parts, strict=True):
        o_BHRD = o_BHRD + _weighted(weights, v_BHSD)
    return o_BHRD


def _tiny(left_BHRX: Tensor, right_BHSD: Tensor) -> bool:
    """Whether torch would take a plain loop for a batched product: several times slower than sums."""
    S, D = right_BHSD.shape[2:]
    return left_BHRX.shape[2] == 1 and S * D < 400 and right_BHSD.device.type == "cpu"


def _scored(q_BHRD: Tensor, k_BHSD: Tensor) -> Tensor:
    if _tiny(q_BHRD, k_BHSD):
        return (k_BHSD * q_BHRD).sum(-1)[:, :, None]
    return _product(q_BHRD, k_BHSD.transpose(2, 3))


def _weighted(weights_BHRS: Tensor, v_BHSD: Tensor) -> Tensor:
    if _tiny(weights_BHRS, v_BHSD):
        return (weights_BHRS.transpose(2, 3) * v_BHSD).sum(2, keepdim=True)
    return _product(weights_BHRS, v_BHSD)


def _product(left_XYMK: Tensor, right_XYKN: Tensor) -> Tensor:
    """`left @ right`, with less around it."""
    X, Y, M = left_XYMK.shape[:3]
    return torch.bmm(left_XYMK.flatten(0, 1), right_XYKN.flatten(0, 1)).view(X, Y, M, -1)


def _grouped(x_BHRX: Tensor, prefix: Prefix) -> Tensor:
    """Rows under their prompts, [N, Hkv, G, R, X]; whatever stands in unused places."""
    if not prefix.in_order:
        x_BHRX = x_BHRX[prefix.rows_NG.flatten().clamp(min=0)]
    return x_BHRX.reshape(*prefix.rows_NG.shape, *x_BHRX.shape[1:]).transpose(1, 2)


def _ungrouped(x_NHGRX: Tensor, back_B: Tensor | None) -> Tensor:
    """The reverse, [B, Hkv, R, X], by the places of the rows, or in order."""
    x_MHRX = x_NHGRX.transpose(1, 2).flatten(0, 1)
    return x_MHRX if back_B is None else x_MHRX[back_B]


def _back(rows_NG: Tensor, B: int) -> Tensor:
    """The place of each row in rows_NG, flattened."""
    rows_M = rows_NG.flatten()
    places = (rows_M >= 0).nonzero()[:, 0]
    return rows_M.new_zeros(B).index_copy(0, rows_M[places], places)


def _prefix_scores(q_BHRD: Tensor, prefix: Prefix, reach_BR: Tensor | None) -> Tensor:
    """[N, Hkv, G, R, P] of the queries that read each prompt; -inf beyond its length, and where a window does
    not reach: up to so many places after its end."""
    q_NHGRD = _grouped(q_BHRD, prefix)
    scores_NHQP = _product(q_NHGRD.flatten(2, 3), prefix.k_NHPD.transpose(2, 3))
    if prefix.lengths_N is not None:
        hidden_NP = torch.arange(prefix.k_NHPD.shape[2], device=q_BHRD.device) >= prefix.lengths_N[:, None]
        scores_NHQP = scores_NHQP.masked_fill(hidden_NP[:, None, None], -torch.inf)
    scores_NHGRP = scores_NHQP.view(*q_NHGRD.shape[:4], -1)
    if reach_BR is not None:
        P = prefix.k_NHPD.shape[2]
        length: int | Tensor = P if prefix.lengths_N is None else prefix.lengths_N[:, None, None, None, None]
        unseen_NHGRP = torch.arange(P, device=q_BHRD.device) <= (
            length + _grouped(reach_BR[:, None, :, None], prefix)
        )
        scores_NHGRP = scores_NHGRP.masked_fill(unseen_NHGRP, -torch.inf)
    return scores_NHGRP


def _prefix_values(weights_NHGRP: Tensor, prefix: Prefix) -> Tensor:
    """[N, Hkv, G, R, D]: what the weights make of the prompts' values."""
    return _product(weights_NHGRP.flatten(2, 3), prefix.v_NHPD).view(*weights_NHGRP.shape[:4], -1)
