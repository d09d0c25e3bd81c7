"""Gradient checkpointing (Chen et al. 2016) of a Hugging Face module by its own layers, without `train()`.

transformers checkpoints a layer only while it trains, and training has dropout. Only the outermost modules,
which have none of their own, are told that they train.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer


def supported(model: Any) -> bool:
    """Whether a causal LM's layers can be checkpointed."""
    return bool(model.supports_gradient_checkpointing) and bool(_layers(model))


def _layers(model: Any) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]


@contextmanager
def checkpointed_module(model: Any) -> Iterator[None]:
    """In this context the layers keep their inputs for gradients, and are computed again for them."""
    layers = _layers(model)
    model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
        model.gradient_checkpointing_disable()
