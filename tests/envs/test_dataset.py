"""Files of questions: the shapes that are read, and what is said of lines that cannot be."""

import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from data_sets import COLUMNS, GSM, VERL, chat

from shuhari.envs import TaskEnv, Trace
from shuhari.envs.env_checker import check_environment
from shuhari.envs.files.errors import DataError
from shuhari.envs.files.question_record import Question
from shuhari.envs.problems.dataset import DatasetEnv
from shuhari.envs.problems.heldout import HeldOutProblems

ROWS = [{"question": f"What is {n}+1?", "answer": str(n + 1)} for n in range(60)]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_shapes_of_known_data_sets(tmp_path: Path) -> None:
    gsm = [{"question": f"q {n}?", "answer": f"{n}+1={n + 1}\n#### {n + 1:,}"} for n in range(2000, 2040)]
    math = [{"problem": f"p {n}?", "solution": f"It is $\\boxed{{\\frac{{{n}}}{{7}}}}$."} for n in range(40)]
    own = [{"prompt": f"o {n}?", "gold": n, "trace": f"think\n#### {n}"} for n in range(40)]
    env = DatasetEnv(write(tmp_path / "d.jsonl", [json.dumps(row) for row in gsm + math + own]))
    assert len(env.rows) == 120
    for seed in range(30):
        env.reset(seed=seed)
        assert env.step(env.solution(env.task))[1] == 1.0
        assert env.step("#### 123456789")[1] == 0.0
    trace = env.expert_traces(1, np.random.default_rng(0))[0]
    assert isinstance(trace, Trace)


def test_broken_lines_are_named_and_left_out(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in ROWS]
    lines[10:10] = ["{not json", '{"question": "x"}', "[1]", '{"question": "q", "answer": ["5", "6"]}', ""]
    path = write(tmp_path / "broken.jsonl", lines)
    with pytest.warns(UserWarning, match="left out") as caught:
        env = DatasetEnv(path)
    said = [str(w.message) for w in caught]
    assert [m.partition(": ")[0] for m in said] == [f"{path}:{n}" for n in (11, 12, 13, 14)]
    assert "no 'answer' or 'gold' or 'solution'" in said[1]
    assert len(env.rows) == 60
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert gymnasium.make("shuhari/Dataset-v0", path=path).reset(seed=0)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        DatasetEnv(str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="no line of it"):
        DatasetEnv(write(tmp_path / "empty.jsonl", [""]))
    with pytest.raises(DataError, match="too few"):
        DatasetEnv(write(tmp_path / "one.jsonl", [json.dumps(ROWS[0])]))


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "d.parquet"
    parquet.write_table(arrow.Table.from_pylist(ROWS), path, row_group_size=7)
    env = DatasetEnv(str(path))
    assert len(env.rows) == 60
    env.reset(seed=0)
    assert env.step(env.solution(env.task))[1] == 1.0
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        DatasetEnv(str(tmp_path / "bad.parquet"))


def dump(path: Path, rows: list[Any]) -> str:
    return write(path, [json.dumps(row) for row in rows])


def test_a_solution_is_the_trace(tmp_path: Path) -> None:
    """Also beside a worked answer, and with the answer behind it where it has no mark of its own."""
    rows = [
        {"problem": f"p {n}", "solution": f"So it is $\\boxed{{{n}}}$.", "answer": str(n)} for n in range(20)
    ]
    rows += [{"problem": f"q {n}", "solution": f"Add.\nIt is {n}.", "answer": str(n)} for n in range(20)]
    rows += [{"problem": f"r {n}", "solution": "s", "answer": "w\n#### 1", "trace": "own"} for n in range(20)]
    rows += [{"problem": f"s {n}", "solution": "long\n#### 2", "answer": "\\boxed{2}"} for n in range(20)]
    rows += [{"problem": f"t {n}", "solution": "work", "gold": n} for n in range(20)]
    env = DatasetEnv(dump(tmp_path / "d.jsonl", rows))
    read = [env.rows[i] for i in range(len(env.rows))]
    assert len(read) == 100
    assert all(row.traces == (given["solution"],) for row, given in zip(read[:20], rows, strict=False))
    assert [row.traces for row in read[20:40]] == [(f"Add.\nIt is {n}.\n#### {n}",) for n in range(20)]
    assert {row.traces for row in read[40:60]} == {("own",)}
    assert {row.traces for row in read[60:80]} == {("long\n#### 2",)}
    assert read[80][:4] == Question("t 0", "0", ("work\n#### 0",))[:4]
    assert len(env.expert_traces(50, np.random.default_rng(0))) == 50


