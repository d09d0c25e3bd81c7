"""The optimizer of every phase: Muon for matrices, AdamW for the rest, with warm-up and linear decay.

Muon (Jordan et al. 2024) steps along the orthogonalised momentum of each matrix, with the step size matched
to AdamW's (Liu et al. 2025, "Muon is scalable"). Here all matrices of one shape are one batch, in fp32.
torch.optim.Muon takes them one by one and in bf16, which a CPU without bf16 instructions must emulate.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

WARMUP = 20  # steps, at most; and a fifth of all
LAST = 0.02  # learning rate of the last step, as a share of the highest one
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: steep at 0, within 0.3 of 1 after five steps


def orthogonalise(matrices_NRC: Tensor, steps: int = 5) -> Tensor:
    """Approximately the nearest semi-orthogonal matrices, by Newton-Schulz iteration. R <= C."""
    a, b, c = NEWTON_SCHULZ
    x_NRC: Tensor = matrices_NRC / (matrices_NRC.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(steps):
        gram_NRR = x_NRC @ x_NRC.mT
        x_NRC = a * x_NRC + (b * gram_NRR + c * gram_NRR @ gram_NRR) @ x_NRC
    return x_NRC


class Optimizer:
    """Minimises a loss in `steps` steps. `learning_rate` is for the matrices."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        steps: int,
        rest: Iterable[nn.Parameter] = (),
        rest_learning_rate: float = 0.0,
    ) -> None:
        self.matrices, rest = list(matrices), list(rest)
        self.learning_rate, self.rest_learning_rate, self.steps = learning_rate, rest_learning_rate, steps
        self.made = 0  # steps so far
        self.rate = 0.0  # learning rate of the last step
        self._by_shape: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for p in self.matrices:
            self._by_shape[tuple(p.shape)].append(p)
        self._momentum = {
            shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self._by_shape.items()
        }
        self._adamw = torch.optim.AdamW(rest, weight_decay=0.0) if rest else None
        self._all = self.matrices + rest

    def zero(self) -> None:
        """Drop the gradients. Those of all backward passes from here on add up until `step`."""
        for p in self._all:
            p.grad = None

    def update(self, loss: Tensor) -> float:
        """One step that reduces `loss`. See `step`."""
        self.zero()
        loss.backward()  # type: ignore[no-untyped-call]
        return self.step()

    def step(self) -> float:
        """One step against the gradient. Returns the norm of the gradient, before it is clipped to 1.

        Raises FloatingPointError, before anything changes, if the gradient is not finite.
        """
        norm = float(nn.utils.clip_grad_norm_(self._all, 1.0))
        if not norm < float("inf"):  # NaN included
            raise FloatingPointError("the gradient is not finite: lower the learning rate")
        warmup = max(1, min(WARMUP, self.steps // 5))
        rate = min(1.0, (self.made + 1) / warmup) * max(LAST, 1 - self.made / self.steps)
        self.rate = rate * (self.learning_rate if self.matrices else self.rest_learning_rate)
        with torch.no_grad():
            for shape, parameters in self._by_shape.items():
                self._step_matrices(shape, parameters, rate * self.learning_rate)
        if self._adamw is not None:
            self._adamw.param_groups[0]["lr"] = rate * self.rest_learning_rate
            self._adamw.step()
        self.made += 1
        return norm

    def _step_matrices(self, shape: tuple[int, ...], parameters: list[nn.Parameter], rate: float) -> None:
        gradient = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters])
        momentum = self._momentum[shape].lerp_(gradient, 1 - MOMENTUM)
        nesterov = gradient.lerp(momentum, MOMENTUM)
        tall = shape[0] > shape[1]
        direction = orthogonalise(nesterov.mT if tall else nesterov)
        direction = direction.mT if tall else direction
        for p, d in zip(parameters, direction, strict=True):
            p.sub_(d, alpha=rate * 0.2 * max(shape) ** 0.5)

    def restart(self, factor: float) -> None:
        """Forget momentum, and take steps smaller by a factor from here on."""
        self.learning_rate, self.rest_learning_rate = (
            self.learning_rate * factor,
            self.rest_learning_rate * factor,
        )
        for momentum in self._momentum.values():
            momentum.zero_()
        if self._adamw is not None:
            self._adamw.state.clear()

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to continue bit for bit."""
        momentum = [m.clone() for m in self._momentum.values()]
        return {
            "step": self.made,
            "rates": [self.learning_rate, self.rest_learning_rate],
            "momentum": momentum,
            "adamw": copy.deepcopy(self._adamw.state_dict()) if self._adamw is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.made = state["step"]
        self.learning_rate, self.rest_learning_rate = state["rates"]
        for mine, saved in zip(self._momentum.values(), state["momentum"], strict=True):
            mine.copy_(saved)
        if self._adamw is not None:
            self._adamw.load_state_dict(state["adamw"])
