"""Tiny models with chat templates of the shapes that people use, and tokenizers trained on the spot."""

from pathlib import Path

from checkpoints import SIZES
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

FOLDER = Path(__file__).parent / "templates"
TEMPLATES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.jinja"))}
MARKS = {
    "chatml": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "llama3": (
        "<|end_of_text|>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ),
    "qwen3": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "mistral": ("</s>", "<s>"),
    "gemma": ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
}
TEXT = [
    "How many legs have 3 dogs? 3 dogs have 12 legs.\n\nThe answer is 12.",
    "user\nmodel\nassistant\n\n 1 2",
]


def build_chat_tokenizer(shape: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer that merges spaces and newlines with what follows them; of Mistral's and Gemma's shape one
    that puts a space before a text, as sentencepiece does."""
    tokenizer = Tokenizer(BPE(byte_fallback=shape in ("mistral", "gemma")))
    if shape in ("mistral", "gemma"):
        if shape == "mistral":
            tokenizer.normalizer = normalizers.Sequence(
                [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
            )
        else:
            tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = BpeTrainer(vocab_size=600, special_tokens=[*MARKS[shape], *alphabet], show_progress=False)
    else:
        lines = pre_tokenizers.Split(Regex(r"\s*\n+|\s+(?!\S)"), "isolated")
        words = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = words if shape == "chatml" else pre_tokenizers.Sequence([lines, words])
        tokenizer.decoder = decoders.ByteLevel()
        trainer = BpeTrainer(
            vocab_size=400,
            special_tokens=list(MARKS[shape]),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    tokenizer.train_from_iterator(TEXT * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS[shape]])
    eos, *rest = MARKS[shape]
    begin = {"bos_token": rest[0]} if shape in ("llama3", "mistral", "gemma") else {}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, pad_token=eos, **begin)
    fast.chat_template = TEMPLATES[shape] if template is None else template
    return fast


def write_chat_model(folder: Path, shape: str, template: str | None = None) -> Path:
    """A tiny random Llama with such a tokenizer. Its generation_config names a second end token."""
    tokenizer = build_chat_tokenizer(shape, template)
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            "llama", **SIZES | {"max_position_embeddings": 512, "num_hidden_layers": 1} | ids
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
