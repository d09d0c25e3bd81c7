"""`shuhari export`: an adapter for use elsewhere, as it is, merged, or as two files that need NumPy only."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shuhari.loops.cli.messages import suggest
from shuhari.loops.export.destination import CannotExportError, new_files
from shuhari.loops.export.gguf_model import write_gguf
from shuhari.loops.export.merged import with_adapter, write_merged
from shuhari.loops.export.model_card import model_card
from shuhari.loops.export.run_facts import RunFacts, base_of, public_name, read_run
from shuhari.loops.export.two_files import PromptForm, write_two_files
from shuhari.loops.house import open_run_env
from shuhari.loops.report.progress import busy
from shuhari.policy.load import BASE_MARK, CheckpointError
from shuhari.policy.policy import Policy

FORMS = ("peft", "merged", "gguf", "two-files")
NEW_TOKENS = 64  # of an answer, where no run says how many


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shuhari export",
        description="Write an adapter for use elsewhere, with a model card. peft: as it is. merged: with its "
        "base, as transformers writes a model. gguf: for llama.cpp. two-files: policy.safetensors and "
        "policy.py, which needs NumPy only.",
        epilog="example: shuhari export runs/addition/DATE/adapter-selfplay mine --as two-files && "
        "python mine/policy.py 47+85=",
    )
    parser.add_argument("adapter", type=Path, help="a LoRA adapter's folder, as of a run")
    parser.add_argument("out", type=Path, help="a folder that is new or empty")
    parser.add_argument("--as", dest="form", required=True, metavar="FORM", help=", ".join(FORMS))
    parser.add_argument("--base", help="the adapter's base, as policy.base takes it (its run's)")
    parser.add_argument(
        "--dtype", default="float32", help="gguf, two-files: float32, or float16 for half the size"
    )
    parser.add_argument("--format", help="two-files: chat or plain (the run's)")
    parser.add_argument(
        "--instructions", help="two-files: the system turn of a chat (the run's environment's)"
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 2 with one line for what the user got wrong."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        run = read_run(options.adapter)
        base = options.base or base_of(run)
        with new_files(options.out) as folder, busy(f"writing {options.form}"):
            said = WRITERS[options.form](options, run, base, folder)
    except CheckpointError as error:
        named = "" if error.argument == "adapter" else f"--{error.argument} "
        return _refuse(f"{named}{error.value}: {error.reason}")
    except ValueError as error:
        return _refuse(str(error))
    size = sum(path.stat().st_size for path in options.out.iterdir())
    print(f"{options.out}: {', '.join(sorted(p.name for p in options.out.iterdir()))}, {size / 1e6:.1f} MB")
    for line in said:
        print(line)
    return 0


def _refuse(reason: str) -> int:
    print(f"shuhari: {' '.join(reason.split())}", file=sys.stderr)
    return 2


def _check(options: argparse.Namespace) -> None:
    if options.form not in FORMS:
        raise CannotExportError(f"--as {options.form}: {suggest(options.form, FORMS)}")
    if options.dtype not in ("float32", "float16"):
        raise CannotExportError(f"--dtype {options.dtype}: {suggest(options.dtype, ('float32', 'float16'))}")
    given = {
        "--dtype": options.dtype != "float32" and options.form not in ("gguf", "two-files"),
        "--format": options.format and options.form != "two-files",
        "--instructions": options.instructions and options.form != "two-files",
    }
    for name in (name for name, unused in given.items() if unused):
        raise CannotExportError(f"{name}: --as {options.form} has no use for it")


def _peft(options: argparse.Namespace, run: RunFacts, base: str, folder: Path) -> list[str]:
    *_, mark = with_adapter(base, options.adapter)  # which it must fit
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (options.adapter / name).is_file():
            shutil.copyfile(options.adapter / name, folder / name)
    config = json.loads((options.adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = public_name(base)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / BASE_MARK).write_text(f"{mark}\n")
    _write_card(folder, model_card(run, base, mark, "peft"))
    return [f"for the base {public_name(base)}"]


def _merged(options: argparse.Namespace, run: RunFacts, base: str, folder: Path) -> list[str]:
    model, tokenizer, mark = with_adapter(base, options.adapter)
    difference = write_merged(model, tokenizer, folder)
    fact = _difference(difference, "float32")
    _write_card(folder, model_card(run, base, mark, "merged", [f"Merged in fp32, {fact}."]))
    return [fact]


def _gguf(options: argparse.Namespace, run: RunFacts, base: str, folder: Path) -> list[str]:
    model, tokenizer, mark = with_adapter(base, options.adapter)
    difference = write_gguf(model, tokenizer, folder, half=options.dtype == "float16")
    fact = _difference(difference, options.dtype)
    _write_card(folder, model_card(run, base, mark, "gguf", [f"As transformers reads it, {fact}."]))
    return [fact]


def _two_files(options: argparse.Namespace, run: RunFacts, base: str, folder: Path) -> list[str]:
    policy = Policy(base, rank=1, alpha=1.0, adapter=options.adapter)
    form, said = _prompt_form(options, run, bool(policy.tokenizer.chat_template))
    difference = write_two_files(
        policy,
        form,
        folder,
        half=options.dtype == "float16",
        max_new_tokens=int(run.policy.get("max_new_tokens") or NEW_TOKENS),
        card=model_card(run, base, policy.base_mark, "two-files", [f"Weights in {options.dtype}."]),
    )
    fact = _difference(difference, options.dtype)
    return [*said, fact, f"ask it: python {options.out}/policy.py QUESTION"]


def _prompt_form(
    options: argparse.Namespace, run: RunFacts, has_template: bool
) -> tuple[PromptForm, list[str]]:
    """How the run wrote its prompts, unless the options say otherwise; and what a user must know of it."""
    given, said = run.policy, list[str]()
    format = options.format or str(given.get("format") or "auto")
    template: dict[str, Any] = {} if format == "plain" else dict(given.get("template") or {})
    instructions, env = options.instructions, run.config.get("env")
    if instructions is None and has_template and format != "plain" and env:
        try:
            opened = open_run_env(str(env), dict(run.config.get("env_args") or {}))
        except ValueError as error:
            raise CannotExportError(f"{error}; or give its --instructions") from None
        instructions = str(getattr(opened.unwrapped, "instructions", ""))
    form = PromptForm(format, instructions or "", template)
    if examples := given.get("examples"):
        said = [
            f"note: the run showed {examples} worked examples before each question; the program shows none"
        ]
    return form, said


def _difference(nats: float, dtype: str) -> str:
    return f"largest difference in log-probability to the adapter: {nats:.1e} nats, in {dtype}"


def _write_card(folder: Path, card: str) -> None:
    (folder / "README.md").write_text(card, encoding="utf-8")


WRITERS = {"peft": _peft, "merged": _merged, "gguf": _gguf, "two-files": _two_files}
