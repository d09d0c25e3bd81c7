"""A GGUF file (llama.cpp's format) as model and tokenizer, its weights dequantised by transformers.

What comes out are the numbers that the file stands for: those of a quantised file are not the original's.
"""

from collections import Counter
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from shuhari.envs.validation import first_line

# Formats of whole numbers: what is quantised becomes half precision, which is finer than any of its steps.
WHOLE = {"F32": torch.float32, "BF16": torch.bfloat16}
ROTARY = ("rope_freqs.weight", "rope_factors_long.weight")  # tensors that transformers leaves out


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself.

    formats: how many tensors are in each, as {"Q4_1": 210}; main: the format that holds the most numbers
    about: general.name, .organization, .license and the like, of those that are given
    reason: why its numbers cannot be used, or ""
    """

    formats: dict[str, int]
    main: str
    about: dict[str, str]
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights once they are read."""
        return WHOLE.get(self.main, torch.float16)


def read_header(file: Path) -> Header:
    """Raises ValueError without the package gguf, and for a file that is damaged."""
    if find_spec("gguf") is None:
        raise ValueError("GGUF files need the extra gguf: pip install 'shuhari[gguf]'")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
    except Exception as error:  # whatever numpy makes of bytes that are not there
        raise ValueError(f"no GGUF file, or cut off: {first_line(error)[:120]}") from None
    numbers: Counter[str] = Counter()
    for tensor in reader.tensors:
        numbers[tensor.tensor_type.name] += int(tensor.n_elements)
    if not numbers:
        raise ValueError("it holds no tensors")
    about = {}
    for key in ("architecture", "name", "organization", "license", "license.link", "base_model.0.repo_url"):
        if (field := reader.get_field(f"general.{key}")) is not None:
            about[key] = str(field.contents())
    return Header(
        formats=dict(Counter(tensor.tensor_type.name for tensor in reader.tensors)),
        main=numbers.most_common(1)[0][0],
        about=about,
        reason=_unread(reader, about.get("architecture", "")),
    )


def _unread(reader: Any, architecture: str) -> str:
    """What transformers would leave out in silence, or ""."""
    tensors = {tensor.name for tensor in reader.tensors}
    scaling = reader.get_field(f"{architecture}.rope.scaling.type")
    named = "" if scaling is None or architecture == "gpt-oss" else str(scaling.contents())
    if tensors & {*ROTARY} or named not in ("", "none"):
        return "its rotary scaling is not read from GGUF files; take the checkpoint it was made of"
    return ""


def load_gguf(file: Path, header: Header) -> tuple[Any, Any, dict[str, Any]]:
    """Model, tokenizer, and what transformers says of the loading. Raises what transformers raises, and
    ValueError where it would leave something out.

    The weights are in `Header.dtype` always, so that a file and the base prepared from it are one model.
    """
    if header.reason:
        raise ValueError(header.reason)
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **given)
    if (config := getattr(transformers, "GgufConfig", None)) is not None:  # older ones always dequantise
        given["quantization_config"] = config(dequantize=True)
    with redirect_stderr(StringIO()):  # a progress bar that transformers' switch for them does not reach
        model, info = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=header.dtype, output_loading_info=True, **given
        )
    return model, tokenizer, info
