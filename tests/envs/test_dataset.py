"""Files of questions: the shapes that are read, and what is said of lines that cannot be."""

import json
import subprocess
import warnings
import zlib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from shuhari.envs import TaskEnv, Trace
from shuhari.envs.env_checker import check_environment
from shuhari.envs.problems.dataset import DatasetEnv
from shuhari.envs.read_jsonl import DataError

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
    lines[10:10] = ["{not json", '{"question": "x"}', "[1]", '{"question": "q", "answer": ["5"]}', ""]
    path = write(tmp_path / "broken.jsonl", lines)
    with pytest.warns(UserWarning, match="left out") as caught:
        env = DatasetEnv(path)
    said = [str(w.message) for w in caught]
    assert [m.partition(": ")[0] for m in said] == [f"{path}:{n}" for n in (11, 12, 13, 14)]
    assert "no 'answer' or 'solution'" in said[1]
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
    assert all(row["trace"] == given["solution"] for row, given in zip(read[:20], rows, strict=False))
    assert [row["trace"] for row in read[20:40]] == [f"Add.\nIt is {n}.\n#### {n}" for n in range(20)]
    assert {row["trace"] for row in read[40:60]} == {"own"}
    assert {row["trace"] for row in read[60:80]} == {"long\n#### 2"}
    assert read[80] == {"question": "t 0", "answer": "0", "trace": "work\n#### 0"}
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
    assert not {row["answer"] for row in env.rows} & {"proof", "NaN", "1/0"}


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
    questions = [row["question"] for row in env.rows]
    assert questions.count(ROWS[3]["question"]) == 1
    assert questions.count(ROWS[5]["question"]) == 2  # another way to the answer is another trace
    assert questions.count(ROWS[7]["question"]) == 2  # the same answer, written otherwise
    assert ROWS[11]["question"] not in questions
    assert len(env.rows) == 61
    assert env.notes[0].endswith(
        "61 of 65 lines are used; left out: 2 that repeat another, 2 whose question has two answers"
    )


GSM = [{"question": f"q {n}?", "answer": f"{n}+1={n + 1}\n#### {n + 1}"} for n in range(20)]
VERL = [
    {
        "data_source": "openai/gsm8k",
        "prompt": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": f"{row['question']} Think."},
        ],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": row["answer"].partition("#### ")[2]},
        "extra_info": {"split": "train", "index": n, "answer": row["answer"], "question": row["question"]},
    }
    for n, row in enumerate(GSM)
]
OPEN_R1 = [
    {
        "problem": f"p {n}",
        "solution": "short",
        "answer": str(n),
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "olympiads",
        "uuid": f"u{n}",
        "is_reasoning_complete": [True, False],
        "generations": [f"<think>hm</think>\\boxed{{{n}}}", "cut"],
        "correctness_math_verify": [True, False],
        "finish_reasons": None,
        "messages": [
            {"role": "user", "content": f"p {n}"},
            {"role": "assistant", "content": f"\\boxed{{{n}}}"},
        ],
    }
    for n in range(20)
]
CHATS = [{"messages": row["messages"]} for row in OPEN_R1]
SHARED = [
    {"conversations": [{"from": "human", "value": f"p {n}"}, {"from": "gpt", "value": f"#### {n}"}]}
    for n in range(20)
]
LISTS = [{"question": f"p {n}", "answer": [str(n)], "level": {"of": 5}} for n in range(20)]
ALPACA = [{"instruction": f"p {n}", "output": str(n)} for n in range(20)]


@pytest.mark.parametrize(
    ("rows", "found", "first"),
    [
        (VERL, "'prompt' is not a string, but a list of 2 objects", ("q 0? Think.", "1", GSM[0]["answer"])),
        (OPEN_R1, "'messages' is a list of 2 objects", ("p 0", "0", "<think>hm</think>\\boxed{0}")),
        (CHATS, "'messages' is a list of 2 objects", ("p 0", "\\boxed{0}", "\\boxed{0}")),
        (SHARED, "'conversations' is a list of 2 objects", ("p 0", "#### 0", "")),
        (LISTS, "'answer' is not a string, but a list of 1 values", ("p 0", "0", "")),
        (ALPACA, "among its columns ('instruction', 'output')", ("p 0", "0", "")),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_nested_columns_are_refused_with_a_command_that_flattens_them(
    rows: list[Any], found: str, first: tuple[str, str, str], form: str, tmp_path: Path
) -> None:
    path = tmp_path / f"it's.{form}"
    if form == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    else:
        dump(path, rows)
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as refusal:
        DatasetEnv(str(path))
    said = str(refusal.value)
    assert said.startswith(f"{path}{':1' if form == 'jsonl' else ': row 1'}: ")
    assert found in said
    subprocess.run(said.partition("convert it: ")[2], shell=True, check=True)
    env = DatasetEnv(str(path.with_suffix(".flat.jsonl")))
    assert tuple(env.rows[0].values()) == first
    assert len(env.rows) == 20


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


def test_a_small_file_has_both_sides(tmp_path: Path) -> None:
    """By the hash alone none of these would be held out, or all."""

    def crc(n: int) -> float:
        return zlib.crc32(f"q {n}".encode()) / 2**32

    for name, numbers in (
        ("train", [n for n in range(200) if crc(n) >= DatasetEnv.heldout_share][:20]),
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
