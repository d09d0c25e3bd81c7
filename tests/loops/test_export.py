"""An adapter for use elsewhere: it says what the policy says, and needs nothing more than it promises."""

import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chat_models import write_chat_model
from checkpoints import random_policy, write_checkpoint
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from shuhari.loops.cli.export import main
from shuhari.loops.export import merged, run_policy
from shuhari.loops.export.run_facts import without_paths
from shuhari.loops.export.two_files import PromptForm, write_two_files
from shuhari.loops.house import open_run_env
from shuhari.policy.chat_renderer import build_renderer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.policy import Policy

QUESTIONS = [f"{a}+{b}=" for a, b in ((47, 85), (1, 2), (999, 1), (12345, 6789), (0, 0), (30, 4004))]
# A program that may import the standard library and NumPy, and says so if it tries anything else.
GUARD = """
import runpy, sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names | {"numpy"}:
            raise ImportError(f"{name} is forbidden here")
sys.meta_path.insert(0, Guard())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def changed(base: str, folder: Path, noise: float = 0.05) -> Policy:
    """A policy whose adapter is not zero, saved in that folder."""
    policy = Policy(base, rank=4, alpha=8.0, seed=1)
    with torch.no_grad():
        for p in policy.parameters.values():
            p.add_(torch.randn_like(p) * noise)
    policy.updated()
    policy.save(folder)
    return policy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: an adapter of the base `math`, a configuration, and a report."""
    folder = tmp_path_factory.mktemp("run")
    changed("math", folder / "adapter-selfplay", noise=0.01)
    written = folder / "adapter-selfplay/adapter_config.json"  # by another machine, whose bases lay elsewhere
    written.write_text(
        json.dumps(json.loads(written.read_text()) | {"base_model_name_or_path": "/gone/math"})
    )
    where = f"env_args: {{digits: 3, file: {folder}/private.jsonl}}"
    config = "name: sums\nenv: shuhari/Addition-v0\n" + where + "\nseed: 5\npolicy:\n  base: math\n"
    phases = "phases: {imitate: {algorithm: imitate}, selfplay: {algorithm: accepted_answers}, harder: {}}\n"
    (folder / "config.yaml").write_text(f"{config}  rank: 4\n  max_new_tokens: 40\n{phases}")
    row = {"greedy": 0.75, "n": 400, "ci95": {"greedy": [0.705, 0.79]}}
    counts = {"steps": 1, "updates": 7, "episodes": 70, "tokens": 700}
    report = {
        "experiment": "sums",
        "skill": "greedy",
        "evaluation": {"heldout_problems": 400},
        "players": {"base": row | {"greedy": 0.1}, "selfplay": row},
        "phases": [{"name": name, **counts} for name in ("imitate", "selfplay", "harder")],
        "notes": [f"read from {folder}/.measured", "1/2 of shuhari/Addition-v0"],
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="module")
def two_files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    assert main([str(run / "adapter-selfplay"), str(folder), "--as", "two-files"]) == 0
    return folder


def ask(monkeypatch: pytest.MonkeyPatch, weights: Path, *arguments: str) -> int:
    """The program's status, run in this process."""
    monkeypatch.setattr(sys, "argv", ["policy.py", "--weights", str(weights), *arguments])
    return run_policy.main()


def test_with_numpy_alone_the_program_takes_our_greedy_tokens(run: Path, two_files: Path) -> None:
    assert {path.name for path in two_files.iterdir()} == {"policy.py", "policy.safetensors"}
    policy = Policy("math", rank=1, alpha=1.0, adapter=run / "adapter-selfplay")
    prompts = [policy.opening(question) for question in QUESTIONS]
    ours = [c.tokens for c in Generator(policy).generate(prompts, 40, temperature=0.0)]
    assert any(tokens[-1] == policy.eos for tokens in ours)  # so that ends are seen
    command = [sys.executable, "-c", GUARD, two_files / "policy.py", "--tokens"]
    given: Any = {"input": "\n".join(QUESTIONS), "cwd": "/", "text": True, "capture_output": True}
    done = subprocess.run(command, check=True, env={}, **given)
    assert [tuple(json.loads(line)) for line in done.stdout.splitlines()] == ours


def test_peft_and_merged_say_the_same_in_plain_transformers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("peft", "merged"):
        assert main([str(run / "adapter-selfplay"), str(tmp_path / form), "--as", form]) == 0
        for path in (tmp_path / form).iterdir():
            for private in (str(run), str(Path(merged.__file__).parents[2]), str(Path.home()), "/gone"):
                assert private.encode() not in path.read_bytes(), path
    assert (
        json.loads((tmp_path / "peft/adapter_config.json").read_text())["base_model_name_or_path"] == "math"
    )
    assert "largest difference in log-probability" in capsys.readouterr().out
    source = str(Path(merged.__file__).parents[2] / "policy/bases/math")
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(source), tmp_path / "peft"
    ).eval()
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "merged")("47+85=132", return_tensors="pt").input_ids
    with torch.no_grad():
        ours, plain, bare = (
            model(input_ids=tokens).logits.log_softmax(-1)
            for model in (whole, adapted, AutoModelForCausalLM.from_pretrained(source).eval())
        )
    assert torch.allclose(ours, plain, rtol=0, atol=1e-4)
    assert not torch.allclose(ours, bare, rtol=0, atol=1e-2)


