"""Files of questions: the shapes that are read, and what is said of lines that cannot be."""

import json
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from shuhari.envs import Trace
from shuhari.envs.dataset import DataError, DatasetEnv

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
