"""Files in the shapes of known data sets are read and trained on; others are refused before a run begins."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shuhari.loops.cli.hydra_commands import TAUGHT_NOTHING
from shuhari.loops.cli.main import main

QUICK = [
    "phases.imitate.steps=2",
    "phases.imitate.examples=40",
    "phases.imitate.batch=8",
    "phases.selfplay.rounds=1",
    "phases.selfplay.problems=2",
    "phases.selfplay.samples=2",
    "policy.max_new_tokens=16",
    "evaluate_problems=2",
    "evaluate_samples=4",
    "threads=1",
]
LONG = range(6, 10)  # lines whose work is longer than the policy's context; held out is one in five


def gsm8k() -> list[dict[str, Any]]:
    rows = []
    for n in range(20):
        steps = f"She buys {n}*5=<<{n}*5={5 * n}>>{5 * n}.\n" * (40 if n in LONG else 1)
        question = f"Ann has 3 apples and buys {n} bags of 5. How many?"
        rows.append({"question": question, "answer": f"{steps}3+{5 * n}={5 * n + 3}\n#### ${5 * n + 3:,}"})
    return rows


def math_500() -> list[dict[str, Any]]:
    return [
        {
            "problem": f"Compute $\\frac{{{n}}}{{41}} + 1$.",
            "solution": f"As $1 = \\frac{{41}}{{41}}$, it is $\\boxed{{\\frac{{{n + 41}}}{{41}}}}$."
            + " !" * 200 * (n in LONG),
            "answer": f"\\frac{{{n + 41}}}{{41}}",
            "subject": "Prealgebra",
            "level": 2,
            "unique_id": f"test/prealgebra/{n}.json",
        }
        for n in range(1, 21)
    ]


def numina() -> list[dict[str, Any]]:
    rows = [
        {
            "problem": f"Solve $x - {n} = {n}$.",
            "solution": f"Add {n} on both sides:\n$x = {2 * n}$." + " So." * 200 * (n in LONG),
            "answer": str(2 * n),
            "problem_type": "Algebra",
            "question_type": "math-word-problem",
            "problem_is_valid": "Yes",
            "solution_is_valid": "Yes",
            "source": "cn_k12",
            "synthetic": False,
            "uuid": f"{n:032x}",
            "is_reasoning_complete": [True, True],
        }
        for n in range(20)
    ]
    rows[3] |= {"answer": "proof", "question_type": "proof"}
    return rows


def train(path: Path, rows: Sequence[Any], monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [
        "experiment=dataset",
        f"env_args.path={path}",
        f"out={path.parent / 'runs'}",
        *QUICK,
        *overrides,
    ]
    monkeypatch.setattr("sys.argv", ["shuhari", "train", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


ALIKE = [pytest.param(shape, marks=pytest.mark.long) for shape in (gsm8k, math_500)]


@pytest.mark.filterwarnings("ignore:.*left out. its answer is 'proof'")
@pytest.mark.parametrize("shape", [numina, *ALIKE])
def test_known_shapes_are_read_and_trained_on(
    shape: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With traces that are too long for the base, and word of which base would take them."""
    rows, path = shape(), tmp_path / "a file (1).jsonl"
    unreadable = sum(row["answer"] == "proof" for row in rows)
    # A round after two steps of imitation gets nothing right: that is said, and the report is whole.
    assert train(path, rows, monkeypatch) == TAUGHT_NOTHING
    (report,) = tmp_path.glob("runs/*/*/report.json")
    data = json.loads(report.read_text())
    assert [(phase["name"], phase["steps"]) for phase in data["phases"]] == [("imitate", 2), ("selfplay", 1)]
    assert {"expert", "imitation"} <= data["players"].keys()
    assert data["players"]["expert"]["greedy"] == 1.0
    assert [text.partition(":")[0] for text in data["failures"]] == ["phase selfplay"]
    notes = " ".join(data["notes"])
    assert " entries are longer than the 256 tokens that the policy takes, the first is " in notes
    assert (f"{20 - unreadable} of 20 lines are used" in notes) == bool(unreadable)


def test_traces_of_which_none_fits_are_refused_with_the_base_that_takes_them(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    traces = tmp_path / "traces.jsonl"
    lines = [json.dumps({"prompt": f"{n}?", "completion": "x" * (290 + n)}) + "\n" for n in range(5)]
    traces.write_text("".join(lines))
    status = train(tmp_path / "d.jsonl", gsm8k(), monkeypatch, f"phases.imitate.traces={traces}")
    error = capfd.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert f"{traces}: 5 of 5 entries are longer than the 256 tokens" in error
    assert "a context of 297 takes all" in error
    assert not (tmp_path / "runs").exists()


def verl() -> list[dict[str, Any]]:
    """A question as messages with a system turn, and the gold in a nested column."""
    return [
        {
            "data_source": "openai/gsm8k",
            "prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": f"{n}+3?"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(n + 3)},
            "extra_info": {"split": "train", "index": n, "answer": f"{n}+3={n + 3}\n#### {n + 3}"},
        }
        for n in range(20)
    ]


def test_nested_columns_are_named_and_then_read(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The line that refuses the file says what to add, and as that is typed it trains."""
    path = tmp_path / "d.jsonl"
    assert train(path, verl(), monkeypatch) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert f"{path}:1: no 'answer'" in error
    assert not (tmp_path / "runs").exists()
    override = error.rpartition("give '")[2].removesuffix("'\n")
    assert override == "env_args.columns={answer: reward_model.ground_truth, trace: extra_info.answer}"
    assert train(path, verl(), monkeypatch, override, "only=[imitate]") == 0
    (report,) = tmp_path.glob("runs/*/*/report.json")
    assert json.loads(report.read_text())["players"]["expert"]["greedy"] == 1.0


@pytest.mark.filterwarnings("ignore:.*item 13. left out. the conversation has no message of the assistant")
def test_chats_are_traces_of_all_turns_or_of_the_last(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chats, path = tmp_path / "chats.json", tmp_path / "d.jsonl"
    said = [{"role": role, "content": f"{n}?"} for n in range(2) for role in ("user", "assistant")]
    chats.write_text(json.dumps([{"messages": said}] * 12 + [{"messages": said[:1]}]))
    given = [f"phases.imitate.traces={chats}", "only=[imitate]", "phases.imitate.turns="]
    assert train(path, gsm8k(), monkeypatch, *given[:2], f"{given[2]}first") == 2
    assert "phases.imitate.turns=first: must be all or last" in capfd.readouterr().err
    assert train(path, gsm8k(), monkeypatch, *given[:2], f"{given[2]}last") == 0
    (report,) = tmp_path.glob("runs/*/*/report.json")
    assert f"{chats}: 12 of 13 lines are used; left out: 1" in " ".join(
        json.loads(report.read_text())["notes"]
    )


def test_warnings_of_ours_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from shuhari.envs.files.errors import LeftOut

    monkeypatch.setattr("sys.argv", ["shuhari", "--version"])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # restored after the test
    with pytest.raises(SystemExit):
        main()
    assert warnings.formatwarning("d:1: left out", LeftOut, "f.py", 3) == "shuhari: d:1: left out\n"
    assert "f.py:3: UserWarning: x" in warnings.formatwarning("x", UserWarning, "f.py", 3)
