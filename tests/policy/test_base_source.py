"""Where bases come from: names, folders, the hub's cache; each fault is one line that says what to do."""

import json
import shutil
import warnings
from pathlib import Path

import checkpoints
import pytest
import torch
from huggingface_hub import constants, errors
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from shuhari.loops.cli.generate import main
from shuhari.policy import hub
from shuhari.policy.base_source import SHIPPED, find_base, prepared_bases
from shuhari.policy.load import LeftOutWarning
from shuhari.policy.policy import CheckpointError, Policy

TOKENS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, no network, no prepared bases."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SHUHARI_HOME", str(tmp_path / "home"))
    return tmp_path / "hub"


def reason(base: str) -> str:
    with pytest.raises(CheckpointError) as error:
        Policy(base, rank=1, alpha=1.0)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"base={base}: ")
    return error.value.reason


def in_cache(cache: Path, name: str) -> Path:
    """A model as the hub's cache has it: a folder by revision, and which revision is the newest."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    for file in (SHIPPED / "math").iterdir():
        (snapshot / file.name).symlink_to(file)
    return snapshot


class TestHubIds:
    def test_a_model_in_the_cache_is_the_base_and_its_adapter_names_it(
        self, offline: Path, tmp_path: Path
    ) -> None:
        in_cache(offline, "org/tiny")
        policy = Policy("org/tiny", rank=2, alpha=4.0)
        with torch.no_grad():
            assert policy.logits(TOKENS).equal(Policy("math", rank=2, alpha=4.0).logits(TOKENS))
        policy.save(tmp_path / "adapter")
        config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "org/tiny"
        assert not policy.notes

    def test_not_in_the_cache_and_offline(self, offline: Path) -> None:
        assert f"it is not in the cache, {offline}, and HF_HUB_OFFLINE is set" in reason("org/none")

    @pytest.mark.parametrize(
        ("lost", "what"),
        [
            ("config.json", "lacks config.json in"),
            ("tokenizer*", "lacks tokenizer in"),
            ("model.safetensors", "lacks weights (model.safetensors) in"),
        ],
    )
    def test_half_in_the_cache_and_offline(self, offline: Path, lost: str, what: str) -> None:
        for file in in_cache(offline, "org/tiny").glob(lost):
            file.unlink()
        assert f"it {what} the cache" in reason("org/tiny")

    def test_a_lost_shard_is_named(self, offline: Path) -> None:
        snapshot = in_cache(offline, "org/tiny")
        (snapshot / "model.safetensors").unlink()
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
        (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "lacks weights model-00001-of-00002.safetensors in the cache" in reason("org/tiny")

    def test_only_what_is_not_in_the_cache_is_downloaded(
        self, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Safetensors first, and pickled tensors where the hub has none."""
        snapshot, asked = in_cache(offline, "org/tiny"), []

        def download(name: str, *, allow_patterns: list[str], local_files_only: bool, **_: object) -> str:
            if not local_files_only:
                asked.append(allow_patterns)
                if "pytorch_model.bin" in allow_patterns:
                    weights = AutoModelForCausalLM.from_pretrained(SHIPPED / "math").state_dict()
                    torch.save(weights, snapshot / "pytorch_model.bin")
            return str(snapshot)

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "snapshot_download", download)
        Policy("org/tiny", rank=1, alpha=1.0)
        assert not asked
        (snapshot / "model.safetensors").unlink()
        Policy("org/tiny", rank=1, alpha=1.0)
        assert [hub.SAFETENSORS[0] in patterns for patterns in asked] == [True, False]
        Policy("org/tiny", rank=1, alpha=1.0)
        assert len(asked) == 2
        assert not any(Path("code.py").match(pattern) for patterns in asked for pattern in patterns)

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (errors.GatedRepoError, "asks for its terms to be accepted"),
            (errors.RepositoryNotFoundError, "does not know it, or it is private"),
            (errors.LocalEntryNotFoundError, "cannot be reached"),
            (RuntimeError, "the cable is cut"),
        ],
    )
    def test_what_a_network_says_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, error: type[Exception], words: str
    ) -> None:
        def download(name: str, *, local_files_only: bool, **_: object) -> str:
            if local_files_only:
                raise errors.LocalEntryNotFoundError("not in the cache")
            raise error.__new__(error, "the cable is cut")

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "snapshot_download", download)
        assert words in reason("org/none")

    def test_code_of_a_model_is_never_run(self, offline: Path, tmp_path: Path) -> None:
        snapshot = in_cache(offline, "org/code")
        config = json.loads((snapshot / "config.json").read_text())
        (snapshot / "config.json").unlink()
        config |= {
            "model_type": "mine",
            "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
        }
        (snapshot / "config.json").write_text(json.dumps(config))
        (snapshot / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        assert "brings code of its own, which is never run" in reason("org/code")
        assert not (tmp_path / "ran").exists()


class TestNames:
    def test_a_prepared_base_is_found_from_any_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(SHIPPED / "math", prepared_bases() / "mine")
        monkeypatch.chdir(tmp_path)
        assert find_base("mine").again == str((tmp_path / "home/bases/mine").resolve())
        assert "nor prepared (mine)" in reason("mien")

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("smollm2", "is not prepared yet; do so once: make smollm2"),
            (
                "maths",
                "neither shipped (algebra, boards, cards, connect_four, connect_four_7x6, games, gymnasium, "
                "large_boards, math) nor prepared (none yet;",
            ),
            ("./maths", "there is no such folder"),
            ("/nowhere/at/all", "there is no such folder"),
            ("mine.gguf", "there is no such file"),
        ],
    )
    def test_a_name_that_stands_for_nothing(self, given: str, words: str) -> None:
        assert words in reason(given)

    def test_generate_says_the_same(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["hello", "--base", "smollm2"]) == 2
        assert capsys.readouterr().err.endswith(
            "--base smollm2: is not prepared yet; do so once: make smollm2\n"
        )


