"""Reading bases and adapters from disk, and every reason why one cannot be used."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import (
    disable_progress_bar,
    get_verbosity,
    set_verbosity,
    set_verbosity_error,
)

from shuhari.envs.validation import first_line
from shuhari.policy.base_source import BaseNotFoundError, BaseSource, find_base
from shuhari.policy.gguf_file import load_gguf, read_header
from shuhari.policy.model.base_size import bfloat16_instructions, is_small, parameters

# PEFT calls what transformers has deprecated; a user can do nothing about it.
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
# PEFT says that it adapts transposed weights, GPT-2's, as transposed ones.
warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
disable_progress_bar()  # a tiny checkpoint loads faster than its bar draws
BASE_MARK = "base_mark.txt"  # beside an adapter: which weights it was trained on


class CheckpointError(ValueError):
    """A base, an adapter, a device or a dtype cannot be used. One line says which, why, and what to do.

    argument, value: what was given; reason: why it cannot be used, and the remedy
    """

    def __init__(self, argument: str, value: object, reason: str) -> None:
        super().__init__(f"{argument}={value}: {reason}")
        self.argument, self.value, self.reason = argument, value, reason


class LeftOutWarning(UserWarning):
    """A checkpoint has weights that nothing reads."""


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def usable(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Device and dtype by name, "auto" included. Raises CheckpointError for what this machine cannot do.

    On a CPU "auto" is of a large base: see `load_usable`.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise CheckpointError("device", device, "auto, cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise CheckpointError("device", device, "torch sees no GPU; take cpu")
    if dtype == "auto":
        dtype = "bfloat16" if kind == "cuda" or bfloat16_instructions() else "float32"
    if dtype not in DTYPES:
        raise CheckpointError("dtype", dtype, f"auto, {', '.join(DTYPES)}")
    if kind == "cpu" and dtype == "float16":
        raise CheckpointError("dtype", dtype, "for GPUs; on a CPU take float32 or bfloat16")
    if kind == "cpu" and dtype == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise CheckpointError("dtype", dtype, "this processor lacks its instructions; take float32")
    return torch.device(device), DTYPES[dtype]


def load_usable(base: str, device: torch.device, dtype: torch.dtype, asked: str) -> tuple[Any, Any, str]:
    """Model and tokenizer of a base in the dtype that `usable` gave for `asked`, and why it is that one.

    On a CPU "auto" is float32 for a small base, else bfloat16 where the processor multiplies it. Raises
    CheckpointError.
    """
    model, tokenizer = load_base(base, dtype)
    if asked != "auto" or device.type != "cpu":
        return model, tokenizer, "by policy.dtype" if asked != "auto" else "on a GPU"
    size = f"{parameters(model):,} parameters"
    if is_small(model):
        if dtype != torch.float32:
            model, tokenizer = load_base(base, torch.float32)
        return model, tokenizer, f"a small base, of {size}"
    if found := bfloat16_instructions():
        return model, tokenizer, f"{size}, and the processor has {' and '.join(found)}"
    return model, tokenizer, "the processor has neither avx512_bf16 nor amx"


def load_base(base: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer of a base, as `find_base` takes it. Raises CheckpointError for what is wrong."""
    try:
        source = find_base(base)
    except BaseNotFoundError as error:
        raise CheckpointError("base", base, str(error)) from None
    try:
        with only_errors():
            model, tokenizer, info = _read(source, dtype)
    except Exception as error:  # a foreign folder can fail in any of transformers' own ways
        reason = _why_unread(source, error)
        raise CheckpointError("base", base, f"not a readable checkpoint ({reason})") from None
    if reason := unusable(model, tokenizer, info):
        raise CheckpointError("base", base, reason)
    if strange := sorted(info["unexpected_keys"]):
        left_out = f"base={base}: weights that its architecture has not are left out, {strange[0]} among them"
        warnings.warn(left_out, LeftOutWarning, stacklevel=2)
    model.name_or_path = source.again  # which PEFT writes beside an adapter
    return model, tokenizer


@contextmanager
def only_errors() -> Iterator[None]:
    """Without transformers' reports of weights that are missing or left over: we say it in a line."""
    before = get_verbosity()
    set_verbosity_error()
    try:
        yield
    finally:
        set_verbosity(before)


def base_notes(base: str) -> list[str]:
    """What a reader of a report must know of where a base comes from."""
    return find_base(base).notes


def _read(source: BaseSource, dtype: torch.dtype) -> tuple[Any, Any, dict[str, Any]]:
    """Model, tokenizer, and what transformers says of the loading."""
    if source.gguf:
        file = source.folder / source.gguf
        model, tokenizer, info = load_gguf(file, read_header(file))
        return model.to(dtype), tokenizer, info
    given: Any = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(source.folder, **given)
    if method := (getattr(config, "quantization_config", None) or {}).get("quant_method"):
        raise ValueError(f"its weights are quantised by {method}; take the checkpoint they were made of")
    model, info = AutoModelForCausalLM.from_pretrained(
        source.folder, dtype=dtype, output_loading_info=True, **given
    )
    return model, AutoTokenizer.from_pretrained(source.folder, **given), info


def _why_unread(source: BaseSource, error: Exception) -> str:
    """The reason in one line, better than transformers' own where that sends the reader astray."""
    if "trust_remote_code" in str(error):
        return "it brings code of its own, which is never run; only architectures of transformers are"
    for file in sorted(source.folder.glob("*.safetensors")) + sorted(source.folder.glob("*.bin")):
        with file.open("rb") as opened:
            if opened.read(40).startswith(b"version https://git-lfs"):
                return f"{file.name} is a pointer of Git LFS; git lfs pull brings the weights"
    damaged = "its weights are cut off or damaged: " if isinstance(error, SafetensorError) else ""
    return damaged + first_line(error)[:200]


