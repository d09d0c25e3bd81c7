"""The fused forward pass's weights with an adapter, kept for as long as the adapter stays as it is."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from shuhari.policy.model import llama
from shuhari.policy.model.base_size import is_small

MERGED = 2**31  # bytes of merged copies that are kept, of several adapters together; of one always


def unsupported_adapter(model: PeftModel, adapter: str) -> str | None:
    """Why an adapter is more than W + s·BA on linear layers, or None."""
    config = model.peft_config[adapter]
    if config.peft_type != "LORA" or config.use_dora or config.lora_bias or config.modules_to_save:
        return "an adapter that is not plain LoRA"
    if not all(isinstance(m, LoraLinear) for m in model.modules() if isinstance(m, LoraLayer)):
        return "LoRA on other than linear layers"
    if isinstance(model.get_base_model().lm_head, LoraLayer):
        return "LoRA on the head"
    return None


def _low_rank(module: nn.Module, adapter: str) -> tuple[Tensor, Tensor]:
    """A [r, in] and s·B [out, r] of an adapter on a linear layer; of rank 0 where it has none."""
    if not isinstance(module, LoraLinear) or adapter not in module.lora_A:
        weight: Any = module.base_layer.weight if isinstance(module, LoraLinear) else module.weight
        return weight.new_zeros(0, weight.shape[1]), weight.new_zeros(weight.shape[0], 0)
    return module.lora_A[adapter].weight, module.scaling[adapter] * module.lora_B[adapter].weight


class AdapterWeights:
    """Weights of a PEFT model of the Llama family, by adapter.

    In fp32 on a CPU an adapter is merged into a copy, W + s·BA, which is exact there; for gradients only
    where the base is small. Elsewhere it stays beside the base's weights, and its copy is updated in place:
    CUDA graphs want the same tensors always.
    """

    def __init__(self, model: PeftModel, *, positions: int, vocabulary: int, kv_dtype: torch.dtype) -> None:
        """`positions`: of the longest text; `vocabulary`: how many tokens the head computes."""
        self.model, self.kv_dtype = model, kv_dtype
        base = model.get_base_model()
        self.dtype, device = base.dtype, base.device
        self.merges = self.dtype == torch.float32 and device.type == "cpu"
        self._small = is_small(base)
        like, positions_1T = torch.zeros(1, 1, 1, device=device), torch.arange(positions, device=device)[None]
        cos_1TD, sin_1TD = base.model.rotary_emb(like, positions_1T)
        self._cos_TD, self._sin_TD = cos_1TD[0], sin_1TD[0]
        llama.fuse_storage(base)
        head_VC = base.lm_head.weight[:vocabulary]
        # On a CPU the product of 16-bit numbers that leaves fp32 sums takes them in fp32.
        self._head_VC = head_VC.float() if device.type == "cpu" else head_VC
        layers = [m for m in model.modules() if isinstance(m, LoraLinear)]
        self._merged_bytes = sum(m.base_layer.weight.nbytes for m in layers)  # of one adapter's copy
        self.checkpointed = False  # of the weights that are given under autograd
        self._kept: OrderedDict[str | None, tuple[int, llama.Weights]] = OrderedDict()  # oldest use first

    def of(self, adapter: str | None, versions: Mapping[str | None, int]) -> llama.Weights:
        """Under autograd, functions of the adapter's parameters; without, a copy that is kept while the
        adapter's version stays."""
        if torch.is_grad_enabled():
            return self._gather(adapter, merged=self.merges and self._small)
        version, known = versions[adapter], self._kept.get(adapter)
        if known is None or known[0] != version:
            with torch.inference_mode(False), torch.no_grad():  # it outlives whoever asked first
                fresh = self._gather(adapter, self.merges)
                if known is not None and not self.merges:
                    llama.refresh(known[1], fresh)
                    fresh = known[1]
            known = self._kept[adapter] = (version, fresh)
            self._forget_merged()
        if self.merges:
            self._kept.move_to_end(adapter)
        return known[1]

    @property
    def merged_bytes(self) -> int:
        """Of the copies that learning makes: one for inference, and a small base's for gradients."""
        return int(self._merged_bytes) * (1 + self._small) if self.merges else 0

    def _forget_merged(self) -> None:
        """Forget the copies that were used longest ago, as far as memory asks for it."""
        while self.merges and len(self._kept) > 1 and len(self._kept) * self._merged_bytes > MERGED:
            self._kept.popitem(last=False)

    def _gather(self, adapter: str | None, merged: bool) -> llama.Weights:
        def project(modules: Sequence[nn.Module]) -> llama.Projection:
            bases: list[Any] = [m.base_layer if isinstance(m, LoraLinear) else m for m in modules]
            weight = llama.whole([m.weight for m in bases])
            bias = None if bases[0].bias is None else llama.whole([m.bias for m in bases])
            if adapter is None or not any(isinstance(m, LoraLinear) for m in modules):
                return llama.Projection(weight, bias)
            pairs = [_low_rank(m, adapter) for m in modules]
            if not merged:
                a = torch.cat([a for a, _ in pairs])
                b: Tensor = torch.block_diag(*[b for _, b in pairs])  # type: ignore[no-untyped-call]
                return llama.Projection(weight, bias, (a.to(self.dtype), b.to(self.dtype)))
            return llama.Projection(weight + torch.cat([b @ a for a, b in pairs]), bias)

        tables = self._cos_TD, self._sin_TD
        weights = llama.gather(self.model.get_base_model(), project, *tables, self.kv_dtype)
        return replace(weights, head_VC=self._head_VC, checkpointed=self.checkpointed)
