"""What a user gets wrong is answered in one line, on standard error, with exit status 2."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from shuhari.loops.cli.main import main
from shuhari.loops.cli.overrides import quote_values
from shuhari.loops.config import ALGORITHMS, CONF, PretrainConfig, TrainConfig, store_types, stored_config
from shuhari.loops.config_checks import to_object


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["shuhari", *arguments])
    with pytest.raises(SystemExit) as stop:
        sys.exit(main())  # type: ignore[func-returns-value]
    return int(stop.value.code or 0)


QUICK = ["phases.imitate.examples=50", "phases.imitate.steps=1", "phases.selfplay.rounds=1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'?"),
        (["train", "experiment=tic_tac_to"], "did you mean 'tic_tac_toe'?"),
        (["train", "sed=1"], "sed: there is no such key; did you mean 'seed'?"),
        (
            ["train", "runs=a"],
            "runs: there is no such key; known: adapter, env, env_args, evaluate_problems, ",
        ),
        (["train", "rank=8"], "did you mean 'policy.rank'?"),
        (["train", "phases.selfplay.round=1"], "did you mean 'phases.selfplay.rounds'?"),
        (["train", "seed=abc"], "seed: Value 'abc'"),
        (["train", "seed="], "seed: Value ''"),
        (["train", "seed=-1"], "seed=-1"),
        (["train", "seed=[1"], "cannot be read as key=value"),
        (["train", "only=[imitat]"], "'imitat' is not one of imitate, selfplay"),
        (["train", "phases.selfplay.rounds=0"], "phases.selfplay.rounds=0: must be greater than 0"),
        (["train", "env=shuhari/TicTacTo-v0"], "TicTacToe"),
        (["train", "env=nomodule:x/Y-v0"], "nomodule"),
        (["train", "env_args={sides: 3}"], "give the arguments one by one, as in env_args.sides=3"),
        (["train", "env_args.sides=3"], "'sides'"),
        (["train", "policy.format=chat"], "policy.format=chat: this base's tokenizer has no chat template"),
        (
            ["train", "policy.template={enable_thinking: false}"],
            "policy.template={'enable_thinking': False}: conv",
        ),
        (["train", "policy.template.enable_thinking=false"], "plain text here, without a template"),
        (["train", "experiment=gsm8k"], "env_args.path: must be given"),
        (["train", "policy.base=/nowhere"], "policy.base=/nowhere"),
        (["train", "adapter=/nowhere"], "adapter=/nowhere"),
        (["train", "resume=/nowhere"], "resume=/nowhere: no config.yaml"),
        (["train", "resume=/nowhere", "seed=1"], "leave out seed=1"),
        (["train", "phases.imitate.traces=/nowhere.jsonl"], "/nowhere.jsonl: cannot be read"),
        (["train", "phases.selfplay.temperatur=1"], "did you mean 'phases.selfplay.temperature'?"),
        (["train", "experiment=addition", "phases.selfplay.simulations=4"], "have no such option"),
        (
            ["train", "experiment=addition", "phase@phases.selfplay=verified_pairs"],
            "phases.selfplay.temperature: this phase's algorithm and objective have no such option",
        ),
        (["train", "objective@phases.selfplay.objective=preferenc"], "did you mean 'preference'?"),
        (["train", "phases=[imitate]"], "only=[imitate]"),
        (["train", "phase@phases.selfplay=search_ply"], "did you mean 'search_play'?"),
        (["train", "phase@phases.selfplay=fictitious_play"], "experiment=board_game"),
        (["train", "env=shuhari/Addition-v0", "experiment=tic_tac_toe"], "take experiment=problems"),
        (["train", "phases.selfplay.optimizer=sgd"], "muon or adamw"),
        (
            ["train", "experiment=addition", "phases.selfplay.judge=jury"],
            "phases.selfplay.judge=jury: must be verifier or majority",
        ),
        (["train", "experiment=addition", "phases.harder.replay_of=imitate"], "that have a replay: selfplay"),
        (["train", "experiment=addition", "phases.selfplay.replay_of=harder"], "that have a replay: none"),
        (["train", "experiment=addition", "only=[harder]"], "that have a replay: none"),
        (["train", "phases.selfplay.algorithm=sample_groups"], "phase@phases.selfplay=NAME"),
        (["train", "phases.selfplay.objective.name=preference"], "objective@phases.selfplay.objective=NAME"),
        (["train", "phases.selfplay.objective=preference"], "objective@phases.selfplay.objective=NAME"),
        (["train", "phases.selfplay.objective=null"], "objective@phases.selfplay.objective=NAME"),
        (["train", "objective@phases.selfplay.objective=preference"], "preference needs advantages"),
        (
            ["train", "experiment=kuhn_poker", "phases.selfplay.temperature=[1]"],
            "phases.selfplay.temperature=[1.0]: must be two",
        ),
        (["train", "policy.rank=0"], "policy.rank=0: must be greater than 0"),
        (
            [
                "train",
                "experiment=addition",
                "objective@phases.selfplay.objective=policy_gradient",
                "phases.selfplay.objective.kl=-1",
            ],
            "phases.selfplay.objective.kl=-1.0: must be at least 0",
        ),
        (
            ["train", "experiment=addition", "phases.selfplay.env_args={digits: 3}"],
            "as in phases.selfplay.env_args.digits=3",
        ),
        (
            ["train", "phases.other.rounds=1"],
            "phases.other: there is no such phase; add it by +phase@phases.other=",
        ),
        (["train", "+phases.other=3"], "phases.other: choose its algorithm by phase@phases.other=NAME"),
        (["train", "phase@phases.other=imitate"], "use +phase@phases.other=imitate"),
        (["train", "policy=3"], "policy: Invalid type assigned"),
        (["train", "seed=${nothing}"], "seed: Interpolation key 'nothing' not found"),
        (["train", "experiment=null"], "Config group override must be a string or a list"),
        (["train", "+phase@phases.expert=imitate"], "'expert' is taken"),
        (
            ["train", "experiment=tic_tac_toe_withheld", "phase@phases.selfplay=sample_groups"],
            "withheld positions",
        ),
        (["train", "phase@phases.selfplay=verified_pairs"], "compares whole answers"),
        (["evaluate", "resume=/nowhere"], "not for evaluate"),
        (["train", "experiment=problems"], "env: must be given, as in env=..."),
        (["train", "experiment=problems", "env=shuhari/Gcd-v0"], "policy.base: must be given"),
        (
            [
                "train",
                "experiment=hidden_game",
                "env=shuhari/OpenSpiel-v0",
                "env_args.game=kuhn_poker(players=3)",
            ],
            "kuhn_poker(players=3): has 3 seats",
        ),
        (
            ["train", "experiment=hidden_game", "env=shuhari/OpenSpiel-v0", "env_args.game=coin_game"],
            "coin_game: OpenSpiel gives it no information-state string",
        ),
        (
            ["train", "env=shuhari/OpenSpiel-v0", "env_args.game=goofspiel(players=2)"],
            "(game=goofspiel(players=2))",
        ),
        (["pretrain", "recipe=gmes"], "did you mean 'games'?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    if arguments[0] == "train" and not any(a.startswith("resume=") for a in arguments):
        arguments = ["train", f"out={tmp_path}", *QUICK, *arguments[1:]]
    assert run(monkeypatch, *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, "train", f"out={tmp_path}/file") == 2
    assert "choose another with out=PATH" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("go(board_size=2)", "go(board_size=2)"),
        ("go(board_size=2, komi=6.5)", "go(board_size=2, komi=6.5)"),
        ("'go(board_size=2,komi=6.5)'", "go(board_size=2,komi=6.5)"),
        ('"go(board_size=2)"', "go(board_size=2)"),
        ("nim(pile_sizes=2;3)", "nim(pile_sizes=2;3)"),
        ("turn_based_simultaneous_game(game=goofspiel(num_cards=3))",) * 2,
        ("2048(max_tile=8)", "2048(max_tile=8)"),
        ("tic_tac_toe", "tic_tac_toe"),
        ("d'or/é (1)#a=b,c.jsonl", "d'or/é (1)#a=b,c.jsonl"),
    ],
)
def test_values_as_people_type_them(
    typed: str, read: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """For an experiment that is given, and for one that the game is asked for."""
    args = [f"env_args.game={typed}", f"out={typed}", "--cfg", "job"]
    asked: list[dict[str, str]] = []
    monkeypatch.setattr(
        "shuhari.loops.house.experiment_for", lambda _, a, base: asked.append(a) or "board_game"
    )
    for experiment in (["experiment=board_game"], []):
        assert run(monkeypatch, "train", "env=shuhari/OpenSpiel-v0", *experiment, *args) == 0
        cfg = OmegaConf.create(capfd.readouterr().out)
        assert (cfg.env_args.game, cfg.out) == (read, read)
    assert asked == [{"game": read}]


def test_several_games_in_a_sweep() -> None:
    swept = quote_values(
        ["env_args.game=go(board_size=2),nim(pile_sizes=2;3),pig", "seed=1,2", "seed=[1", "-m"]
    )
    assert swept == [
        "env_args.game='go(board_size=2)','nim(pile_sizes=2;3)',pig",
        "seed=1,2",
        "seed=[1",
        "-m",
    ]


# For environments that have no experiment of their own.
GENERIC = ("chat", "board_game", "hidden_game", "problems", "returns")


@pytest.mark.parametrize("arguments", [["--help"], ["envs"], ["verify", "--answer", "1", "--gold", "1"]])
def test_a_reader_that_leaves_early_gets_no_traceback(arguments: list[str]) -> None:
    """As in `shuhari envs | head -1`. Here the reader leaves before the first line is written."""
    command = [sys.executable, "-P", "-m", "shuhari.loops.cli.main", *arguments]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_and_version(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "train" in capfd.readouterr().out
    assert run(monkeypatch, "--version") == 0
    assert run(monkeypatch) == 2


@pytest.mark.parametrize("experiment", sorted(p.stem for p in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_composes(experiment: str) -> None:
    store_types(ConfigStore.instance())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        own = ["env=toy/Toy-v0", "policy.base=games"] if experiment in GENERIC else []
        own += ["env_args.path=mine.jsonl"] if experiment == "gsm8k" else []
        cfg = to_object(compose("train", [f"experiment={experiment}", *own]))
    assert isinstance(cfg, TrainConfig)
    assert cfg.phases
    for phase in cfg.phases.values():
        assert type(phase) is ALGORITHMS[phase.algorithm]
    assert cfg.name == experiment
    assert stored_config(asdict(cfg)) == cfg  # as a run stores it, to be resumed


@pytest.mark.parametrize("recipe", sorted(p.stem for p in (CONF / "recipe").glob("*.yaml")))
def test_every_recipe_composes(recipe: str) -> None:
    store_types(ConfigStore.instance())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = to_object(compose("pretrain", [f"recipe={recipe}"]))
    assert isinstance(cfg, PretrainConfig)