def unusable(model: Any, tokenizer: Any, info: dict[str, Any]) -> str:
    """Why a checkpoint that could be read cannot be used, and the remedy; "" where it can."""
    if model.config.get_text_config() is not model.config:
        return f"{model.config.model_type} has parts for more than text; take a model of text alone"
    if info["missing_keys"]:
        return f"weights are missing, {sorted(info['missing_keys'])[0]} among them"
    if tokenizer.eos_token_id is None:
        return "its tokenizer has no end-of-text token; name it as eos_token in tokenizer_config.json"
    return _misfit(model, tokenizer)


def _misfit(model: Any, tokenizer: Any) -> str:
    """Which sizes of a checkpoint do not fit each other, and the remedy; "" where all do."""
    config, rows = model.config, len(model.get_input_embeddings().weight)
    # Special tokens beyond the embedding are common (a padding token, an image's), and no text needs them.
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    needed = {*tokenizer.get_vocab().values()} - special | {tokenizer.eos_token_id, *begin_of(tokenizer)}
    if (tokens := max(needed) + 1) > rows:
        remedy = "resize the embedding (resize_token_embeddings) or take the tokenizer it was trained with"
        return f"its tokenizer has {tokens} tokens, its embedding {rows} rows; {remedy}"
    for name in ("eos_token_id", "bos_token_id"):
        given = getattr(config, name, None)
        ids = given if isinstance(given, list) else [rows - 1 if given is None else given]
        if any(not 0 <= i < rows for i in ids):
            return f"{name}={given} in config.json is outside the vocabulary of {rows}; set the tokenizer's"
    return ""


def context(base: str, config: Any) -> int:
    """How many tokens a text may have. Raises CheckpointError where the configuration does not say."""
    length = getattr(config, "max_position_embeddings", None)
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if not isinstance(length, int) or length < 2:
        remedy = "set max_position_embeddings to what it was trained for"
        raise CheckpointError("base", base, f"config.json says texts may have {length} tokens; {remedy}")
    if rope.get("rope_type") == "longrope":  # in a longer text earlier positions change too
        length = min(length, int(rope["original_max_position_embeddings"]))
    return length


def end_tokens(model: Any) -> set[int]:
    """The tokens that end a completion, as the checkpoint's generation_config.json and config.json say."""
    ends: set[int] = set()
    for config in (model.generation_config, model.config):
        given = getattr(config, "eos_token_id", None)
        ends |= {int(i) for i in (given if isinstance(given, list | tuple) else [given]) if i is not None}
    return ends


def begin_of(tokenizer: Any) -> tuple[int, ...]:
    """The special tokens, such as begin-of-text, that a tokenizer puts before a text; () for none."""
    plain, whole = (tokenizer.encode("1", add_special_tokens=special) for special in (False, True))
    starts = [i for i in range(len(whole)) if whole[i : i + len(plain)] == plain]
    return tuple(whole[: starts[0]]) if starts else ()


def base_mark(model: nn.Module) -> str:
    """A short digest of a base's weights: of shapes and first entries, the same in every dtype."""
    digest = hashlib.sha256()
    for name, p in model.named_parameters():
        digest.update(f"{name}{tuple(p.shape)}".encode())
        digest.update(p.detach().flatten()[:16].bfloat16().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def read_adapter(folder: Path, where: str, base: Any, expected: str, read: Callable[[], Any]) -> Any:
    """An adapter by `read`. Raises CheckpointError, naming `where`, if there is none for this base, a model
    whose mark is `expected`."""
    if not (folder / "adapter_config.json").is_file():
        raise CheckpointError(where, folder, "no adapter_config.json there; give an adapter's folder")
    mark = folder / BASE_MARK
    if mark.is_file() and mark.read_text().strip() != expected:
        raise CheckpointError(where, folder, "was trained on another base; take that one")
    try:
        if reason := _foreign(folder, base):
            raise CheckpointError(where, folder, reason)
        with warnings.catch_warnings():
            # PEFT only warns where an adapter's keys do not fit; an adapter half loaded is no adapter.
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            result = read()
        if missing := sorted(getattr(result, "missing_keys", None) or ()):  # PEFT's own second way is silent
            raise CheckpointError(where, folder, f"does not fit this base: it lacks {missing[0]}")
        return result
    except CheckpointError:
        raise
    except Exception as error:  # a foreign folder can fail in any of PEFT's own ways
        reason = f"does not fit this base or is damaged ({' '.join(str(error).split())[:200]})"
        raise CheckpointError(where, folder, reason) from None


def _foreign(folder: Path, base: Any) -> str:
    """What an adapter's files say that this base is not or has not; PEFT would load the rest in silence."""
    config = json.loads((folder / "adapter_config.json").read_text())
    trained, kind = (config.get("auto_mapping") or {}).get("base_model_class"), type(base).__name__
    if trained not in (None, kind):
        return f"was trained on another base, a {trained}, and this one is a {kind}"
    if (weights := folder / "adapter_model.safetensors").is_file():
        modules = {name for name, _ in base.named_modules()}
        with safe_open(weights, "pt") as opened:
            names = [key.partition(".lora_") for key in opened.keys()]  # noqa: SIM118
        adapted = {name.removeprefix("base_model.model.") for name, lora, _ in names if lora}
        if lacking := sorted(adapted - modules):
            return f"it adapts {lacking[0]}, which this base has not"
    return ""
