"""`--help` of the training commands: every key has its text, every experiment its line, at any width."""

import pytest

from shuhari.loops.cli.config_help import described, keys, sections
from shuhari.loops.cli.main import HYDRA_COMMANDS, main
from shuhari.loops.config import ALGORITHMS, CONF, PretrainConfig, TrainConfig
from shuhari.loops.learn.objectives import PreferenceConfig


def test_every_key_says_what_it_is() -> None:
    found = [key for _, _, keys in sections() for key in keys] + keys(PretrainConfig)
    assert [key.name for key in found if not key.text] == []
    names = {key.name for key in found}
    for cls in (*ALGORITHMS.values(), TrainConfig, PretrainConfig, PreferenceConfig):
        known = {key.name for key in keys(cls)}
        assert known - {"policy", "phases"} <= names, cls


def test_texts_and_defaults_are_those_of_the_code() -> None:
    seed = next(key for key in keys(TrainConfig) if key.name == "seed")
    assert (seed.default, seed.text) == ("0", "gives the same run again, on as many threads")
    beta = next(key for key in keys(PreferenceConfig) if key.name == "beta")
    assert (beta.default, beta.text) == ("0.1", "the larger, the closer the policy stays to the reference")
    rate = next(key for key in keys(TrainConfig) if key.name == "evaluate_samples")
    assert rate.text.startswith("Completions of each problem")  # a comment of three lines, above
    assert rate.text.endswith("one sample of a later player equals.")


def test_every_experiment_and_recipe_begins_with_what_it_is() -> None:
    for group in ("experiment", "recipe"):
        files = [*(CONF / group).glob("*.yaml")]
        texts = described(files)
        assert sorted(texts) == sorted(path.stem for path in files)
        assert [name for name, text in texts.items() if not text.rstrip(":").strip()] == []


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("command", HYDRA_COMMANDS)
def test_help_fits_the_terminal(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.argv", ["shuhari", command, "experiment=addition", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: shuhari {command} [key=value ...]")
    assert "seed=0" in text
    wide = [line for line in text.splitlines() if len(line) > columns and " " in line.strip()]
    assert [line for line in wide if not line.startswith("  shuhari")] == []  # an example is one line to copy