def test_the_card_says_what_the_report_says(run: Path, tmp_path: Path) -> None:
    assert main([str(run / "adapter-selfplay"), str(tmp_path / "out"), "--as", "peft"]) == 0
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    for line in (
        "# sums: selfplay",
        "| selfplay | 0.75 | 0.705 to 0.79 | 400 |",
        "| base | 0.1 | 0.705 to 0.79 | 400 |",
        '- Environment: shuhari/Addition-v0 with {"digits": 3, "file": "private.jsonl"}; seed 5.',
        "- Phase selfplay (accepted_answers): 7 updates, 70 episodes, 700 tokens in losses.",
        "- read from .measured",
        "- 1/2 of shuhari/Addition-v0",
    ):
        assert line in card
    assert "harder" not in card.partition("## Limits")[0]  # a later phase taught this player nothing


@pytest.mark.parametrize(
    ("text", "without"),
    [("of /a/b.txt, 1/2", "of b.txt, 1/2"), ("~/x/y", "y"), ("org/name", "org/name"), ("a:/b/c", "a:/b/c")],
)
def test_paths_are_cut_and_names_are_not(text: str, without: str) -> None:
    assert without_paths(text) == without


LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"tie_word_embeddings": False, "rope_parameters": YARN}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("mistral", {"sliding_window": 7}),
    ],
)
def test_the_program_computes_what_each_family_does(kind: str, given: dict[str, Any], tmp_path: Path) -> None:
    policy = random_policy(tmp_path / "base", kind, **given)
    asked: Any = {"max_new_tokens": 8, "card": ""}
    assert write_two_files(policy, PromptForm(), tmp_path, half=False, **asked) < 2e-5
    if kind == "qwen2":
        full = (tmp_path / "policy.safetensors").stat().st_size
        assert 2e-5 < write_two_files(policy, PromptForm(), tmp_path, half=True, **asked) < 0.1
        assert (tmp_path / "policy.safetensors").stat().st_size < 0.6 * full


def test_a_chat_is_written_around_the_question(tmp_path: Path) -> None:
    base = write_chat_model(tmp_path / "base", "chatml")
    policy = changed(str(base), tmp_path / "adapter")
    out, rules = tmp_path / "out", "Answer with a number."
    given = [str(tmp_path / "adapter"), str(out), "--as", "two-files"]
    assert main([*given, "--instructions", rules]) == 0
    program = run_policy.Policy(out / "policy.safetensors")
    renderer = build_renderer(policy, rules)
    question = " How many legs have 3 dogs?\n"
    assert program.ask(question) == [*renderer.first(question)]
    assert rules in program.tokenizer.decode(program.ask(question))
    assert program.ends == policy.ends
    (tmp_path / "config.yaml").write_text(
        "env: shuhari/Legs-v0\n"
    )  # as in a run: its rules are the system turn
    assert main([*given[:1], str(tmp_path / "again"), *given[2:]]) == 0
    again = run_policy.Policy(tmp_path / "again/policy.safetensors")
    assert again.ask(question) == [
        *build_renderer(policy, open_run_env("shuhari/Legs-v0", {}).instructions).first(question)
    ]


def test_a_template_that_does_more_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "{% for m in messages %}<|im_start|>{{ m.content | replace('+', ' plus ') }}<|im_end|>{% endfor %}"
    base = write_chat_model(tmp_path / "base", "chatml", text)
    changed(str(base), tmp_path / "adapter")
    assert main([str(tmp_path / "adapter"), str(tmp_path / "out"), "--as", "two-files"]) == 2
    assert "does more than to write around a question" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_gguf_is_read_back_as_the_same_policy(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="GGUF files need the extra gguf")
    base = write_chat_model(tmp_path / "base", "chatml")
    policy = changed(str(base), tmp_path / "adapter")
    assert main([str(tmp_path / "adapter"), str(tmp_path / "out"), "--as", "gguf"]) == 0
    again = Policy(str(tmp_path / "out/policy.gguf"), rank=1, alpha=1.0)
    tokens = policy.encode("<|im_start|>user\nHow many legs have 3 dogs?<|im_end|>\n")
    assert again.encode("<|im_start|>user\nHow many legs have 3 dogs?<|im_end|>\n") == tokens
    assert again.tokenizer.chat_template == policy.tokenizer.chat_template
    with torch.no_grad():
        ours, theirs = (p.logits(torch.tensor([tokens])).log_softmax(-1) for p in (policy, again))
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-4)


