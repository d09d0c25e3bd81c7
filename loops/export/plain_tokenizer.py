"""A Hugging Face tokenizer in the few terms that `run_policy.Tokenizer` knows, or why it is none of these."""

import json
import re
from typing import Any, NoReturn

from shuhari.loops.export.destination import CannotExportError
from shuhari.loops.export.run_policy import byte_letters

# What GPT-2 cuts texts by, which the byte-level pre-tokenizer has built in.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UNKNOWN_SET = re.compile(r"\\[wWbBdDhHXRKGAzZ]|\\P\{|\[[^\]]*\\S|&&")  # sets of which Python has other ideas


def describe(tokenizer: Any) -> dict[str, Any]:
    """What `run_policy.Tokenizer` takes. Raises CannotExportError that names the part it does not know."""
    try:
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
    except AttributeError:
        raise CannotExportError("the base's tokenizer is not a fast one; take merged") from None
    model, added = spec["model"], spec["added_tokens"]
    if model["type"] != "BPE":
        _refuse(f"is {model['type']}, and not BPE")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            _refuse(f"has a {key}")
    splits, byte_level = _splits(spec["pre_tokenizer"])
    if not byte_level and not model.get("byte_fallback"):
        _refuse("knows no bytes")
    alphabet = byte_letters() if byte_level else [f"<0x{byte:02X}>" for byte in range(256)]
    if (byte_level is False or model.get("unk_token")) and not {*alphabet} <= model["vocab"].keys():
        _refuse("has not all bytes")
    normal_form = (spec["normalizer"] or {"type": ""})["type"]
    if normal_form not in ("", "NFC", "NFKC", "NFD", "NFKD"):
        _refuse(f"changes texts by {normal_form}")
    for token in added:
        if (
            token["lstrip"]
            or token["rstrip"]
            or token["single_word"]
            or (token["normalized"] and normal_form)
        ):
            _refuse(f"finds {token['content']} in a way of its own")
    vocabulary = model["vocab"] | {token["content"]: token["id"] for token in added}
    plain = bool(getattr(tokenizer, "split_special_tokens", False))  # a mark in a text is read as characters
    return {
        "vocabulary": vocabulary,
        "merges": model["merges"],
        "special": [token["id"] for token in added if token["special"]],
        "marks": [token["content"] for token in added if not (plain and token["special"])],
        "splits": splits,
        "normal_form": normal_form,
        "byte_level": byte_level,
        "whole_words": bool(model.get("ignore_merges")),
    }


def _refuse(reason: str) -> NoReturn:
    raise CannotExportError(f"the base's tokenizer {reason}, which this form of export cannot; take merged")


def _splits(pre_tokenizer: dict[str, Any] | None) -> tuple[list[str], bool]:
    """The patterns that cut a text into words, and whether words are bytes."""
    steps = [pre_tokenizer] if pre_tokenizer else []
    if pre_tokenizer and pre_tokenizer["type"] == "Sequence":
        steps = pre_tokenizer["pretokenizers"]
    splits, byte_level = [], False
    for step in steps:
        kind, pattern = step["type"], ""
        if kind == "ByteLevel" and not step["add_prefix_space"] and not byte_level:
            byte_level, pattern = True, GPT2 if step["use_regex"] else ""
        elif kind == "Digits" and step["individual_digits"]:
            pattern = r"\p{N}"
        elif kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
            given = step["pattern"]
            pattern = given["Regex"] if "Regex" in given else re.escape(given["String"])
        else:
            _refuse(f"cuts texts by {kind}")
        if UNKNOWN_SET.search(pattern):
            _refuse(f"cuts texts by {pattern}")
        splits += [pattern] if pattern else []
    return splits, byte_level