class TestFolders:
    @pytest.mark.parametrize("form", ["whole", "sharded", "pickled"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_weights_are_the_same_in_every_form(self, tmp_path: Path, form: str, dtype: torch.dtype) -> None:
        base = checkpoints.write_checkpoint(tmp_path / "base", "llama", dtype)
        want = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if form != "whole":
            saved = AutoModelForCausalLM.from_pretrained(base)
            assert saved.dtype == dtype
            (base / "model.safetensors").unlink()
            if form == "sharded":
                saved.save_pretrained(base, max_shard_size="50KB")
                assert len(list(base.glob("model-*-of-*.safetensors"))) > 1
            else:
                torch.save(saved.state_dict(), base / "pytorch_model.bin")
        policy = Policy(str(base), rank=2, alpha=4.0)
        assert {p.dtype for p in policy.model.parameters()} == {torch.float32}
        with torch.no_grad():
            torch.testing.assert_close(policy.logits(TOKENS), want(TOKENS).logits[..., :354])

    @pytest.mark.parametrize(
        ("file", "content", "words"),
        [
            ("model.safetensors", None, "its weights are cut off or damaged"),  # None: its first half
            ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            ("config.json", b"", "not a readable checkpoint"),
            (
                "config.json",
                b'{"quantization_config": {"quant_method": "gptq"}, "model_type": "llama"}',
                "gptq",
            ),
        ],
    )
    def test_a_damaged_one_is_one_line(
        self, tmp_path: Path, file: str, content: bytes | None, words: str
    ) -> None:
        base = shutil.copytree(SHIPPED / "math", tmp_path / "base")
        whole = (base / file).read_bytes()
        (base / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
        assert words in reason(str(base))

    def test_weights_that_nothing_reads_are_named(self, tmp_path: Path) -> None:
        base = checkpoints.write_checkpoint(tmp_path, "llama")
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
        warnings.simplefilter("ignore", FutureWarning)
        with pytest.warns(
            LeftOutWarning, match=r"left out, model\.layers\.2\.input_layernorm\.weight among them"
        ):
            Policy(str(base), rank=1, alpha=1.0)

    def test_an_adapters_folder_is_no_base(self, tmp_path: Path) -> None:
        Policy("math", rank=1, alpha=1.0).save(tmp_path / "adapter")
        assert "holds an adapter and no base" in reason(str(tmp_path / "adapter"))

    def test_an_adapter_names_its_base_so_that_peft_finds_it_from_anywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoints.write_checkpoint(tmp_path / "base", "llama")
        monkeypatch.chdir(tmp_path)
        policy = checkpoints.random_policy(tmp_path / "base", "llama")
        policy.save(tmp_path / "adapter")
        (tmp_path / "base").rename(tmp_path / "moved")
        again = Policy("moved", rank=4, alpha=8.0, adapter=tmp_path / "adapter")
        again.save(tmp_path / "again")
        monkeypatch.chdir("/")
        plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "again")
        with torch.no_grad():
            torch.testing.assert_close(plain(TOKENS).logits[..., :354], policy.logits(TOKENS))
