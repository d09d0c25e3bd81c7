"""The processes behind the worker pool: a fork server, and the workers that it forks."""

import os
import pickle
import resource
import signal
import socket
import sys
from contextlib import suppress

from shuhari.rewards.sandbox.worker_pool import receive, send


def serve_forks() -> None:
    """Fork and kill workers on request, until the other end of the inherited socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    memory = int(sys.argv[2]) << 20
    import sympy  # noqa: F401 (imported once, for all workers)

    workers: set[int] = set()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 4, 1)
        if not request:
            break
        if request == b"kill":
            pid = int(receive(control) or b"0")
            if pid in workers:
                _end(pid)
                workers.discard(pid)
            send(control, b"done")
            continue
        _reap(workers)
        pid = os.fork()
        if pid == 0:
            control.close()
            _work(socket.socket(fileno=descriptors[0]), memory)
            os._exit(0)
        os.close(descriptors[0])
        workers.add(pid)
        send(control, str(pid).encode())
    for pid in workers:
        _end(pid)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _reap(workers: set[int]) -> None:
    """Remove workers that have ended."""
    for pid in list(workers):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            workers.discard(pid)


def _virtual_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30


def _work(sock: socket.socket, memory: int) -> None:
    """Answer calls until the caller closes its socket.

    A timer limits the processor time of a call: its signal kills this process.
    """
    limit = _virtual_bytes() + memory
    with suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while (message := receive(sock)) is not None:
        reply: tuple[str, object]
        try:
            function, args, seconds = pickle.loads(message)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            reply = ("ok", function(*args))
            payload = pickle.dumps(reply)
        except MemoryError:
            payload = pickle.dumps(("memory", ""))
        except Exception as error:
            payload = pickle.dumps((type(error).__name__, str(error)[:200]))
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(sock, payload)
