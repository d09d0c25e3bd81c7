"""The policy: a Hugging Face causal LM from a folder, frozen, and a PEFT LoRA adapter that learns."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from shuhari.envs.validation import first_line
from shuhari.policy.load import (
    BASE_MARK,
    CheckpointError,
    base_mark,
    base_notes,
    begin_of,
    context,
    end_tokens,
    load_usable,
    read_adapter,
    usable,
)
from shuhari.policy.model import llama
from shuhari.policy.model.adapter_weights import AdapterWeights, unsupported_adapter
from shuhari.policy.model.attention_patterns import Attend
from shuhari.policy.model.base_size import is_small
from shuhari.policy.model.checkpointing import checkpointed_module, supported
from shuhari.policy.model.huggingface_attention import UnsupportedModelError, plug_in

Tokens = tuple[int, ...]
LEARNING = "default"  # PEFT's name for the adapter that learns; None in its place is the base alone
REMEMBERED = 2**16  # texts whose tokens are remembered


def _renamed(parameter: str, adapter: str) -> str:
    """The name of another adapter's parameter."""
    return parameter.replace(f".{LEARNING}.", f".{adapter}.")


class Policy:
    """A frozen base with one trainable adapter, and frozen ones beside it (`freeze`), each by its name.

    `forward_pass` says which one runs: "fused" (ours, of the Llama family) or "module", the checkpoint's own
    with our attention, and why. `base_mark` is a digest of the base's weights, `ends` are the tokens that end
    a completion. `versions` counts each adapter's changes: what was computed at another version is stale. The
    adapter, norms and logits are always fp32; attention is in `kv_dtype`. `device` and `dtype` may be "auto":
    a GPU where there is one, and bfloat16 there and, for a base that is not small, on a CPU that multiplies
    it; `dtype_reason` says why. `small`: whether the base is, by its parameters.
    Raises CheckpointError for a base, an adapter, a device or a dtype that cannot be used.
    """

    def __init__(
        self,
        base: str,
        *,
        rank: int,
        alpha: float,
        seed: int = 0,
        adapter: Path | None = None,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.device, usual = usable(device, dtype)
        model, self.tokenizer, self.dtype_reason = load_usable(base, self.device, usual, dtype)
        self.dtype: torch.dtype = model.dtype
        self.eos = int(self.tokenizer.eos_token_id)
        self.ends = {self.eos, *end_tokens(model)}  # each of them ends a completion
        self.begin = begin_of(self.tokenizer)
        self._rows = len(model.get_input_embeddings().weight)
        # Rows of the head beyond the tokenizer's tokens are padding: they stand for no text.
        self._vocabulary = max(self.tokenizer.get_vocab().values()) + 1
        self.base_mark, self._base_notes = base_mark(model), base_notes(base)
        self.small = is_small(model)
        reason = llama.unsupported(model.config)
        if reason is not None:
            self._plug_in(model.to(self.device), base)
        self.max_length = context(base, model.config)
        sizes = model.config
        self.layers, self.heads = int(sizes.num_hidden_layers), int(sizes.num_attention_heads)
        self.width = int(sizes.hidden_size)
        self.kv_heads = int(getattr(sizes, "num_key_value_heads", None) or self.heads)
        self.head_dim = int(getattr(sizes, "head_dim", None) or sizes.hidden_size // self.heads)
        torch.manual_seed(seed)  # PEFT draws the adapter's A matrices from the global generator
        if adapter is None:
            config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear")
            try:
                self.model = get_peft_model(model, config)
            except ValueError as error:  # which says which of its layers PEFT has no LoRA for
                raise CheckpointError("base", base, first_line(error)[:200]) from None
        else:
            arguments = {"is_trainable": True, "local_files_only": True}
            load = partial(PeftModel.from_pretrained, model, adapter, **arguments)
            self.model = read_adapter(Path(adapter), "adapter", model, self.base_mark, load)
        self.model.eval().to(self.device)  # no dropout anywhere; gradients do not depend on it
        self.parameters: dict[str, nn.Parameter] = {
            name: p for name, p in self.model.named_parameters() if p.requires_grad
        }
        self.encode = lru_cache(REMEMBERED)(self._encode)  # rollouts ask for the same texts again and again
        self.versions: dict[str | None, int] = {None: 0, LEARNING: 0}
        if reason is None and (reason := unsupported_adapter(self.model, LEARNING)):
            self._plug_in(model, base)
        self.fused = reason is None
        self.forward_pass = "fused" if reason is None else f"module ({reason})"
        lengths = {"positions": self.max_length, "vocabulary": self._vocabulary}
        self._weights = AdapterWeights(self.model, **lengths, kv_dtype=self.kv_dtype) if self.fused else None

    @staticmethod
    def _plug_in(model: Any, base: str) -> None:
        try:
            plug_in(model)
        except UnsupportedModelError as error:
            raise CheckpointError("base", base, str(error)) from None

    @property
    def special_tokens(self) -> dict[int, str]:
        """The tokens that stand for no text of their own, with what templates write for them."""
        known = self.tokenizer.added_tokens_decoder
        special = {i: str(t) for i, t in known.items() if i < self._rows and (t.special or i in self.ends)}
        return {self.eos: str(self.tokenizer.eos_token)} | special

    @property
    def kv_dtype(self) -> torch.dtype:
        """What attention computes in, and keys and values are kept in."""
        return self.dtype if self.device.type == "cuda" or not self.fused else torch.float32

    @property
    def bytes_per_position(self) -> int:
        """Of one token's keys and values in all layers."""
        return 2 * int(self.kv_dtype.itemsize) * self.layers * self.kv_heads * self.head_dim

    @property
    def bytes_of_logits(self) -> int:
        """Of one position's."""
        return 4 * int(self._vocabulary)

    @property
    def merged_bytes(self) -> int:
        """Of the base's copies with an adapter merged that learning makes."""
        return 0 if self._weights is None else self._weights.merged_bytes

    @property
    def can_checkpoint(self) -> bool:
        return self.fused or supported(self.model.get_base_model())

    @contextmanager
    def checkpointed(self, wanted: bool) -> Iterator[None]:
        """In this context, if `wanted`, gradients keep layers' inputs only, and compute layers twice."""
        if not wanted:
            yield
        elif self._weights is None:
            with checkpointed_module(self.model.get_base_model()):
                yield
        else:
            self._weights.checkpointed = True
            try:
                yield
            finally:
                self._weights.checkpointed = False

    def updated(self) -> None:
        """Say that the adapter has changed."""
        self.versions[LEARNING] += 1

    def freeze(self, name: str, state: dict[str, Tensor] | None = None) -> None:
        """Keep the learning adapter as it is now (or was: `state`) as a frozen one of this name."""
        if name not in self.model.peft_config:
            self.model.add_adapter(name, self.model.peft_config[LEARNING])
        with torch.no_grad():
            for key, value in (state or self.state()).items():
                frozen = self.model.get_parameter(_renamed(key, name))
                frozen.requires_grad_(False).copy_(value)
        self.versions[name] = self.versions.get(name, 0) + 1

    @property
    def frozen(self) -> list[str]:
        """The names of the frozen adapters."""
        return [name for name in self.versions if name is not None and name != LEARNING]

    def adapter_named(self, name: str, where: str) -> str | None:
        """The key of an adapter in other methods: None for "base", the name of a frozen one, or that of a
        folder, which is loaded and frozen. Raises CheckpointError, naming `where`, for anything else."""
        if name == "base" or name in self.versions:
            return None if name == "base" else name
        loaded = "folder " + name.replace("%", "%25").replace(".", "%2E")  # torch names modules without dots

        def read() -> Any:
            result = self.model.load_adapter(name, loaded, local_files_only=True)
            if self.fused and (reason := unsupported_adapter(self.model, loaded)):
                raise ValueError(reason)
            return result

        if loaded not in self.versions:
            read_adapter(Path(name), where, self.model.get_base_model(), self.base_mark, read)
            self.versions[loaded] = 1
        return loaded

    def weights(self, adapter: str | None = LEARNING) -> llama.Weights:
        """The fused forward pass's weights with an adapter: see `AdapterWeights.of`."""
        assert self._weights is not None, self.forward_pass
        return self._weights.of(adapter, self.versions)

    def inference(self) -> AbstractContextManager[None]:
        """Disable gradients. The fused pass also skips autograd's bookkeeping, a sixth of a small step; a
        module may keep tensors for its next call, which may want gradients."""
        return torch.inference_mode() if self.fused else torch.no_grad()

    def logits(
        self,
        tokens_BT: Tensor,
        keep: int | Tensor | None = None,
        adapter: str | None = LEARNING,
        attend: Attend | None = None,
        positions_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, K, V], in fp32, of the last `keep` positions, of those it lists (int64 [K]), or of all:
        see `llama.hidden`. V counts the tokenizer's tokens: a checkpoint's padding is left out."""
        if self.fused:
            weights = self.weights(adapter)
            last = None if isinstance(keep, Tensor) else keep
            h_BKC = llama.hidden(weights, tokens_BT, last, attend, positions_BT)
            return llama.logits(weights, h_BKC[:, keep] if isinstance(keep, Tensor) else h_BKC)
        with self.adapter_on(adapter):
            output = self.model(
                input_ids=tokens_BT,
                position_ids=positions_BT,
                use_cache=False,
                logits_to_keep=0 if keep is None else keep,
                attend=attend,
            )
        return output.logits[..., : self._vocabulary].float()  # type: ignore[no-any-return]

    @contextmanager
    def adapter_on(self, adapter: str | None) -> Iterator[None]:
        """The module with that adapter, or with none."""
        if adapter is None:
            with self.model.disable_adapter():
                yield
        else:
            self.model.set_adapter(adapter, inference_mode=adapter != LEARNING)
            try:
                yield
            finally:
                self.model.set_adapter(LEARNING)

    def opening(self, text: str) -> Tokens:
        """Tokens of a text that begins a conversation, with begin-of-text if the tokenizer adds it, once."""
        tokens = self.encode(text)
        return tokens if tokens[: len(self.begin)] == self.begin else self.begin + tokens

    def _encode(self, text: str) -> tuple[int, ...]:
        """Tokens of a text, without special ones."""
        tokens = self.tokenizer.encode(text, add_special_tokens=False)
        if max(tokens, default=0) >= self._rows:  # a special token that the base lacks is read as text
            tokens = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return tuple(tokens)

    def decode(self, tokens: tuple[int, ...]) -> str:
        """The text of tokens, without special ones and without what ends a completion."""
        said = tokens[:-1] if tokens and tokens[-1] in self.ends else tokens
        return str(self.tokenizer.decode(list(said), skip_special_tokens=True))

    def state(self, adapter: str = LEARNING) -> dict[str, Tensor]:
        """A copy of an adapter's parameters, under the names that they have in the learning one."""
        return {
            key: self.model.get_parameter(_renamed(key, adapter)).detach().clone() for key in self.parameters
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Set the learning adapter to what `state` gave."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(state[name])
        self.updated()

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's own format, loadable by transformers and vLLM, and its base's mark."""
        again = self.model.get_base_model().name_or_path  # where the base lies now, whoever began the adapter
        self.model.peft_config[LEARNING].base_model_name_or_path = again
        # By default PEFT asks the hub whether the vocabulary has grown; ours never does.
        self.model.save_pretrained(str(folder), selected_adapters=[LEARNING], save_embedding_layers=False)
        (folder / BASE_MARK).write_text(f"{self.base_mark}\n")

    @property
    def begin_text(self) -> str:
        """What opens every plain text; "" where the tokenizer adds nothing."""
        return str(self.tokenizer.decode(list(self.begin)))

    @property
    def notes(self) -> list[str]:
        """What a reader of a report must know of the base."""
        return list(self._base_notes)

    def summary(self) -> dict[str, Any]:
        """Sizes and the forward pass that runs, for reports."""
        base = sum(p.numel() for name, p in self.model.named_parameters() if ".lora_" not in name)
        trained = sum(p.numel() for p in self.parameters.values())
        where = {"device": self.device.type, "dtype": str(self.dtype).removeprefix("torch.")}
        where |= {"dtype_reason": self.dtype_reason}
        begin = {"begin_of_text": self.begin_text} if self.begin else {}
        return {
            "forward_pass": self.forward_pass,
            **where,
            **begin,
            "base_parameters": base,
            "adapter_parameters": trained,
        }