def test_answers_that_cannot_be_read_are_named_counted_and_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in ROWS]
    for i, bad in (
        (4, "\\boxed{}"),
        (9, "\\frac{1}{"),
        (14, "NaN"),
        (19, "1/0"),
        (24, "proof"),
        (29, "notfound"),
    ):
        rows[i]["answer"] = bad
    rows[34]["answer"] = float("nan")
    path = dump(tmp_path / "d.jsonl", rows)
    with pytest.warns(UserWarning, match="left out") as caught:
        env = DatasetEnv(path)
    said = [str(w.message) for w in caught]
    for message, line in zip(said, (5, 10, 15, 20, 25), strict=False):
        assert message.startswith(f"{path}:{line}: left out: ")
    assert "\\frac{1}{" in said[1]
    assert said[-1].startswith(
        f"{path}: 53 of 60 lines are used; left out: 7 with an answer that cannot be read"
    )
    assert env.notes == (said[-1],)
    assert len(env.rows) == 53
    assert not {row.answer for row in env.rows} & {"proof", "NaN", "1/0"}


def test_a_file_without_an_answer_that_can_be_read_is_refused(tmp_path: Path) -> None:
    path = dump(tmp_path / "d.jsonl", [{"question": f"q {n}", "answer": f"{n}/0"} for n in range(20)])
    with pytest.raises(
        DataError, match=r":1: the verifier cannot read its answer '0/0' \(.*no line of it can be used"
    ):
        DatasetEnv(path)


def test_repetitions_are_named_and_contradictions_leave_nothing(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[3], ROWS[5] | {"trace": "another way\n#### 6"}, ROWS[7] | {"answer": "16/2"}]
    rows += [ROWS[11] | {"answer": "13"}, ROWS[11]]
    path = dump(tmp_path / "d.jsonl", rows)
    with pytest.warns(UserWarning, match="left out") as caught:
        env = DatasetEnv(path)
    said = [str(w.message) for w in caught]
    assert f"{path}:61: left out: the same as :4" in said[0]
    assert f"{path}:64: left out: one question has two answers, '12' in :12, and here '13'" in said[1]
    questions = [row.question for row in env.rows]
    assert questions.count(ROWS[3]["question"]) == 1
    assert questions.count(ROWS[5]["question"]) == 2  # another way to the answer is another trace
    assert questions.count(ROWS[7]["question"]) == 2  # the same answer, written otherwise
    assert ROWS[11]["question"] not in questions
    assert len(env.rows) == 61
    assert env.notes[0].endswith(
        "61 of 65 lines are used; left out: 2 that repeat another, 2 whose question has two answers"
    )


def test_own_instructions_reach_the_policy(tmp_path: Path) -> None:
    rows = [
        {"messages": chat(f"{n}+1?", f"#### {n + 1}", system="Be brief." if n % 2 else "")} for n in range(60)
    ]
    env = DatasetEnv(dump(tmp_path / "d.jsonl", rows))
    for seed in range(9):
        prompt, info = env.reset(seed=seed)
        assert info.get("instructions") == ("Be brief." if int(prompt.partition("+")[0]) % 2 else None)
    for trace in env.expert_traces(9, np.random.default_rng(0)):
        assert trace.instructions == ("Be brief." if int(trace.prompt.partition("+")[0]) % 2 else None)
        assert trace.prompt.endswith("+1?\n")


