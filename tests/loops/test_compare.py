"""`shuhari compare`: on terminals and through pipes; what it keeps, how it goes on, and that it trains."""

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from mistakes import mistake
from person import Person

from shuhari.envs import register_env
from shuhari.envs.files.trace_files import read_pairs
from shuhari.envs.task_env import TaskEnv
from shuhari.loops.cli.compare import main
from shuhari.loops.cli.overrides import overrides_of
from shuhari.loops.config import CONF, store_types
from shuhari.loops.config_checks import to_object
from shuhari.loops.play.comparison_table import Comparison
from shuhari.loops.play.pairs_file import ComparedPairs
from shuhari.loops.train import train

ADDITION = ["shuhari/Addition-v0", "--base", "math", "--seed", "1"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def piped(monkeypatch: pytest.MonkeyPatch, typed: str, out: Path, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8"))
    return main([*(arguments or ADDITION), "--out", str(out)])


def shown(text: str) -> list[tuple[str, str, str]]:
    """Problem and answers of each comparison on the screen."""
    return re.findall(r"Problem: (.*)\n1: (.*)\n2: (.*)\n", text.replace("\r\n", "\n"))


@pytest.mark.parametrize(("columns", "end"), [(80, "\x04"), (40, "\x03")])
def test_on_a_terminal_with_nonsense_the_end_of_the_input_and_ctrl_c(
    columns: int, end: str, tmp_path: Path
) -> None:
    out = tmp_path / "pairs.jsonl"
    person = Person(columns, "compare", *ADDITION, "--out", str(out))
    person.wait("better> ")
    person.type("zz\r")
    person.wait("'zz' is none of 1, 2, tie,")
    person.wait("better> ")
    person.type("2\r")
    person.wait("better> ")
    (problem, first, second), *_ = shown(person.read)
    kept = [{"prompt": problem, "chosen": second, "rejected": first}]
    assert rows(out) == kept  # at once
    for _ in range(5):  # a signal that comes just before Python waits is not seen until the next
        person.type(end)
        if person.ended(4.0):  # one that comes while it ends would end it without a status
            break
    assert person.status() == (0 if end == "\x04" else 130)
    assert rows(out) == kept
    assert "Traceback" not in person.read
    told = person.read.partition("better> 2")[2]
    assert "1 pairs were added to" in re.sub(r"\s+", " ", told)
    assert ("shuhari train" in told) == (end == "\x04")
    said = [line for line in person.read.split("\r\n") if str(tmp_path) not in line]
    assert max(map(len, said)) <= columns


def test_a_choice_is_kept_taken_back_and_never_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, ties = tmp_path / "pairs.jsonl", tmp_path / "pairs.ties.jsonl"
    assert piped(monkeypatch, "undo\n1\nTIE\nskip\n2\nundo\nundo\nundo\n2\ntie\n", out) == 0
    printed = capsys.readouterr().out
    assert "There is nothing to take back." in printed
    a, b, c, d, e, *back = shown(printed)
    assert len({a, b, c, d, e}) == 5
    assert back == [d, c, b, c, d]
    assert rows(out) == [
        {"prompt": a[0], "chosen": a[1], "rejected": a[2]},
        {"prompt": b[0], "chosen": b[2], "rejected": b[1]},
    ]
    assert rows(ties) == [{"task": c[0], "tied": list(c[1:])}]
    with out.open("a") as file:  # somebody adds a line, and no line break
        file.write(json.dumps({"prompt": d[0], "chosen": "1", "rejected": "2"}))
    before = out.read_text()
    assert piped(monkeypatch, "1\nundo\n2\n", out) == 0
    printed = capsys.readouterr().out
    assert "4 problems were compared before" in printed
    assert not {problem for problem, *_ in shown(printed)} & {a[0], b[0], c[0], d[0]}
    assert out.read_text().startswith(f"{before}\n")
    assert rows(out)[3]["chosen"] == shown(printed)[0][2]
    assert len(rows(out)) == 4


def test_all_problems_of_the_training_side_are_compared_and_no_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def generate(rng: np.random.Generator) -> tuple[str, str]:
        """Add."""
        return f"{rng.integers(30)}+11=", ""

    register_env(generate, lambda completion, gold: False, id="compared/Few-v0")
    monkeypatch.setattr("shuhari.loops.play.policy_pairs.DRAWS", 300)
    args = ["compared/Few-v0", "--base", "math", "--seed", "0", "--temperature", "2"]
    assert piped(monkeypatch, "skip\n" * 100, tmp_path / "pairs.jsonl", *args) == 0
    printed = capsys.readouterr().out
    problems = [problem for problem, *_ in shown(printed)]
    assert sorted(problems) == sorted(
        prompt for n in range(30) if TaskEnv.split_of(prompt := f"{n}+11=") == "train"
    )
    assert "There is nothing more to compare." in printed
    assert not list(tmp_path.iterdir())


def test_the_pairs_train_by_the_command_that_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert piped(monkeypatch, "1\n2\n1\n", Path("pairs.jsonl"), *ADDITION, "digits=3") == 0
    shuhari, command, *words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert (shuhari, command) == ("shuhari", "train")
    store_types(ConfigStore.instance())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = to_object(compose("train", overrides_of(command, words)))
    cfg.phases["compare"].rounds, cfg.evaluate_problems, cfg.threads = 2, 10, 1
    report = train(cfg)
    assert [phase["name"] for phase in report["phases"]] == ["compare"]
    assert report["phases"][0]["updates"] == 2
    assert cfg.env_args == {"digits": 3}


def test_a_problem_with_instructions_of_its_own_is_read_back_with_them(tmp_path: Path) -> None:
    kept = ComparedPairs(tmp_path / "pairs.jsonl")
    kept.pairs.add(Comparison("1+1=\n", ("2", "drei"), "Add.").ranked(1))
    kept.pairs.add(Comparison("1+2=\n", ("Größe\n3", "\ud7ff")).ranked(0))
    first, second = read_pairs(kept.pairs.path)
    assert (first.prompt, first.chosen, first.rejected, first.instructions) == ("1+1=\n", "drei", "2", "Add.")
    assert (second.prompt, second.chosen, second.instructions) == ("1+2=\n", "Größe\n3", None)
    assert ComparedPairs(kept.pairs.path).prompts == {"1+1=", "1+2="}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shuhari/Additio-v0"], "Addition"),
        (["shuhari/TicTacToe-v0"], "compare is for problems that are answered in one message"),
        (["shuhari/Calculator-v0"], "compare is for problems that are answered in one message"),
        (ADDITION[:1], "Give --base"),
        ([*ADDITION, "--policy", "expert"], "--policy expert: base or a folder of an adapter"),
        ([*ADDITION, "--policy", "/nowhere"], "there is no such folder"),
        ([*ADDITION, "--seed", "-1"], "--seed -1: a number from 0"),
        ([*ADDITION, "--temperature", "0"], "--temperature 0: a number above 0"),
        ([*ADDITION, "--max-new-tokens", "0"], "--max-new-tokens 0: a number above 0"),
        ([*ADDITION, "--max-new-tokens", "1"], "raise --temperature 1 or --max-new-tokens 1"),
        ([*ADDITION, "--out", "pairs.csv"], "--out pairs.csv: a file NAME.jsonl"),
        ([*ADDITION, "--out", "{folder}/none/pairs.jsonl"], "No such file or directory"),
        ([*ADDITION, "--out", "{folder}/foreign.jsonl"], "foreign.jsonl:1: 'chosen' is missing"),
        ([*ADDITION, "--out", "{folder}/broken.jsonl"], "broken.ties.jsonl:1: no tie"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_no_file(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1\n"), encoding="utf-8"))
    (tmp_path / "foreign.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    (tmp_path / "broken.ties.jsonl").write_text("[]\n")
    assert message in mistake(main, [argument.format(folder=tmp_path) for argument in arguments], capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"foreign.jsonl", "broken.ties.jsonl"}
