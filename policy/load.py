"""Reading bases and adapters from disk, and every reason why one cannot be used."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from shuhari.envs.validation import first_line
from shuhari.policy.model.base_size import bfloat16_instructions, is_small, parameters

# PEFT calls what transformers has deprecated; a user can do nothing about it.
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
disable_progress_bar()  # a tiny checkpoint loads faster than its bar draws
BASES = Path(__file__).parent / "bases"
BASE_MARK = "base_mark.txt"  # beside an adapter: which weights it was trained on


class CheckpointError(ValueError):
    """A base, an adapter, a device or a dtype cannot be used. One line says which, why, and what to do.

    argument, value: what was given; reason: why it cannot be used, and the remedy
    """

    def __init__(self, argument: str, value: object, reason: str) -> None:
        super().__init__(f"{argument}={value}: {reason}")
        self.argument, self.value, self.reason = argument, value, reason


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


def base_path(name: str) -> Path:
    """The folder of a base, which is given as the name of a shipped one or as a path."""
    shipped = sorted(p.name for p in BASES.iterdir() if p.is_dir()) if BASES.is_dir() else []
    path = BASES / name if name in shipped else Path(name)
    if not (path / "config.json").is_file():
        choices = ", ".join(shipped)
        raise CheckpointError("base", name, f"no config.json there; give a checkpoint's folder or: {choices}")
    return path


def load_base(base: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer of a base. Raises CheckpointError for whatever is wrong with them."""
    folder = base_path(base)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a foreign folder can fail in any of transformers' own ways
        raise CheckpointError(
            "base", base, f"not a readable checkpoint ({first_line(error)[:200]})"
        ) from None
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[0]
        raise CheckpointError("base", base, f"weights are missing, {missing} among them")
    if tokenizer.eos_token_id is None:
        remedy = "name it as eos_token in tokenizer_config.json"
        raise CheckpointError("base", base, f"its tokenizer has no end-of-text token; {remedy}")
    if reason := _misfit(model, tokenizer):
        raise CheckpointError("base", base, f"{reason}")
    return model, tokenizer


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


def read_adapter(folder: Path, where: str, expected: str, read: Callable[[], Any]) -> Any:
    """An adapter by `read`. Raises CheckpointError, naming `where`, if there is none for this base."""
    if not (folder / "adapter_config.json").is_file():
        raise CheckpointError(where, folder, "no adapter_config.json there; give an adapter's folder")
    mark = folder / BASE_MARK
    if mark.is_file() and mark.read_text().strip() != expected:
        raise CheckpointError(where, folder, "was trained on another base; take that one")
    try:
        with warnings.catch_warnings():
            # PEFT only warns where an adapter's keys do not fit; an adapter half loaded is no adapter.
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            return read()
    except Exception as error:  # a foreign folder can fail in any of PEFT's own ways
        reason = f"does not fit this base or is damaged ({first_line(error)[:200]})"
        raise CheckpointError(where, folder, reason) from None
