"""A pool of processes for calls that may hang, crash or use too much memory.

A fork server imports sympy once and forks a worker on request, in milliseconds. Workers are kept and reused.
A worker limits its own memory, and it is killed and replaced when its processor time is spent. The caller
gets no signal, so any thread or event loop may call. If the caller dies, the fork server finds its socket
closed, kills its workers and ends.
"""

import os
import pickle
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from shuhari.rewards.math.node import TooLarge, Undefined, Unparsable

SECONDS = 0.4  # of processor time for a call
MEMORY_MB = 96  # in addition to the memory of a new worker
WALL_FACTOR = 8  # wall time of a call, as a multiple of its processor time: the machine may be busy
POLL_SECONDS = 0.25  # how often a waiting caller looks at its worker's processor time
_HEADER = struct.Struct("!I")


class WorkerFault(RuntimeError):
    """A call did not return. `exhausted`: it exceeded its own limits; otherwise the pool failed."""

    def __init__(self, message: str, *, exhausted: bool) -> None:
        super().__init__(message)
        self.exhausted = exhausted


def send(sock: socket.socket, payload: bytes) -> None:
    """Send one message, with its length first."""
    sock.sendall(_HEADER.pack(len(payload)) + payload)


def receive(sock: socket.socket, deadline: float | None = None) -> bytes | None:
    """The next message, or None if the other side has closed. Raises TimeoutError at the deadline."""

    def exactly(n: int) -> bytes | None:
        data = b""
        while len(data) < n:
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                sock.settimeout(left)
            piece = sock.recv(n - len(data))
            if not piece:
                return None
            data += piece
        return data

    header = exactly(_HEADER.size)
    if header is None:
        return None
    (length,) = _HEADER.unpack(header)
    return exactly(length)


def _cpu_seconds(pid: int) -> float | None:
    """Processor time that a process has used, or None if the system does not tell (only Linux does)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


class _Worker:
    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid, self.sock = pid, sock


class _Processes:
    """The processes of a pool, which end with the pool or with this process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.idle: list[_Worker] = []
        self.fork_server: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None

    def close(self) -> None:
        if os.getpid() != self.owner:
            return  # this is a copy in a forked child: the processes belong to its parent
        for worker in self.idle:
            worker.sock.close()
        self.idle.clear()
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.fork_server is not None:
            try:
                self.fork_server.wait(5)
            except subprocess.TimeoutExpired:
                self.fork_server.kill()
                self.fork_server.wait()
            self.fork_server = None


class Pool:
    """At most `size` workers. Thread-safe. A forked child of the caller starts processes of its own."""

    def __init__(self, size: int = 2, *, seconds: float = SECONDS, memory_mb: int = MEMORY_MB) -> None:
        self.size, self.seconds, self.memory_mb = size, seconds, memory_mb
        self._fresh()

    def _fresh(self) -> None:
        self._processes = _Processes()
        self._finalizer = weakref.finalize(self, self._processes.close)
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(self.size)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)` in a worker, which imports the function by its name.

        Raises WorkerFault, or the function's own Undefined, TooLarge or Unparsable.
        """
        if os.getpid() != self._processes.owner:
            self._fresh()
        with self._slots:
            worker = self._take()
            try:
                reply = self._ask(worker, pickle.dumps((function, args, self.seconds)))
            except BaseException:
                self._kill(worker)
                raise
            with self._lock:
                self._processes.idle.append(worker)
        status, value = reply
        if status == "ok":
            return value
        if status == "memory":
            raise WorkerFault("out of memory", exhausted=True)
        known = {"Undefined": Undefined, "TooLarge": TooLarge, "Unparsable": Unparsable}
        if status in known:
            raise known[status](value)
        raise WorkerFault(f"{status}: {value}", exhausted=False)

    def _ask(self, worker: _Worker, message: bytes) -> Any:
        try:
            send(worker.sock, message)
            reply = self._wait(worker)
        except (OSError, EOFError) as error:
            raise WorkerFault(f"a worker was lost: {error}", exhausted=False) from None
        if reply is None:
            raise WorkerFault("a worker died at its limit of processor time or memory", exhausted=True)
        return pickle.loads(reply)

    def _wait(self, worker: _Worker) -> bytes | None:
        """The reply. Raises WorkerFault if the worker sleeps, or takes too long."""
        start = time.monotonic()
        used = _cpu_seconds(worker.pid)
        checked = start
        with selectors.DefaultSelector() as selector:
            selector.register(worker.sock, selectors.EVENT_READ)
            while not selector.select(POLL_SECONDS):
                now = time.monotonic()
                if now - start > self.seconds * WALL_FACTOR:
                    raise WorkerFault(f"no reply in {now - start:.1f} s", exhausted=False)
                if now - checked >= self.seconds:
                    usage = _cpu_seconds(worker.pid)
                    if used is not None and usage == used:
                        raise WorkerFault("a worker sleeps", exhausted=True)
                    used, checked = usage, now
        return receive(worker.sock, time.monotonic() + 5)

    def _take(self) -> _Worker:
        with self._lock:
            while self._processes.idle:
                worker = self._processes.idle.pop()
                if not _closed(worker.sock):
                    return worker
                self._release(worker)
            return self._spawn()

    def _spawn(self) -> _Worker:
        if (
            self._processes.fork_server is None
            or self._processes.fork_server.poll() is not None
            or self._processes.control is None
        ):
            self._start()
        assert self._processes.control is not None
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._processes.control, [b"fork"], [theirs.fileno()])
            reply = receive(self._processes.control, time.monotonic() + 30)
        except OSError as error:
            ours.close()
            raise WorkerFault(f"the fork server was lost: {error}", exhausted=False) from None
        finally:
            theirs.close()
        if reply is None:
            ours.close()
            raise WorkerFault("the fork server was lost", exhausted=False)
        return _Worker(int(reply), ours)

    def _start(self) -> None:
        if self._processes.control is not None:
            self._processes.control.close()
        ours, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-c",
            "from shuhari.rewards.sandbox.worker import serve_forks; serve_forks()",
        ]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        arguments = [str(theirs.fileno()), str(self.memory_mb)]
        self._processes.fork_server = subprocess.Popen(
            command + arguments,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the caller only
        )
        theirs.close()
        self._processes.control = ours

    def _release(self, worker: _Worker) -> None:
        worker.sock.close()

    def _kill(self, worker: _Worker) -> None:
        """Let the fork server kill the worker: only a parent knows that its child's id is not reused."""
        worker.sock.close()
        with self._lock:
            if self._processes.control is not None:
                try:
                    self._processes.control.sendall(b"kill")
                    send(self._processes.control, str(worker.pid).encode())
                    receive(self._processes.control, time.monotonic() + 5)
                except OSError:
                    pass  # without a fork server, the worker's own limit of processor time ends it

    def close(self) -> None:
        """End the fork server and every worker."""
        with self._lock:
            self._processes.close()


def _closed(sock: socket.socket) -> bool:
    """Whether the other side has closed. No message is read."""
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.setblocking(True)


_default: Pool | None = None
_default_lock = threading.Lock()


def default_pool() -> Pool:
    """The pool that the verifier uses. Its processes start with the first call."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Pool()
        return _default