def test_traces_of_held_out_questions_are_withheld_whatever_their_line_ends(tmp_path: Path) -> None:
    env = DatasetEnv(dump(tmp_path / "d.jsonl", ROWS))
    heldout = HeldOutProblems(env, 5)
    question = env.reset(seed=heldout.seeds[0], options={"split": "heldout"})[1]["key"]
    assert all(heldout.withholds(prompt) for prompt in (question, f"{question}\n", f" {question}\n\n"))
    assert not heldout.withholds(env.reset(seed=0)[0])


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_columns_name_where_things_lie(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"d.{form}"
    if form == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(VERL), path)
    else:
        dump(path, VERL)
    place = ":1" if form == "jsonl" else ": row 1"
    with pytest.raises(DataError) as refused:
        DatasetEnv(str(path))
    said = str(refused.value)
    assert said.startswith(
        f"{path}{place}: no 'answer' or 'gold' or 'solution' among its columns ('data_source', "
    )
    assert said.endswith(
        "; give 'env_args.columns={answer: reward_model.ground_truth, trace: extra_info.answer}'"
    )
    text = "{question: extra_info.question, answer:reward_model.ground_truth,trace: extra_info.answer}"
    for columns in (COLUMNS, text, text[1:-1]):
        env = DatasetEnv(str(path), columns=columns)
        assert env.rows[4][:4] == Question("q 4?", "5", (GSM[4]["answer"],))[:4]
    for wrong, message in (
        (
            {"answer": "reward_model.groundtruth"},
            "mean 'reward_model.ground_truth'? (its columns: data_source, ",
        ),
        (
            COLUMNS | {"trace": "extra_info.anwser"},
            "{trace: extra_info.anwser}: there is no column 'extra_info.anwser'; did you mean 'extra_info.",
        ),
        (
            COLUMNS | {"instructions": "extra_info.index.x"},
            "columns={instructions: extra_info.index.x}: there is no column",
        ),
        ({"answers": "x"}, "columns={answers: ...}: did you mean 'answer'?"),
        ({"zzz": "x"}, "a name is question, answer, trace, instructions"),
        ({"answer": ["x"]}, "a column is a name, or a path such as extra.answer"),
        ("answer", "columns=answer: must be {NAME: COLUMN, ...}"),
        (["answer"], "must be {NAME: COLUMN, ...}"),
    ):
        with pytest.raises(DataError, match=r"\A[^\n]+\Z") as refused:
            DatasetEnv(str(path), columns=wrong)  # type: ignore[arg-type]
        assert message in str(refused.value)


def test_an_expert_writes_each_of_several_answers(tmp_path: Path) -> None:
    rows = [
        {"problem": f"p {n}", "answer": n, "generations": [f"a\n#### {n}", f"b\n#### {n}"]} for n in range(20)
    ]
    traces = DatasetEnv(dump(tmp_path / "d.jsonl", rows)).expert_traces(30, np.random.default_rng(0))
    assert {trace.completion[0] for trace in traces} == {"a", "b"}


def test_the_check_passes_answers_in_dollars(tmp_path: Path) -> None:
    """The answer's own text is not a part of such a gold, and the self-test changed the wrong place."""
    rows = [row | {"answer": row["answer"].replace("#### ", "#### $")} for row in GSM]
    found = check_environment("shuhari/Dataset-v0", {"path": dump(tmp_path / "d.jsonl", rows)})
    assert [f"{f.name}: {f.detail}" for f in found if not f.ok] == []
    assert [f.detail for f in found if f.name == "the expert's traces"] == ["20 of 20 earn full reward"]


def test_a_file_is_read_once_and_a_changed_one_anew(tmp_path: Path) -> None:
    path = dump(tmp_path / "d.jsonl", ROWS)
    first = DatasetEnv(path)
    assert DatasetEnv(path).rows is first.rows
    dump(tmp_path / "d.jsonl", ROWS[:40])
    assert len(DatasetEnv(path).rows) == 40


SHARES = DatasetEnv.heldout_share + DatasetEnv.validation_share


def test_a_small_file_has_both_sides(tmp_path: Path) -> None:
    """By the hash alone none of these would be held out, or all."""

    def crc(n: int) -> float:
        return zlib.crc32(f"q {n}".encode()) / 2**32

    for name, numbers in (
        ("train", [n for n in range(200) if crc(n) >= SHARES][:20]),
        ("heldout", [n for n in range(200) if crc(n) < DatasetEnv.heldout_share][:20]),
    ):
        rows = [{"question": f"q {n}", "answer": str(n)} for n in numbers]
        env = DatasetEnv(dump(tmp_path / f"{name}.jsonl", rows))
        assert {TaskEnv.split_of.__func__(DatasetEnv, row["question"]) for row in rows} == {name}  # type: ignore[attr-defined]
        drawn = {
            side: {env.reset(seed=s, options={"split": side})[1]["key"] for s in range(300)}
            for side in ("train", "heldout")
        }
        assert sorted(map(len, drawn.values())) == [1, 19]
        assert not drawn["train"] & drawn["heldout"]
        assert len(drawn[name]) == 19
