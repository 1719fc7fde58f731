"""Runs `vppctl` in a process forked from one that has imported it already: a short command takes an eighth of the time.

Importing is most of what it does, and the tests run thousands of them. Such a process has descriptors, environment,
folder and network namespace of its own, as one started from a shell has, and ends as the program does. What it has in
common with all others is that every module is loaded, and its command line in /proc, which is the server's. What a test
starts by another command (`before`, `subprocess`) is started anew, and with `VPPCTL_TEST_FORKED=no` everything is.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import vppctl

CLONE_NEWNET = 0x40000000
HOME = "/proc/1/ns/net"
"""Where the server is: a namespace that outlives all tests, not that of the test which happens to start it."""
AT_START = ("PYTHON", "LD_", "LC_", "LANG")
"""Variables that count only when an interpreter starts."""
PROGRAMS = ("vppctl", "vpp-agent-ctl")
RUNNER = "tests.faults.runner"
"""The agent with fail points, which `python -m` runs."""
_NUMBER = struct.Struct("i")
_libc = ctypes.CDLL(None, use_errno=True)


def suits(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether this command needs nothing that only a new process has."""
    if os.environ.get("VPPCTL_TEST_FORKED") == "no":
        return False
    at_start = [{k: v for k, v in found.items() if k.startswith(AT_START)} for found in (environment, os.environ)]
    where, name = os.path.split(command[0])
    installed = where == os.path.dirname(sys.executable) and name in PROGRAMS
    return (installed or list(command[:3]) == [sys.executable, "-m", RUNNER]) and at_start[0] == at_start[1]


class Process:
    """A command at work, as `subprocess.Popen` has one; which descriptors it gets is the caller's to say."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], stdin: int, out: int, err: int) -> None:
        self.args = list(command)
        self.returncode: int | None = None
        asked = json.dumps({"command": self.args, "environment": dict(environment), "folder": os.getcwd()})
        self._answer, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            network = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            stack.callback(os.close, network)
            request = _file(stack, asked)
            with _lock:
                socket.send_fds(_server(), [b"\0"], [request, stdin, out, err, network, theirs.fileno()])
        self.pid = self._number()

    def _number(self) -> int:
        data = self._answer.recv(_NUMBER.size)
        assert data, "the server of forked processes has ended"
        number: int = _NUMBER.unpack(data)[0]
        return number

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended. Raises TimeoutExpired."""
        if self.returncode is None:
            self._answer.settimeout(timeout)
            try:
                self.returncode = self._number()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            self._answer.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, or None while it is at work."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    command: Sequence[str], environment: Mapping[str, str], stdin: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run to the end, as `subprocess.run` does with `capture_output` and `text`. Raises TimeoutExpired."""
    with contextlib.ExitStack() as stack:
        theirs, out, err = (_file(stack, text) for text in (stdin, "", ""))
        process = Process(command, environment, theirs, out, err)
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(process.args, code, _text(out), _text(err))


def _file(stack: contextlib.ExitStack, text: str) -> int:
    fd = os.memfd_create("vppctl-test")
    stack.callback(os.close, fd)
    os.write(fd, text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _text(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode().replace("\r\n", "\n")


_lock = threading.Lock()
_socket: socket.socket | None = None


def _server() -> socket.socket:
    """Our end of the connection to the server, which is started when it is first needed."""
    global _socket
    if _socket is None:
        _socket, theirs = socket.socketpair()
        with theirs:
            # Text streams get the buffering and the encoding that pipes have.
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(_end, process, _socket)
    return _socket


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    process.communicate()


# In the server


def _load() -> None:
    """Import all that a command may need, and keep the collector from copying it into each process."""
    for module in pkgutil.walk_packages(vppctl.__path__, "vppctl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in (RUNNER, "docker", "jsonschema", "prometheus_client", "rich.console", "rich.progress", "yaml"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _serve(requests: socket.socket) -> list[str]:
    """Return in each process that is forked for a request, with its command line; the server itself ends here."""
    answers: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not requests:
                    pid, answer = answers.pop(key.fd)
                    ready.unregister(key.fd)
                    os.close(key.fd)
                    _answer(answer, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    answer.close()
                    continue
                data, fds, _, _ = socket.recv_fds(requests, 1, 6)
                if not data:
                    os._exit(0)
                pid = os.fork()
                if pid == 0:
                    ready.close()
                    requests.close()
                    for fd, (_, answer) in answers.items():
                        os.close(fd)
                        answer.close()
                    return _become(*fds)
                answer = socket.socket(fileno=fds.pop())
                for fd in fds:
                    os.close(fd)
                _answer(answer, pid)
                watched = os.pidfd_open(pid)
                answers[watched] = pid, answer
                ready.register(watched, selectors.EVENT_READ)


def _answer(connection: socket.socket, number: int) -> None:
    # Nobody may be waiting any more.
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(_NUMBER.pack(number))


def _become(request: int, stdin: int, out: int, err: int, network: int, answer: int) -> list[str]:
    """Take the place that the request describes."""
    asked = json.loads(os.pread(request, os.fstat(request).st_size, 0))
    if os.fstat(network).st_ino != os.stat("/proc/self/ns/net").st_ino and _libc.setns(network, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    for number, fd in enumerate((stdin, out, err)):
        os.dup2(fd, number)
    for fd in (request, stdin, out, err, network, answer):
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    command: list[str] = asked["command"]
    return command


def _main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    # Without a home there are no namespaces either: a test that is not root's has none of its own.
    with contextlib.suppress(PermissionError), open(HOME) as home:
        _libc.setns(home.fileno(), CLONE_NEWNET)
    _load()
    command = _serve(requests)
    if command[1:3] == ["-m", RUNNER]:
        sys.argv = command[2:]
        importlib.import_module(RUNNER).main()
    else:
        sys.argv = command
        importlib.import_module("vppctl.cli.main").main()


if __name__ == "__main__":
    _main()