def test_the_program_answers_lines_and_chooses(
    two_files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = two_files / "policy.safetensors"
    program = run_policy.Policy(weights)
    assert program.about["max_new_tokens"] == 40

    def said(*arguments: str) -> str:
        assert ask(monkeypatch, weights, *arguments) == 0
        return capsys.readouterr().out

    greedy = said("47+85=", "--max-new-tokens", "5")
    assert len(greedy) <= 6
    assert greedy == said("47+85=", "--max-new-tokens", "5")
    drawn = [said("47+85=", "--temperature", "3", "--seed", str(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    for choices in (("7", "78"), ("132", "77")):
        chosen = said("47+85=", *(f"--choice={choice}" for choice in choices)).rstrip("\n")
        assert chosen in choices
    assert "# sums: selfplay" in said("--about")
    monkeypatch.setattr(sys, "stdin", StringIO("1+1=\n\n1\\n=\n" + "1" * 256 + "\n"))
    assert ask(monkeypatch, weights, "--tokens") == 0
    printed = capsys.readouterr()
    prompts = [program.ask(question) for question in ("1+1=", "1\n=")]
    assert [json.loads(line) for line in printed.out.splitlines()] == [
        [*program.generate(prompt, 40)] for prompt in prompts
    ]
    assert "256 tokens" in printed.err  # a question too long ends no conversation


def test_the_program_says_a_mistake_in_a_line(
    two_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, cut = two_files / "policy.safetensors", tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100_000])
    for file, question, words in (
        (weights, "1" * 256, "a question of 256 tokens: it may have 1 to 255"),
        (weights, "", "a question of 0 tokens"),
        (cut, "1+1=", "or cut off"),
        (tmp_path / "none", "1+1=", "no weights of a policy"),
    ):
        assert ask(monkeypatch, file, question) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_attention_of_one_token_at_a_time_is_that_of_all_at_once(tmp_path: Path) -> None:
    policy = random_policy(tmp_path / "base", "mistral", sliding_window=5)
    write_two_files(policy, PromptForm(), tmp_path, half=False, max_new_tokens=8, card="")
    program, tokens = run_policy.Policy(tmp_path / "policy.safetensors"), list(range(40, 60))
    at_once, by_one = (run_policy.Cache(policy.layers, policy.kv_heads, 20, policy.head_dim) for _ in "ab")
    whole = program.logits(tokens, at_once)
    for token in tokens:
        last = program.logits([token], by_one)
    np.testing.assert_allclose(last, whole, atol=2e-5)


def test_mistakes_are_one_line_and_nothing_is_lost(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, full, file = str(run / "adapter-selfplay"), tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "kept").write_text("mine")
    file.write_text("mine")
    write_checkpoint(tmp_path / "other", "llama")
    new, other = str(tmp_path / "new"), str(tmp_path / "other")
    mistakes: list[tuple[list[str], str]] = [
        ([adapter, str(full), "--as", "merged"], "exists and is not empty"),
        ([adapter, str(file), "--as", "peft"], "is a file"),
        ([adapter, new, "--as", "merge"], "did you mean 'merged'?"),
        ([adapter, new, "--as", "peft", "--base", other], "was trained on another base"),
        ([adapter, new, "--as", "merged", "--base", "games"], "was trained on another base"),
        ([adapter, new, "--as", "two-files", "--base", "nowhere"], "--base nowhere: neither shipped"),
        ([str(run), new, "--as", "peft"], "give one of it: adapter-selfplay"),
        ([other, new, "--as", "peft"], "give an adapter's folder"),
        ([adapter, new, "--as", "merged", "--dtype", "float16"], "--dtype: --as merged has no use for it"),
        ([adapter, new, "--as", "two-files", "--dtype", "float8"], "did you mean 'float"),
        ([adapter, new, "--as", "two-files", "--format", "chat"], "has no chat template"),
        ([adapter, new, "--as", "gguf"], "gguf"),
    ]
    for arguments, words in mistakes:
        assert main(arguments) == 2, arguments
        error = capsys.readouterr().err
        assert (words in error, error.count("\n")) == (True, 1), error
    written = tmp_path / "run/adapter-x/adapter_config.json"
    shutil.copytree(run / "adapter-selfplay", written.parent)
    for path, text, words in (
        (written.parents[1] / "report.json", '{"players": {"x": {}}}', "another version's"),
        (written.parents[1] / "report.json", '{"players":', "report.json: is damaged"),
        (written.parents[1] / "config.yaml", "policy: {", "config.yaml: is damaged"),
        (written, "{}", "adapter_config.json: is damaged"),
    ):
        path.write_text(text)
        assert main([str(written.parent), new, "--as", "peft", "--base", "math"]) == 2
        error = capsys.readouterr().err
        assert (words in error, error.count("\n")) == (True, 1), error
    monkeypatch.setattr(merged, "LARGEST", -1.0)
    assert main([adapter, new, "--as", "merged"]) == 2  # noticed after all was written
    assert "take peft" in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["kept"]
    assert file.read_text() == "mine"
    assert not Path(new).exists()
