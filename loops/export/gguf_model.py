"""A merged model as a GGUF file (llama.cpp's format), in fp32 or fp16, with its tokenizer and chat template.

Names of tensors and keys are those of the package gguf; what it leaves to its users (the order of rows in
queries and keys, the name of the pre-tokenizer) follows llama.cpp's convert_hf_to_gguf.py.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from shuhari.loops.export.destination import CannotExportError
from shuhari.loops.export.merged import BEGINNINGS, LARGEST, logprobs, merge, own_texts
from shuhari.loops.export.plain_tokenizer import GPT2, describe
from shuhari.policy.gguf_file import load_gguf, read_header
from shuhari.policy.load import only_errors
from shuhari.policy.model import llama

FILE = "policy.gguf"
ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
# llama.cpp's names for the ways in which byte-level tokenizers cut a text.
CUTS = {(GPT2,): "gpt-2", (r"\p{N}", GPT2): "smollm", (_QWEN2,): "qwen2", (_LLAMA3,): "llama-bpe"}


def write_gguf(model: Any, tokenizer: Any, folder: Path, *, half: bool) -> float:
    """Write a base with its adapter (a PeftModel) merged. Returns the largest difference in log-probability
    between it and what was written, as transformers reads it back. Raises CannotExportError."""
    if find_spec("gguf") is None:
        raise CannotExportError("--as gguf: needs the extra gguf: pip install 'shuhari[gguf]'")
    config = model.get_base_model().config
    reason = llama.unsupported(config)
    if reason is None and (config.rope_parameters or {}).get("rope_type", "default") != "default":
        reason = "scaled rotary positions"
    if reason is None and any(llama.windows(config)):
        reason = "a sliding window"
    if reason:
        raise CannotExportError(f"--as gguf: this writer has no place for this: {reason}; take merged")
    spec = describe(tokenizer)
    if (cut := CUTS.get(tuple(spec["splits"]))) is None or not spec["byte_level"]:
        raise CannotExportError(
            "--as gguf: llama.cpp has no name for the way in which the base's tokenizer cuts texts; take "
            "merged or two-files"
        )
    texts = own_texts(model, [tokenizer.encode(text, add_special_tokens=False) for text in BEGINNINGS])
    before, merged = logprobs(model, texts), merge(model)
    _write(merged, tokenizer, spec, cut, folder / FILE, half)
    with only_errors():
        again, *_ = load_gguf(folder / FILE, read_header(folder / FILE))
    difference = float((logprobs(again.float().train(False), texts) - before).abs().max())
    if not half and not difference <= LARGEST:
        raise CannotExportError(f"--as gguf: what is read back differs by {difference:.2g} nats; take merged")
    return difference


def _write(model: Any, tokenizer: Any, spec: dict[str, Any], cut: str, file: Path, half: bool) -> None:
    import gguf

    config = model.config
    architecture = gguf.MODEL_ARCH[ARCHITECTURES[config.model_type]]
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rows = len(model.get_input_embeddings().weight)
    writer.add_vocab_size(rows)
    _add_tokenizer(writer, tokenizer, spec, cut, rows)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for name, p in model.named_parameters():  # a tied head comes once, as the embedding
        weight = p.detach().float()
        if architecture == gguf.MODEL_ARCH.LLAMA and name.endswith(("q_proj.weight", "k_proj.weight")):
            weight = _pairs_together(weight, heads if "q_proj" in name else kv_heads)
        stored = weight.half() if half and weight.dim() == 2 else weight
        if not stored.isfinite().all():
            raise CannotExportError(f"--as gguf: {name} has numbers beyond fp16; take --dtype float32")
        writer.add_tensor(
            names.get_name(name, try_suffixes=(".weight", ".bias")), stored.contiguous().numpy()
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, tokenizer: Any, spec: dict[str, Any], cut: str, rows: int) -> None:
    from gguf import TokenType

    texts = {token: text for text, token in spec["vocabulary"].items()}
    special, marks = set(spec["special"]), {spec["vocabulary"][mark] for mark in spec["marks"]}
    kinds = [TokenType.NORMAL if token in texts else TokenType.UNUSED for token in range(rows)]
    for token in marks | special:
        kinds[token] = TokenType.CONTROL if token in special else TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list([texts.get(token, f"[PAD{token}]") for token in range(rows)])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in spec["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    # Whether a text begins with it: what the tokenizer does, and not what its class would.
    writer.add_add_bos_token(tokenizer.encode("1")[:1] == [tokenizer.bos_token_id])
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _pairs_together(weight_EC: Tensor, heads: int) -> Tensor:
    """The rows of each head in llama.cpp's order, where the two of a rotary pair are neighbours."""
    halves = weight_EC.view(heads, 2, -1, weight_EC.shape[1])
    return halves.transpose(1, 2).reshape(weight_EC.shape)
