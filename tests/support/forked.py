"""Runs `vppctl` in a process forked from one that has imported it already, which takes a quarter of the time.

Importing is most of what a short command does, and the tests run thousands of them. Such a process has descriptors,
environment, folder and network namespace of its own, as one started from a shell has, and ends as the program does.
What it has in common with all others is that every module is loaded. Agents, and commands that a test starts itself,
are started anew; `VPPCTL_TEST_FORKED=no` has everything started anew.
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
"""Where the server is: a namespace that outlives all tests. It would keep that of the test which happens to start it."""
AT_START = ("PYTHON", "LD_", "LC_", "LANG")
"""Variables that count only when an interpreter starts."""
PROGRAMS = ("vppctl", "vpp-agent-ctl")
_NUMBER = struct.Struct("i")
_libc = ctypes.CDLL(None, use_errno=True)


def suits(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether this command needs nothing that only a new process has."""
    if os.environ.get("VPPCTL_TEST_FORKED") == "no":
        return False
    where, name = os.path.split(command[0])
    at_start = [{k: v for k, v in found.items() if k.startswith(AT_START)} for found in (environment, os.environ)]
    return name in PROGRAMS and where == os.path.dirname(sys.executable) and at_start[0] == at_start[1]


def run(
    command: Sequence[str], environment: Mapping[str, str], stdin: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run to the end, as `subprocess.run` does with `capture_output` and `text`. Raises TimeoutExpired."""
    asked = json.dumps({"command": list(command), "environment": dict(environment), "folder": os.getcwd()})
    with contextlib.ExitStack() as stack:
        request, theirs, out, err = (_file(stack, text) for text in (asked, stdin, "", ""))
        network = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        stack.callback(os.close, network)
        answer, end = socket.socketpair()
        stack.enter_context(answer)
        with end, _lock:
            socket.send_fds(_server(), [b"\0"], [request, theirs, out, err, network, end.fileno()])
        answer.settimeout(timeout)
        pid = _NUMBER.unpack(answer.recv(_NUMBER.size))[0]
        try:
            code = _NUMBER.unpack(answer.recv(_NUMBER.size))[0]
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout, _text(out), _text(err)) from None
        return subprocess.CompletedProcess(command, code, _text(out), _text(err))


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
    for name in ("rich.console", "rich.table", "jsonschema", "yaml", "sqlite3", "google.protobuf.json_format"):
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
    sys.argv = _serve(requests)
    from vppctl.cli.main import main

    main()


if __name__ == "__main__":
    _main()
