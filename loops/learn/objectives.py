"""The objectives: pure functions of log-probabilities and of the columns of a part of a batch.

Each sums over its part and divides by a total of the whole batch. So the losses of the parts add up to the
loss of the batch. An objective sees no model and no environment. A new objective is a function under
`@objective`, its configuration, and a test with numbers that are computed by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.loops.config_checks import Checked, number
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
    # Weight of the divergence from `reference`. It holds the policy in place where rewards say little.
    kl: float = number(0.0, least=0)
    reference: str = ""  # "": the sampler itself; base, a player of this run, or the folder of an adapter
    # 0: the loss is a mean over tokens. N: a sum over tokens, divided by N for each completion, so that a
    # token of a long completion counts as much as one of a short one, whatever else is in the batch.
    per_completion: int = number(0, least=0)


@dataclass
class PreferenceConfig(Checked):
    name: str = "preference"
    beta: float = 0.1  # the larger, the closer the policy stays to the reference
    reference: str = "base"  # base, a player of this run such as imitation, or the folder of an adapter


def reference_of(cfg: Any) -> str | None:
    """The name of the policy whose log-probabilities an objective of this configuration reads, if any."""
    return getattr(cfg, "reference", "") or None


@dataclass(frozen=True)
class Objective:
    """A loss and what it asks of its batches.

    needs: columns that they must have; "pairs": their groups must be pairs
    whole_groups: whether all sequences of a group must be in the same part
    """

    loss: Callable[[Tensor, Columns, Any], Tensor]
    config: type
    needs: tuple[str, ...] = ()
    whole_groups: bool = False


OBJECTIVES: dict[str, Objective] = {}
Loss = TypeVar("Loss", bound=Callable[..., Tensor])


def objective(
    config: type, *, needs: tuple[str, ...] = (), whole_groups: bool = False
) -> Callable[[Loss], Loss]:
    """Register a loss under the name of its function."""

    def register(loss: Loss) -> Loss:
        OBJECTIVES[loss.__name__] = Objective(loss, config, needs, whole_groups)
        return loss

    return register


@objective(DistillConfig, needs=("weights",))
def distill(logprobs_N: Tensor, c: Columns, cfg: DistillConfig) -> Tensor:
    """Cross-entropy of target weights: -sum(w·log p) / sum(w), in nats.

    In imitation each token of a trace has weight 1. With targets from search, the weight of each legal move
    is its target probability, as in AlphaZero's policy loss (Silver et al. 2018) and in expert iteration
    (Anthony et al. 2017). There is no value head, because values are text, too.
    """
    return -(c.weights_N * logprobs_N).sum() / c.total_weight


@objective(PolicyGradientConfig, needs=("advantages", "sampler"))
def policy_gradient(logprobs_N: Tensor, c: Columns, cfg: PolicyGradientConfig) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017) over N tokens, with group advantages as in GRPO.

    It deviates in these points. Advantages are not divided by the group's standard deviation, and there is
    one mean over all tokens, or a sum divided by a constant (`per_completion`), as in Dr. GRPO (Liu et al.
    2025). The upper clip is wider (DAPO, Yu et al. 2025). The old policy is the sampler, with the
    log-probabilities that it reported, and a ratio above `max_weight` is truncated. The KL term is off by
    default (`kl`): to the sampler as E[r - 1 - log r] with r = π/sampler, and to a frozen reference as
    GRPO's k3 with r = reference/π (Schulman 2020).
    """
    ratio_N = (logprobs_N - c.sampler_N).exp()
    clipped_N = ratio_N.clamp(1 - cfg.clip_low, 1 + cfg.clip_high)
    weighted_N = ratio_N.clamp(max=cfg.max_weight) * c.advantages_N
    gain_N = torch.minimum(weighted_N, clipped_N * c.advantages_N)
    if cfg.kl:
        log_r_N = c.reference_N - logprobs_N if cfg.reference else logprobs_N - c.sampler_N
        gain_N = gain_N - cfg.kl * (log_r_N.exp() - 1 - log_r_N)
    total = cfg.per_completion * c.total_completions if cfg.per_completion else c.total_weight
    return -(c.weights_N * gain_N).sum() / total


@objective(PreferenceConfig, needs=("advantages", "groups", "pairs"), whole_groups=True)
def preference(logprobs_N: Tensor, c: Columns, cfg: PreferenceConfig) -> Tensor:
    """DPO (Rafailov et al. 2023, eq. 7): -log σ(β · (margin of the better over the worse of a pair)).

    A group is a pair. The better completion has an advantage above 0, and the worse one below 0. The margin
    is the difference of their log-ratios to the reference, summed over tokens. The mean is over pairs.
    """
    ratio_S = torch.zeros_like(c.advantages_S).index_add(0, c.sequence_N, logprobs_N - c.reference_N)
    pairs = int(c.group_S.max()) + 1
    margin_P = ratio_S.new_zeros(pairs).index_add(0, c.group_S, c.advantages_S.sign() * ratio_S)
    return -F.logsigmoid(cfg.beta * margin_P).sum() / c.total_groups
