"""Attention of many samples of few prompts: each prompt's keys and values are read once for all its samples.

Every row attends to the whole of one *prefix* (a prompt that it may share with others) and, causally, to keys
of its *own*. The two parts are computed apart and merged by their log-sum-exps, as in FlashAttention (Dao et
al. 2022) and Hydragen (Juravsky et al. 2024). Read once, fp32: 8·Hkv·D·(N·P + B·S) bytes for N prefixes of P
keys and B rows of S, where without sharing it is 8·Hkv·D·B·(P + S); 4·B·H·T·(P + S)·D FLOPs either way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Implementation = Literal["plain", "grouped"]


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


def plain(
    q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, lengths_B: Tensor | None, prefixes: Sequence[Prefix]
) -> Tensor:
    """The definition, row by row."""
    B, H, T, D = q_BHTD.shape
    prefix_of = {
        row: (p.k_NHPD[n, :, : length(p, n)], p.v_NHPD[n, :, : length(p, n)])
        for p in prefixes
        for n, rows in enumerate(p.rows_NG.tolist())
        for row in rows
        if row >= 0
    }
    result = []
    for b in range(B):
        own = k_BHSD.shape[2] if lengths_B is None else int(lengths_B[b])
        k, v = (torch.cat([x, y[b, :, :own]], 1) for x, y in zip(prefix_of[b], (k_BHSD, v_BHSD), strict=True))
        k, v = (x.repeat_interleave(H // x.shape[0], 0) for x in (k, v))
        scores_HTS = (q_BHTD[b] * D**-0.5) @ k.transpose(1, 2)
        unseen_TS = torch.ones(T, k.shape[1], dtype=torch.bool, device=k.device).triu(k.shape[1] - T + 1)
        result.append(scores_HTS.masked_fill(unseen_TS, -torch.inf).softmax(-1) @ v)
    return torch.stack(result)


def length(prefix: Prefix, n: int) -> int:
    """Valid keys of the n-th prompt."""
    return prefix.k_NHPD.shape[2] if prefix.lengths_N is None else int(prefix.lengths_N[n])


def grouped(
    q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, lengths_B: Tensor | None, prefixes: Sequence[Prefix]
) -> Tensor:
    """The queries of all samples of a prompt as one matrix against its keys."""
    B, H, T, D = q_BHTD.shape
    Hkv, S = k_BHSD.shape[1:3]
    q_BHRD = (q_BHTD * D**-0.5).reshape(B, Hkv, H // Hkv * T, D)  # R: queries that share a head's keys

    own_BHRS = _scored(q_BHRD, k_BHSD)
    if T > 1 or lengths_B is not None:
        last_T = torch.arange(T, device=q_BHTD.device) - T
        last_BT = last_T + (S if lengths_B is None else lengths_B[:, None])  # the last key that a query sees
        hidden_BTS = torch.arange(S, device=q_BHTD.device) > last_BT.expand(B, T)[:, :, None]
        own_BHRS = own_BHRS.masked_fill(hidden_BTS.repeat(1, H // Hkv, 1)[:, None], -torch.inf)

    if len(prefixes) == 1:  # one softmax over both parts
        (prefix,) = prefixes
        back_B = None if prefix.in_order else _back(prefix.rows_NG, B)
        shared_BHRP = _ungrouped(_scores(q_BHRD, prefix), prefix, back_B)
        P = shared_BHRP.shape[3]
        weights_BHRK = torch.cat([shared_BHRP, own_BHRS], 3).softmax(-1)
        weights_NHQP = _grouped(weights_BHRK[..., :P], prefix)
        o_BHRD = _weighted(weights_BHRK[..., P:], v_BHSD)
        o_BHRD = o_BHRD + _ungrouped(weights_NHQP @ prefix.v_NHPD, prefix, back_B)
        return o_BHRD.reshape(B, H, T, D)

    own_lse_BHR = own_BHRS.logsumexp(-1)
    o_BHRD = _weighted((own_BHRS - own_lse_BHR[..., None]).exp(), v_BHSD)
    for prefix in prefixes:
        rows_R = prefix.rows_NG.flatten()
        scores_NHQP = _scores(q_BHRD, prefix)
        lse_NHQ = scores_NHQP.logsumexp(-1, keepdim=True)
        part_NHQD = (scores_NHQP - lse_NHQ).exp() @ prefix.v_NHPD
        used = rows_R >= 0
        rows = rows_R[used]
        part, lse = (_ungrouped(x, prefix, None)[used] for x in (part_NHQD, lse_NHQ))
        o = o_BHRD[rows]
        share = torch.sigmoid(lse - own_lse_BHR[rows][..., None])
        o_BHRD = o_BHRD.index_copy(0, rows, o + share * (part - o))
    return o_BHRD.reshape(B, H, T, D)


def _tiny(left_BHRX: Tensor, right_BHSD: Tensor) -> bool:
    """Whether torch would take a plain loop for a batched product: several times slower than sums."""
    S, D = right_BHSD.shape[2:]
    return left_BHRX.shape[2] == 1 and S * D < 400 and right_BHSD.device.type == "cpu"


def _scored(q_BHRD: Tensor, k_BHSD: Tensor) -> Tensor:
    if _tiny(q_BHRD, k_BHSD):
        return (k_BHSD * q_BHRD).sum(-1)[:, :, None]
    return q_BHRD @ k_BHSD.transpose(2, 3)


def _weighted(weights_BHRS: Tensor, v_BHSD: Tensor) -> Tensor:
    if _tiny(weights_BHRS, v_BHSD):
        return (weights_BHRS.transpose(2, 3) * v_BHSD).sum(2, keepdim=True)
    return weights_BHRS @ v_BHSD


def _grouped(x_BHRD: Tensor, prefix: Prefix) -> Tensor:
    """Rows under their prompts, [N, Hkv, G·R, D]; whatever stands in unused places."""
    N, G = prefix.rows_NG.shape
    x = x_BHRD if prefix.in_order else x_BHRD[prefix.rows_NG.flatten().clamp(min=0)]
    Hkv, R, D = x.shape[1:]
    return x.view(N, G, Hkv, R, D).transpose(1, 2).reshape(N, Hkv, G * R, D)


def _ungrouped(x_NHQD: Tensor, prefix: Prefix, back_B: Tensor | None) -> Tensor:
    """The reverse: [N·G, Hkv, R, D], or, by the places `back_B` of the rows, [B, Hkv, R, D]."""
    N, G = prefix.rows_NG.shape
    Hkv, D = x_NHQD.shape[1], x_NHQD.shape[3]
    x = x_NHQD.view(N, Hkv, G, -1, D).transpose(1, 2).reshape(N * G, Hkv, -1, D)
    return x if back_B is None else x[back_B]


def _back(rows_NG: Tensor, B: int) -> Tensor:
    """The place of each row in rows_NG, flattened."""
    rows_R = rows_NG.flatten()
    places = (rows_R >= 0).nonzero()[:, 0]
    return rows_R.new_zeros(B).index_copy(0, rows_R[places], places)


def _scores(q_BHRD: Tensor, prefix: Prefix) -> Tensor:
    """[N, Hkv, G·R, P] of the queries that read each prompt; -inf beyond its length."""
    scores_NHQP = _grouped(q_BHRD, prefix) @ prefix.k_NHPD.transpose(2, 3)
    if prefix.lengths_N is not None:
        hidden_NP = torch.arange(prefix.k_NHPD.shape[2], device=q_BHRD.device) >= prefix.lengths_N[:, None]
        scores_NHQP = scores_NHQP.masked_fill(hidden_NP[:, None, None], -torch.inf)
    return scores_NHQP


IMPLEMENTATIONS: dict[Implementation, Callable[..., Tensor]] = {"plain": plain, "grouped": grouped}


def shared_attention(
    q_BHTD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    lengths_B: Tensor | None,
    prefixes: Sequence[Prefix],
    implementation: Implementation = "grouped",
) -> Tensor:
    """Attention [B, H, T, D] of each row's last T own positions to its prefix and, causally, its own keys.

    `lengths_B` counts each row's valid own keys (at least T; None: all S). Every row is in one prefix.
    """
    return IMPLEMENTATIONS[implementation](q_BHTD, k_BHSD, v_BHSD, lengths_B, prefixes)
