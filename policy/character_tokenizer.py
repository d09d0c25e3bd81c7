"""A character-level tokenizer as a Hugging Face fast tokenizer: one token a character, bytes for the rest.

Printable ASCII and the newline have tokens of their own; any other character becomes its UTF-8 bytes, so
that no text a user brings can fail.
"""

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the embedded bases: 354 tokens."""
    characters = ["\n", *(chr(code) for code in range(32, 127))]
    vocabulary = [PAD, EOS, *characters, *(f"<0x{byte:02X}>" for byte in range(256))]
    # BPE without merges is a tokenizer of characters, and the one that knows how to fall back to bytes.
    model = BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=[], byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(PAD, special=True), AddedToken(EOS, special=True)])
    # split_special_tokens: a user who writes "<eos>" means these five characters.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
