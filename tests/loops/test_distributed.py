"""Several processes: they share work, agree in all else, and end together."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from shuhari.loops.config import TrainConfig, share_of_processors
from shuhari.loops.distributed import RANKS_DIFFER, Ranks, launcher, parts
from shuhari.loops.learn.batch import Batch
from shuhari.loops.learn.objectives import OBJECTIVES
from shuhari.loops.rank_failure import Ended, RankProcesses
from shuhari.loops.run_folder import Run

SECONDS = timedelta(seconds=5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[Any]]:
    """What two ranks found, and how each ended (status, standard error)."""
    out, script = tmp_path_factory.mktemp("pair"), Path(__file__).parent / "two_ranks.py"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    given = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-P", str(script), str(out)]
    ranks = [
        subprocess.Popen(command, env=given | {"RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    ended = [(rank.communicate(timeout=120)[1], rank.returncode) for rank in ranks]
    files = [out / f"{rank}.pt" for rank in range(2)]
    assert all(file.is_file() for file in files), ended
    return [torch.load(file, weights_only=False) for file in files], ended


def test_ranks_gather_add_and_share_work(pair: Any) -> None:
    first, second = (found["talk"] for found in pair[0])
    assert first["gather"] == [0, 1]
    assert first["any"] == (True, False)
    assert first["add"] == [[[3.0, 3.0], [3.0, 3.0]], 10.0]
    assert first["each"] == [0, 2, 4, 6, 8, 10, 12]
    assert first["groups"] == [6, 6, 6, 6, 10, 10]
    assert (first["one"], first["none"]) == ([18], [])
    assert "come apart" in first["apart"]
    assert (first["calls"], second["calls"]) == ([4, 4, 1, 0], [3, 2, 0])
    assert {**first, "calls": 0} == {**second, "calls": 0}


@pytest.mark.parametrize("objective", list(OBJECTIVES))
@pytest.mark.parametrize("pairs", [1, 9])
def test_two_ranks_have_the_whole_batchs_loss_and_gradient(pair: Any, objective: str, pairs: int) -> None:
    first, second = (found["learn"][f"{objective} {pairs}"] for found in pair[0])
    figures, gradient, _ = pair[0][0]["learn alone"][f"{objective} {pairs}"]
    assert first[0] == second[0] == pytest.approx(figures, rel=1e-4)
    torch.testing.assert_close(first[1], gradient, rtol=1e-3, atol=1e-6)
    assert all(torch.equal(first[2][key], second[2][key]) for key in first[2])


def test_two_ranks_play_what_one_would(pair: Any) -> None:
    (first, second), alone = (found["play"] for found in pair[0]), pair[0][0]["play alone"]
    for name in ("groups", "one"):
        assert first[name] == second[name] == alone[name]
    assert (first["groups made"], second["groups made"]) == (6, 3)  # a problem's samples on one rank
    assert first["broken"] == second["broken"]
    assert [stop for _, stop, _, _ in first["broken"]] == ["done", "error"] * 3
    np.testing.assert_allclose(first["moves"], alone["moves"], rtol=1e-4)
    np.testing.assert_allclose(first["mass"], alone["mass"], rtol=1e-4)
    np.testing.assert_array_equal(first["moves"], second["moves"])


def test_ranks_with_different_batches_say_so(pair: Any) -> None:
    assert [found.get("different") for found in pair[0]] == [RANKS_DIFFER, RANKS_DIFFER]


def test_an_exception_of_one_rank_is_raised_on_all(pair: Any) -> None:
    for error, status in pair[1]:
        assert status == 1
        assert "ValueError: the second fell over" in error


def test_parts_keep_what_belongs_together_and_are_even() -> None:
    assert parts(range(5), 2) == [[0, 2, 4], [1, 3]]
    assert parts([7, 7, 7, 8, 9, 9], 2) == [[0, 1, 2], [3, 4, 5]]
    assert parts([7, 7, 7], 2) == [[0, 2], [1]]
    assert parts([7], 3) == [[0], [], []]


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_shares_of_a_batch_are_the_batch(ranks: int) -> None:
    rng = np.random.default_rng(0)
    prompts = [(n,) * int(rng.integers(1, 20)) for n in range(20) for _ in range(int(rng.integers(1, 4)))]
    whole = Batch(
        prompts, [(1,) * int(rng.integers(1, 9)) for _ in prompts], groups=[p[0] // 2 for p in prompts]
    )
    for whole_groups in (False, True):
        shares = [whole.share(rank, ranks, whole_groups) for rank in range(ranks)]
        assert [row for share in shares for row in share.pairs] == whole.pairs
        owners = [
            {group if whole_groups else prompt for group, prompt in zip(s.groups, s.prompts, strict=True)}
            for s in shares
        ]
        assert sum(map(len, owners)) == len(set.union(*owners))
        tokens = [sum(map(len, s.prompts)) + s.tokens for s in shares]
        assert ranks > 3 or max(tokens) < 1.5 * min(tokens)


def test_a_killed_fellow_is_noticed_and_what_one_tells_all_hear() -> None:
    store = dist.HashStore()
    child = subprocess.Popen(["sleep", "60"])
    store.set("rank 1", f'["{socket.gethostname()}", {child.pid}]')
    processes = RankProcesses(0, 2, store, SECONDS)
    processes.check()
    child.send_signal(signal.SIGKILL)
    time.sleep(0.2)  # a zombie until somebody asks for its status, as torchrun does
    with pytest.raises(Ended, match="rank 1 was lost"):
        processes.check()
    child.wait()
    with pytest.raises(Ended, match="rank 1 was lost"):
        processes.check()
    processes.tell(Ended("refused", "too few"))
    processes.tell(Ended("stopped", "too late"))
    with pytest.raises(Ended, match="too few") as told:
        processes.check()
    assert repr(told.value.exception()) == repr(ValueError("too few"))


def test_a_signal_asks_ranks_to_stop_once_and_a_lost_rank_ends_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = dist.HashStore()
    store.set("rank 1", f'["{socket.gethostname()}", {os.getpid()}]')
    processes = RankProcesses(0, 2, store, SECONDS)
    with Run(tmp_path, TrainConfig(), Ranks(0, 2, processes)):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun sends its own after the terminal's
        assert capsys.readouterr().err.count("stopping after the current step") == 1
        processes.tell(Ended("refused", "too few"))
        with pytest.raises(Ended, match="too few"):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_goes_on_with_as_many_ranks_as_began_it(tmp_path: Path) -> None:
    cfg = TrainConfig()
    for began, resumed, command in ((2, 1, "torchrun --nproc-per-node 2 -m shuhari"), (1, 2, "shuhari")):
        Run(tmp_path, cfg, Ranks(0, began)).save({})
        Run(tmp_path, cfg, Ranks(0, began)).load()
        with pytest.raises(ValueError, match=re.escape(f"go on with: {command} train resume={tmp_path}")):
            Run(tmp_path, cfg, Ranks(0, resumed)).load()
    Run(tmp_path, cfg, Ranks(1, 2)).save({"adapter": 1})  # of another rank's nothing is written
    assert "adapter" not in Run(tmp_path, cfg).load()


def test_what_no_resume_could_read_is_refused_when_it_is_written(tmp_path: Path) -> None:
    run = Run(tmp_path, TrainConfig())
    run.save({"ratings": [1.5], "adapter": torch.ones(3)})
    with pytest.raises(TypeError, match=r"checkpoint\.partial: no resume could read this"):
        run.save({"ratings": [np.float64(1.5)]})
    assert run.load()["ratings"] == [1.5]


def test_processes_of_one_machine_share_its_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shuhari.loops.config.processors", lambda: 5)
    for ranks, threads in ((1, 5), (2, 2), (8, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        assert share_of_processors() == threads
    assert launcher(16) == "torchrun --nnodes 2 --nproc-per-node 8 -m shuhari"


TINY = (
    "experiment=addition evaluate_problems=20 evaluate_samples=4 phases.imitate.examples=400 "
    "phases.imitate.steps=20 "
    "phases.selfplay.rounds=4 phases.selfplay.problems=8 phases.selfplay.updates=[2,2] "
    "only=[imitate,selfplay]"
)


def folder(out: Path) -> Path:
    (found,) = (path for path in out.glob("*/*") if path.is_dir())
    return found


def start(*overrides: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "shuhari", "train", *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]") -> None:
    """Wait until it has ended well."""
    printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed


def workers(torchrun: int) -> Iterator[tuple[int, int]]:
    """Rank and process of each."""
    for process in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split():
        found = re.search(rb"\0RANK=(\d)", Path(f"/proc/{process}/environ").read_bytes())
        if found:
            yield int(found.group(1)), int(process)


@pytest.mark.long
@pytest.mark.parametrize(("number", "rank"), [(signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGINT, 1)])
def test_a_run_that_lost_a_rank_goes_on_as_if_it_had_not(
    number: signal.Signals, rank: int, tmp_path: Path
) -> None:
    end(start(*TINY.split(), f"out={tmp_path}/whole"))
    broken = start(*TINY.split(), f"out={tmp_path}/parts")
    while not list(tmp_path.glob("parts/*/*/adapter-imitation")):  # then phase 2 is under way
        time.sleep(0.05)
    began = time.monotonic()
    os.kill(dict(workers(broken.pid))[rank], number)
    _, error = broken.communicate(timeout=60)
    assert broken.returncode
    assert time.monotonic() - began < 20
    line = rf"shuhari: .*; go on with: torchrun --nproc-per-node 2 -m shuhari train resume={tmp_path}"
    assert len(re.findall(line, error)) == 1, error
    end(start(f"resume={folder(tmp_path / 'parts')}"))
    for name in ("adapter-imitation", "adapter-selfplay"):
        one, two = (
            load_file(folder(tmp_path / out) / name / "adapter_model.safetensors")
            for out in ("whole", "parts")
        )
        assert all(torch.equal(one[key], two[key]) for key in one)
