"""The objectives: pure functions of log-probabilities and a batch's columns, by name.

Each gives a part's share of the whole batch's loss: a sum over the part, divided by a total of the batch, so
that the shares of all parts add up to the loss of the whole. They see no model and no environment. A new one
is a function under `@objective`, its configuration, and a test against numbers computed by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.loops.checked import Checked, number
from shuhari.loops.learn.batch import Columns


@dataclass
class DistillConfig(Checked):
    name: str = "distill"


@dataclass
class PolicyGradientConfig(Checked):
    name: str = "policy_gradient"
    clip_low: float = 0.2  # ratios are clipped at 1 - clip_low
    clip_high: float = 0.28  # and at 1 + clip_high
    max_weight: float = 3.0  # larger ratios are truncated to it, on either side of the clip
    # Weight of the divergence from the sampler. It holds the policy in place where rewards say little.
    kl: float = number(0.0, least=0)


@dataclass
class PreferenceConfig(Checked):
    name: str = "preference"
    beta: float = 0.1  # the larger, the closer the policy stays to the reference
    reference: str = "base"  # base, a player of this run such as imitation, or the folder of an adapter


@dataclass(frozen=True)
class Objective:
    """A loss, the columns (or pairs) that its batches must have, and whether their groups stay whole."""

    loss: Callable[[Tensor, Columns, Any], Tensor]
    config: type
    needs: tuple[str, ...] = ()
    whole_groups: bool = False


OBJECTIVES: dict[str, Objective] = {}
Loss = TypeVar("Loss", bound=Callable[..., Tensor])


def objective(
    config: type, *, needs: tuple[str, ...] = (), whole_groups: bool = False
) -> Callable[[Loss], Loss]:
    """Register a loss under its own name."""

    def register(loss: Loss) -> Loss:
        OBJECTIVES[loss.__name__] = Objective(loss, config, needs, whole_groups)
        return loss

    return register


@objective(DistillConfig, needs=("weights",))
def distill(logprobs_N: Tensor, c: Columns, cfg: DistillConfig) -> Tensor:
    """Cross-entropy of target weights: -sum(w·log p) / sum(w), in nats.

    Imitation: every token of a trace weighs 1. What search found: every legal move weighs its share of the
    target distribution, as in AlphaZero's policy loss (Silver et al. 2018) and expert iteration (Anthony et
    al. 2017); there is no value head, because values come from continuations.
    """
    return -(c.weights_N * logprobs_N).sum() / c.total_weight


@objective(PolicyGradientConfig, needs=("advantages", "sampler"))
def policy_gradient(logprobs_N: Tensor, c: Columns, cfg: PolicyGradientConfig) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017) over N tokens, with group advantages as in GRPO.

    Where it deviates: no division by the group's standard deviation and one mean over all tokens (Dr. GRPO,
    Liu et al. 2025); the upper clip is wider (DAPO, Yu et al. 2025); no KL term. The behaviour policy is the
    sampler, by the log-probabilities it reported, and a ratio beyond `max_weight` is truncated.
    """
    ratio_N = (logprobs_N - c.sampler_N).exp()
    clipped_N = ratio_N.clamp(1 - cfg.clip_low, 1 + cfg.clip_high)
    weighted_N = ratio_N.clamp(max=cfg.max_weight) * c.advantages_N
    gain_N = torch.minimum(weighted_N, clipped_N * c.advantages_N)
    if cfg.kl:
        gain_N = gain_N - cfg.kl * (ratio_N - 1 - (logprobs_N - c.sampler_N))
    return -(c.weights_N * gain_N).sum() / c.total_weight


@objective(PreferenceConfig, needs=("advantages", "groups", "pairs", "reference"), whole_groups=True)
def preference(logprobs_N: Tensor, c: Columns, cfg: PreferenceConfig) -> Tensor:
    """DPO (Rafailov et al. 2023, eq. 7): -log σ(β · (margin of the better over the worse of a pair)).

    A group is a pair: an advantage above 0 marks the better completion, one below 0 the worse. The margin is
    the difference of their log-ratios to the reference, summed over tokens. The mean is over pairs.
    """
    ratio_S = torch.zeros_like(c.advantages_S).index_add(0, c.sequence_N, logprobs_N - c.reference_N)
    pairs = int(c.group_S.max()) + 1
    margin_P = ratio_S.new_zeros(pairs).index_add(0, c.group_S, c.advantages_S.sign() * ratio_S)
    return -F.logsigmoid(cfg.beta * margin_P).sum() / c.total_groups
