"""An adapter merged into its base, in fp32, and how far that is from the two."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from shuhari.loops.export.destination import CannotExportError
from shuhari.policy.load import base_mark, load_base, only_errors, read_adapter

# What texts begin with: prompts of environments, words, an expression.
BEGINNINGS = ("47+85=", "x.o/.x./o..", "How many legs have 3 dogs and 2 birds?", "The derivative of x**2 is")
WRITTEN = 12  # tokens of each text that the policy goes on with
LARGEST = 1e-4  # nats, of one token's log-probability in fp32


def with_adapter(base: str, adapter: Path) -> tuple[PeftModel, Any, str]:
    """A base in fp32 with an adapter, as transformers and PEFT load them; its tokenizer, and its mark.

    Raises CheckpointError.
    """
    model, tokenizer = load_base(base, torch.float32)
    mark = base_mark(model)
    load = partial(PeftModel.from_pretrained, model, adapter, local_files_only=True)
    return read_adapter(adapter, "adapter", model, mark, load).train(False), tokenizer, mark


@torch.no_grad()
def own_texts(model: Any, beginnings: Sequence[Sequence[int]]) -> list[list[int]]:
    """Each beginning with what the model goes on with at temperature 1, drawn by one seed. What a model would
    never write has log-probabilities so low that rounding shows in them."""
    generator, texts = torch.Generator().manual_seed(0), [list(tokens) for tokens in beginnings]
    for text in texts:
        for _ in range(WRITTEN):
            logits_V = model(input_ids=torch.tensor([text])).logits[0, -1].float()
            text.append(int(torch.multinomial(logits_V.softmax(-1), 1, generator=generator)))
    return texts


@torch.no_grad()
def logprobs(model: Any, texts: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities [N] of the last WRITTEN tokens of each text, by the model's own forward pass."""
    found = []
    for text in texts:
        logits_TV = model(input_ids=torch.tensor([text])).logits[0, -WRITTEN - 1 : -1].float()
        chosen_T1 = torch.tensor(text[-WRITTEN:])[:, None]
        found.append(logits_TV.log_softmax(-1).gather(1, chosen_T1)[:, 0])
    return torch.cat(found)


def merge(model: PeftModel) -> Any:
    """The base with W + s·BA in place of W. Raises CannotExportError for numbers that are not finite."""
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:  # which PEFT raises for weights that are broken
        raise CannotExportError(
            f"the adapter cannot be merged: {' '.join(str(error).split())[:160]}"
        ) from None


def write_merged(model: PeftModel, tokenizer: Any, folder: Path) -> float:
    """Write a merged model as transformers does. Returns the largest difference in log-probability, on texts
    of the adapter's own, between it and what was written, read back. Raises CannotExportError for more than
    LARGEST."""
    texts = own_texts(model, [tokenizer.encode(text, add_special_tokens=False) for text in BEGINNINGS])
    before = logprobs(model, texts)
    merged = merge(model)
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with only_errors():
        again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    difference = float((logprobs(again.train(False), texts) - before).abs().max())
    if not difference <= LARGEST:
        raise CannotExportError(
            f"the merged model differs by {difference:.2g} nats from the adapter; take peft"
        )
    return difference
