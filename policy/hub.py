"""A model of the Hugging Face hub as a folder: from the local cache, else downloaded into it.

HF_HOME, HF_HUB_OFFLINE, HF_TOKEN and HF_ENDPOINT mean what they mean everywhere. Code is never downloaded.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils.tqdm import enable_progress_bars

from shuhari.envs.validation import first_line

# Of files that lie beside each other in the main folder: weights in both formats, their configuration and
# the tokenizer. Weights of other frameworks, of other precisions and code are left out.
SMALL = ["*.json", "tokenizer*", "vocab*", "merges.txt", "spiece.model", "*.jinja"]
SAFETENSORS = ["model.safetensors", "model-*-of-*.safetensors"]
PICKLED = ["pytorch_model.bin", "pytorch_model-*-of-*.bin"]  # which transformers reads as tensors only


class NotAvailableError(ValueError):
    """A model is neither in the cache nor to be had. The message says why, and what to do."""


def snapshot(name: str) -> Path:
    """The folder of a model, the newest revision that is in the cache; downloaded where it is not there.

    Raises NotAvailableError.
    """
    try:
        cached = Path(_download(name, ["config.json"], local_files_only=True))
    except LocalEntryNotFoundError:
        cached = None
    if cached is not None and not missing(cached):
        return cached
    where = f"the cache, {constants.HF_HUB_CACHE}"
    lacks = "is not in" if cached is None else f"lacks {missing(cached)} in"
    if constants.HF_HUB_OFFLINE:
        raise NotAvailableError(f"it {lacks} {where}, and HF_HUB_OFFLINE is set")
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        enable_progress_bars()  # which transformers' are not: downloads take longer than tiny checkpoints
    try:
        folder = Path(_download(name, [*SMALL, *SAFETENSORS]))
        if missing(folder).startswith("weights"):
            folder = Path(_download(name, [*SMALL, *PICKLED]))
    except GatedRepoError:
        remedy = f"accept them at {constants.ENDPOINT}/{name}, then log in (hf auth login)"
        raise NotAvailableError(f"it asks for its terms to be accepted; {remedy}") from None
    except RepositoryNotFoundError:
        reason = f"{constants.ENDPOINT} does not know it, or it is private (hf auth login)"
        raise NotAvailableError(f"{reason}; it {lacks} {where}") from None
    except LocalEntryNotFoundError:
        raise NotAvailableError(f"it {lacks} {where}, and {constants.ENDPOINT} cannot be reached") from None
    except Exception as error:  # a network can fail in any of its own ways
        reason = f"{constants.ENDPOINT}: {first_line(error)[:120]}"
        raise NotAvailableError(f"it {lacks} {where}, and {reason}") from None
    if lacking := missing(folder):
        raise NotAvailableError(f"it has no {lacking}: not a checkpoint as transformers writes it")
    return folder


def _download(name: str, patterns: list[str], local_files_only: bool = False) -> str:
    where: Any = {"ignore_patterns": ["*/*"], "local_files_only": local_files_only}
    return str(snapshot_download(name, allow_patterns=patterns, **where))


def missing(folder: Path) -> str:
    """What a checkpoint's folder lacks, of configuration, tokenizer and weights; "" for nothing."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        return "tokenizer"
    for whole in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{whole}.index.json"
        if (folder / whole).is_file():
            return ""
        if index.is_file():
            shards = {*json.loads(index.read_text())["weight_map"].values()}
            lost = sorted(shard for shard in shards if not (folder / shard).is_file())
            return f"weights {lost[0]}" if lost else ""
    return "weights (model.safetensors)"
