"""One optimizer step that moves the policy's choices among legal moves towards given probabilities."""

from collections.abc import Sequence

import torch

from shuhari.envs.types import Turn
from shuhari.loops.objectives import distill
from shuhari.loops.optimizer import Optimizer
from shuhari.loops.phase import Counts
from shuhari.policy.choices import choice_rows
from shuhari.policy.generator import Generator
from shuhari.policy.search import Floats


def update_choices(
    generator: Generator,
    optimizer: Optimizer,
    turns: Sequence[Turn],
    targets: Sequence[Floats],
    counts: Counts,
) -> tuple[float, float]:
    """Loss (nats) and gradient norm; `targets[i][j]` is the weight of the j-th legal move of `turns[i]`."""
    prompts = [generator.encode(turn.observation) for turn in turns]
    choices = [generator.choice_tokens(turn.legal_actions) for turn in turns]
    logprobs, weights = [], []
    for rows in choice_rows(prompts, choices):
        logprobs.append(rows.logprobs(generator.policy))
        weights += [targets[p][c] for p, c in zip(rows.prompt, rows.choice, strict=True)]
        counts.tokens += len(rows.row)
    weights_N = torch.tensor(weights, dtype=torch.float32, device=generator.policy.device)
    loss = distill(torch.cat(logprobs), weights_N)
    norm = optimizer.update(loss)
    generator.policy.updated()
    counts.updates += 1
    return loss.item(), norm
