"""Pre-train a tiny character-level base on unlabelled text of one or more environments."""

import hashlib
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from shuhari.envs.registry import draw_documents
from shuhari.loops.config import PretrainConfig
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.report.progress import progress_bar
from shuhari.policy.character_tokenizer import build_tokenizer
from shuhari.policy.model import llama

HELDOUT = 2048  # documents that are kept out of training, to measure bits per character
MAX_LENGTH = 256  # positions of the base, in tokens
REST_RATE = 0.4  # learning rate of embeddings and norms, as a share of that of the matrices
PRINTED = 100  # steps between two lines where there is no terminal to show a progress bar


@dataclass(frozen=True)
class Corpus:
    """Documents as rows of tokens; each ends with the end token and is padded on the right.

    begins_N: where each training document's continuation begins
    """

    tokenizer: Any
    train_NT: Tensor
    begins_N: Tensor
    heldout_NT: Tensor

    @property
    def pad(self) -> int:
        return int(self.tokenizer.pad_token_id)


def pretrain(cfg: PretrainConfig) -> Path:
    """Make the base and write it to `cfg.out`, with a record of how it was made."""
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    out = Path(cfg.out)
    out.mkdir(parents=True, exist_ok=True)
    console, started = Console(), time.monotonic()
    console.print(f"writing {cfg.documents + HELDOUT:,} documents of {', '.join(cfg.envs)}")
    corpus = write_corpus(cfg)
    model = new_model(cfg, corpus.tokenizer)
    weights = fused_weights(model)
    fit(weights, model, corpus, cfg, console)
    with torch.no_grad():
        losses_NT, written_NT = next_token_losses(weights(), corpus.heldout_NT, corpus.pad)
        nats = losses_NT[written_NT].mean().item()
    model.save_pretrained(out)
    corpus.tokenizer.save_pretrained(out)
    # Every character is one token, and so is the end of a document.
    record = {
        "command": cfg.command,
        "config": asdict(cfg),
        "documents": cfg.documents,
        "characters": int((corpus.train_NT != corpus.pad).sum()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "bits_per_character": round(nats / math.log(2), 4),
        "sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "seconds": round(time.monotonic() - started, 1),
    }
    (out / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")
    console.print(
        f"{out}: {record['parameters']:,} parameters, {record['bits_per_character']} bits per character "
        f"on {HELDOUT:,} held-out documents, SHA-256 {record['sha256'][:16]}…, {record['seconds']} s"
    )
    return out


def write_corpus(cfg: PretrainConfig) -> Corpus:
    """Documents of the environments, as tokens."""
    tokenizer = build_tokenizer()
    pairs = draw_documents(cfg.envs, cfg.env_args, cfg.documents + HELDOUT, cfg.seed)
    rows = [torch.tensor([*tokenizer.encode(a + b), tokenizer.eos_token_id]) for a, b in pairs]
    begins_N = torch.tensor([len(tokenizer.encode(prompt)) for prompt, _ in pairs])
    pad = int(tokenizer.pad_token_id)
    rows_NT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    return Corpus(tokenizer, rows_NT[HELDOUT:], begins_N[HELDOUT:], rows_NT[:HELDOUT])


def new_model(cfg: PretrainConfig, tokenizer: Any) -> Any:
    """A Llama with random weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=cfg.width,
        intermediate_size=cfg.mlp_width,
        num_hidden_layers=cfg.layers,
        num_attention_heads=cfg.heads,
        num_key_value_heads=cfg.heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def fused_weights(model: Any) -> Callable[[], llama.Weights]:
    """A function that gives the model's present weights as the forward pass of `policy/model` reads them."""
    cos_1TD, sin_1TD = model.model.rotary_emb(torch.zeros(1, 1, 1), torch.arange(MAX_LENGTH)[None])

    def project(modules: Sequence[Any]) -> llama.Projection:
        return llama.Projection(llama.whole([m.weight for m in modules]))

    return lambda: llama.gather(model, project, cos_1TD[0], sin_1TD[0])


def fit(
    weights: Callable[[], llama.Weights], model: Any, corpus: Corpus, cfg: PretrainConfig, console: Console
) -> None:
    """Minimise the loss of random batches for `cfg.steps` steps."""
    named = list(model.named_parameters())
    optimizer = Optimizer(
        [p for name, p in named if "proj" in name],
        rest=[p for name, p in named if "proj" not in name],
        learning_rate=cfg.learning_rate,
        rest_learning_rate=cfg.learning_rate * REST_RATE,
        steps=cfg.steps,
    )
    order = torch.Generator().manual_seed(cfg.seed)
    with progress_bar(console) as bar:
        task = bar.add_task("pretrain", total=cfg.steps, skill="")
        for step in range(cfg.steps):
            drawn_B = torch.randint(len(corpus.train_NT), (cfg.batch,), generator=order)
            batch_BT, begins_B = corpus.train_NT[drawn_B], corpus.begins_N[drawn_B]
            longest = int((batch_BT != corpus.pad).sum(1).max())
            losses_BT, written_BT = next_token_losses(weights(), batch_BT[:, :longest], corpus.pad)
            follows_BT = torch.arange(1, longest) >= begins_B[:, None]
            optimizer.update(mean_loss(losses_BT, written_BT, follows_BT, cfg.continuation_share))
            means = (losses_BT[written_BT & part_BT].mean().item() for part_BT in (~follows_BT, follows_BT))
            figure = "prompt {:.3f}, then {:.3f} bits/token".format(*(nats / math.log(2) for nats in means))
            bar.update(task, advance=1, skill=figure)
            if not console.is_terminal and step % PRINTED == 0:
                console.print(f"{step}/{cfg.steps}: {figure}")


def mean_loss(losses_BT: Tensor, written_BT: Tensor, follows_BT: Tensor, share: float | None) -> Tensor:
    """Of all tokens, [] (a scalar); or of prompts and of what follows them, each by its share."""
    if share is None:
        return losses_BT[written_BT].mean()
    weights_BT = torch.zeros_like(losses_BT)
    for part_BT, of_part in ((written_BT & ~follows_BT, 1 - share), (written_BT & follows_BT, share)):
        weights_BT[part_BT] = of_part / part_BT.sum()
    return (losses_BT * weights_BT).sum()


def next_token_losses(weights: llama.Weights, rows_BT: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of each token but the first, in nats, [B, T - 1], and which are no padding."""
    logits_BTV = llama.logits(weights, llama.hidden(weights, rows_BT[:, :-1]))
    targets_BT = rows_BT[:, 1:]
    return F.cross_entropy(logits_BTV.mT, targets_BT, reduction="none"), targets_BT != pad
