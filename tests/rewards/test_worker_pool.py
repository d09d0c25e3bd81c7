"""Calls that hang, crash or use too much memory end, and no process is left behind."""

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shuhari.rewards.sandbox.worker_pool import Pool, WorkerFault


def children_of(parent: int) -> set[int]:
    """The running processes whose parent is `parent` (Linux)."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.add(int(folder.name))
    return found


def _eat() -> None:
    bytearray(1 << 34)


def test_the_pool_under_fire() -> None:
    """Of many calls some hang, some allocate too much, some crash; all others return the right value."""
    before = children_of(os.getpid())
    pool = Pool(2, seconds=0.1)
    results: dict[int, object] = {}

    def work(numbers: list[int]) -> None:
        for n in numbers:
            try:
                if n % 50 == 7:
                    results[n] = pool.call(bytes, 1 << 40)
                elif n % 20 == 3:
                    results[n] = pool.call(pow, 7, 7**20)
                elif n % 40 == 11:
                    results[n] = pool.call(time.sleep, 1000)
                elif n % 60 == 13:
                    results[n] = pool.call(os._exit, 3)
                else:
                    results[n] = pool.call(int.__add__, n, 1)
            except WorkerFault as fault:
                results[n] = fault

    threads = [threading.Thread(target=work, args=(list(range(t, 160, 4)),)) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    for n, result in results.items():
        insane = n % 50 == 7 or n % 20 == 3 or n % 40 == 11 or n % 60 == 13
        assert isinstance(result, WorkerFault) if insane else result == n + 1, (n, result)
    (fork_server,) = children_of(os.getpid()) - before
    assert 0 < len(children_of(fork_server)) <= 2
    pool.close()
    assert not _alive(fork_server)


@pytest.mark.long
def test_a_thousand_checks_of_which_some_hang_or_allocate() -> None:
    pool = Pool(2)
    hung = right = ate = 0
    for n in range(1000):
        try:
            if n % 10 == 3:
                pool.call(pow, 7, 7**20)
            elif n % 50 == 7:
                pool.call(bytes, 1 << 40)
            else:
                right += pool.call(int.__add__, n, 1) == n + 1
        except WorkerFault as fault:
            hung += fault.exhausted and n % 10 == 3
            ate += fault.exhausted and n % 10 != 3
    assert (right, hung, ate) == (880, 100, 20)
    pool.close()


def test_no_orphan_is_left_when_the_caller_is_killed() -> None:
    code = (
        "import threading, time\n"
        "from shuhari.rewards.sandbox.worker_pool import Pool\n"
        "pool = Pool(1, seconds=60)\n"
        "print(pool.call(int, 1), flush=True)\n"
        "pool.call(pow, 7, 7**20)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "1\n"
    (fork_server,) = children_of(caller.pid)
    (worker,) = children_of(fork_server)
    pids = (fork_server, worker)
    time.sleep(0.2)
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)
    caller.stdout.close()


def test_a_pool_that_is_dropped_leaves_nothing_behind() -> None:
    before = children_of(os.getpid())
    pool = Pool(1)
    assert pool.call(int.__add__, 1, 1) == 2
    (fork_server,) = children_of(os.getpid()) - before
    (worker,) = children_of(fork_server)
    del pool
    gc.collect()
    assert not _alive(fork_server)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
