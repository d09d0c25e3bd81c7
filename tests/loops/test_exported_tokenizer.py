"""The tokenizer of the exported program: texts become the tokens that the base's own tokenizer gives."""

import random
from typing import Any

import pytest
from chat_models import build_chat_tokenizer
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.decoders import ByteLevel
from tokenizers.models import BPE
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from shuhari.loops.export import run_policy
from shuhari.loops.export.destination import CannotExportError
from shuhari.loops.export.gguf_model import CUTS
from shuhari.loops.export.plain_tokenizer import describe
from shuhari.policy.policy import Policy


def strange_texts(n: int) -> list[str]:
    """Texts of letters, marks, spaces and signs as tokenizers cut them differently."""
    rng = random.Random(0)
    parts = [
        "a",
        "Ab",
        "dog",
        "'s",
        "'RE",
        "1",
        "234",
        "\u00b2",
        "\u2167",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u00a0",
    ]
    parts += [
        "\x1c",
        "\x85",
        "\u3000",
        "e\u0301",
        "\u00e9",
        "\u4f60",
        "\U0001f600",
        "\u0301",
        ".",
        "!?",
        "_",
        "-[",
    ]
    parts += ["<|im_start|>", "<|eot_id|>", "<eos>", "<|im", "The answer is", "\ufffd", "\u0130", "\u017f"]
    return ["".join(rng.choices(parts, k=rng.randint(1, 12))) for _ in range(n)]


@pytest.mark.parametrize("shape", ["chatml", "llama3", "qwen3", "NFC", "characters"])
def test_texts_become_the_tokens_of_the_tokenizer(shape: str) -> None:
    if shape == "characters":
        tokenizer: Any = Policy("math", rank=1, alpha=1.0).tokenizer
    else:
        tokenizer = build_chat_tokenizer({"NFC": "qwen3"}.get(shape, shape))
    if shape == "NFC":  # what Qwen's own and Llama 3's have besides
        tokenizer.backend_tokenizer.normalizer = NFC()
        tokenizer.backend_tokenizer.model.ignore_merges = True
    program = run_policy.Tokenizer(describe(tokenizer))
    for text in strange_texts(100):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        assert program.encode(text) == tokens, repr(text)
        assert program.decode(tokens) == tokenizer.decode(tokens, skip_special_tokens=True), repr(text)
    rng = random.Random(1)
    for _ in range(100):  # tokens that are no text's, such as half a character
        tokens = rng.choices(range(len(tokenizer)), k=8)
        assert program.decode(tokens) == tokenizer.decode(tokens, skip_special_tokens=True), tokens


@pytest.mark.parametrize("pattern", [r"\p{N}", *(pattern for cut in CUTS for pattern in cut)])
def test_texts_are_cut_where_tokenizers_cuts_them(pattern: str) -> None:
    theirs = Split(Regex(pattern), "isolated")
    for text in strange_texts(300):
        words = [word for word, _ in theirs.pre_tokenize_str(text)]
        assert [*run_policy.cut(pattern, text)] == words, repr(text)


def test_whole_words_and_the_longest_marks_come_first() -> None:
    model = BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[], ignore_merges=True)
    backend = Tokenizer(model)
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), ByteLevel()
    backend.add_special_tokens(["<m", "<m>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert tokenizer.encode("ab<m>a<mab") == [2, 4, 0, 3, 2]
    assert run_policy.Tokenizer(describe(tokenizer)).encode("ab<m>a<mab") == [2, 4, 0, 3, 2]


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    with pytest.raises(CannotExportError, match="changes texts by"):
        describe(build_chat_tokenizer("mistral"))
