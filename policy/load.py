"""What a base and an adapter are read from, and every reason why one cannot be used."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

# PEFT calls what transformers has deprecated; a user can do nothing about it.
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
disable_progress_bar()  # a tiny checkpoint loads faster than its bar draws
BASES = Path(__file__).parent / "bases"
BASE_MARK = "base_mark.txt"  # beside an adapter: which weights it was trained on


class CheckpointError(ValueError):
    """A base or an adapter cannot be used; the message is one line that names the folder and the remedy."""


def first_line(error: Exception) -> str:
    """What an exception says, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def usable(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Where and in what a base computes. Raises CheckpointError where the machine cannot."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise CheckpointError(f"policy.device={device}: auto, cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(f"policy.device={device}: torch sees no GPU; set policy.device=cpu")
    if dtype == "auto":
        dtype = "bfloat16" if kind == "cuda" else "float32"
    if dtype not in DTYPES:
        raise CheckpointError(f"policy.dtype={dtype}: auto, {', '.join(DTYPES)}")
    if kind == "cpu" and dtype == "float16":
        raise CheckpointError(f"policy.dtype={dtype}: for GPUs; on a CPU set float32 or bfloat16")
    if kind == "cpu" and dtype == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise CheckpointError(f"policy.dtype={dtype}: this processor lacks its instructions; set float32")
    return torch.device(device), DTYPES[dtype]


def base_path(name: str) -> Path:
    """The folder of a base: the name of one that ships with us, or a path."""
    shipped = sorted(p.name for p in BASES.iterdir() if p.is_dir()) if BASES.is_dir() else []
    path = BASES / name if name in shipped else Path(name)
    if not (path / "config.json").is_file():
        choices = ", ".join(shipped)
        raise CheckpointError(
            f"policy.base={name}: no config.json there; give a checkpoint's folder or: {choices}"
        )
    return path


def load_base(base: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer. Raises CheckpointError for whatever is wrong with them."""
    folder = base_path(base)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a foreign folder can fail in any of transformers' own ways
        raise CheckpointError(
            f"policy.base={base}: not a readable checkpoint ({first_line(error)})"
        ) from None
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[0]
        raise CheckpointError(f"policy.base={base}: weights are missing, {missing} among them")
    if tokenizer.eos_token_id is None:
        remedy = "name it as eos_token in tokenizer_config.json"
        raise CheckpointError(f"policy.base={base}: its tokenizer has no end-of-text token; {remedy}")
    if reason := _misfit(model, tokenizer):
        raise CheckpointError(f"policy.base={base}: {reason}")
    return model, tokenizer


def _misfit(model: Any, tokenizer: Any) -> str:
    """Which of a checkpoint's sizes do not fit each other, and what to do, or ""."""
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
    """How many positions a text may have: as far as they mean the same whatever else is in a batch. Raises
    CheckpointError where the configuration does not say."""
    length = getattr(config, "max_position_embeddings", None)
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if not isinstance(length, int) or length < 2:
        remedy = "set max_position_embeddings to what it was trained for"
        raise CheckpointError(
            f"policy.base={base}: config.json says texts may have {length} tokens; {remedy}"
        )
    if rope.get("rope_type") == "longrope":  # beyond, all positions turn faster, earlier ones too
        length = min(length, int(rope["original_max_position_embeddings"]))
    return length


def begin_of(tokenizer: Any) -> tuple[int, ...]:
    """The special tokens that a tokenizer puts before a text: begin-of-text, where it does so."""
    plain, whole = (tokenizer.encode("1", add_special_tokens=special) for special in (False, True))
    starts = [i for i in range(len(whole)) if whole[i : i + len(plain)] == plain]
    return tuple(whole[: starts[0]]) if starts else ()


def base_mark(model: nn.Module) -> str:
    """A short digest of a base's weights, whatever dtype they are read in: shapes and first entries."""
    digest = hashlib.sha256()
    for name, p in model.named_parameters():
        digest.update(f"{name}{tuple(p.shape)}".encode())
        digest.update(p.detach().flatten()[:16].bfloat16().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def read_adapter(folder: Path, where: str, expected: str, read: Callable[[], Any]) -> Any:
    """What `read` makes of a folder. Raises CheckpointError, naming `where`, if it is no adapter for us."""
    if not (folder / "adapter_config.json").is_file():
        raise CheckpointError(f"{where}={folder}: no adapter_config.json there; give an adapter's folder")
    mark = folder / BASE_MARK
    if mark.is_file() and mark.read_text().strip() != expected:
        raise CheckpointError(f"{where}={folder}: was trained on another base; set policy.base to that one")
    try:
        with warnings.catch_warnings():
            # PEFT only warns where an adapter's keys do not fit; an adapter half loaded is no adapter.
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            return read()
    except Exception as error:  # a foreign folder can fail in any of PEFT's own ways
        reason = f"does not fit this base or is damaged ({first_line(error)})"
        raise CheckpointError(f"{where}={folder}: {reason}") from None
