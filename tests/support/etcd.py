"""A real etcd for tests and measurements: on free loopback ports, with its data in a folder of the caller's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.support.netns import wait_until

PROGRAM = os.environ.get("VPPCTL_TEST_ETCD", "etcd")
"""Which etcd: by default that of the distribution."""
QUICK = ("--heartbeat-interval=20", "--election-timeout=100")
"""An election, which each start has, takes a tenth of a second instead of one."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Etcd:
    """One member; started by `with`, stopped at its end. Clients reach it at `host`, which must be an address here."""

    def __init__(self, folder: Path, *options: str, scheme: str = "http", host: str = "127.0.0.1") -> None:
        self.folder, self.options, self.scheme, self.host = folder, options, scheme, host
        self.port, self.peer_port = free_port(), free_port()
        self.endpoint = f"{host}:{self.port}"
        self.url = f"{scheme}://{self.endpoint}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.launch()
        self.wait()

    def launch(self) -> None:
        log = (self.folder / "etcd.log").open("ab")
        self.process = subprocess.Popen(
            [
                PROGRAM,
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={self.url}",
                f"--advertise-client-urls={self.url}",
                f"--listen-peer-urls=http://127.0.0.1:{self.peer_port}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{self.peer_port}",
                f"--initial-cluster=default=http://127.0.0.1:{self.peer_port}",
                *QUICK,
                *self.options,
            ],
            stdout=log,
            stderr=log,
        )
        log.close()

    def wait(self) -> None:
        wait_until(self._listens, "etcd to listen", 20)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "etcd.log").read_text()[-2000:]
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
            return b"ready to serve client requests" in (self.folder / "etcd.log").read_bytes()
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send it; one that stops or ends the server has done so at return: until then it may answer a request."""
        assert self.process is not None
        os.kill(self.process.pid, number)
        if number in (signal.SIGSTOP, signal.SIGKILL):
            wait_until(self._is_still, "the signal to be taken")

    def _is_still(self) -> bool:
        """Whether every thread is stopped or has ended (field 3 of proc(5)'s stat)."""
        assert self.process is not None
        try:
            stats = [task.read_text() for task in Path(f"/proc/{self.process.pid}/task").glob("*/stat")]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return all(stat.rpartition(")")[2].split()[0] in "TZX" for stat in stats)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            (self.folder / "etcd.log").write_bytes(b"")

    def ctl(self, *arguments: str, stdin: str = "") -> str:
        """Run etcdctl against this member."""
        environment = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": self.url}
        result = subprocess.run(
            ["etcdctl", *arguments], env=environment, capture_output=True, text=True, input=stdin, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout
