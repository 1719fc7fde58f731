"""An agent of a campaign: its process, its ends, what it holds."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.faults.runner import Control
from tests.support import forked

END = 45.0
"""Seconds within which SIGTERM has to end it."""


class Violation(AssertionError):
    """Something is not as it should be, and does not become so."""


class Growth(NamedTuple):
    """What an agent holds: descriptors, threads, and KiB of memory."""

    fds: int
    threads: int
    rss: int


class AgentProcess:
    """`vppctl agent run` with fail points."""

    def __init__(self, folder: Path, label: str, port: int, *options: str) -> None:
        self.label, self.options = label, options
        self.log = folder / f"{label}.log"
        self.control = Control(folder / f"{label}.control")
        self.environment = {**os.environ, "ETCDCTL_ENDPOINTS": f"127.0.0.1:{port}", "MICROSERVICE_LABEL": label}
        self.http = folder / f"{label}.http"
        self.process: subprocess.Popen[bytes] | forked.Process | None = None
        self.life: tuple[str, ...] = ()
        self.lease = self.past = 0
        """The lease of the newest life sign in the store, and the one of the life before."""

    def start(self, *options: str) -> None:
        self.life, self.past = options, self.lease
        self.control.begin()
        command = [sys.executable, "-m", "tests.faults.runner", str(self.control_path), "--command-timeout", "1s"]
        command += ["agent", "run", "--http", f"unix:{self.http}", *self.options, *options]
        with self.log.open("wb") as log:
            if forked.suits(command, self.environment):
                self.process = forked.Process(command, self.environment, 0, 1, log.fileno())
            else:
                self.process = subprocess.Popen(command, env=self.environment, stderr=log)

    @property
    def control_path(self) -> Path:
        return self.log.with_suffix(".control")

    @property
    def creates(self) -> bool:
        return "--no-create-namespaces" not in self.life

    def died(self) -> str | None:
        """How it ended, when it has."""
        if self.process is None or self.process.poll() is None:
            return None
        code, self.process = self.process.returncode, None
        if code == -signal.SIGKILL and self.control.story:
            return self.control.story
        raise Violation(f"agent {self.label} ended with {code}:\n{self.tail()}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM, which has to be a good end; a countdown may come first."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            code = self.process.wait(END)
        except subprocess.TimeoutExpired:
            raise Violation(f"agent {self.label} does not stop:\n{self.tail()}\n{self.waits()}") from None
        if code and not (code == -signal.SIGKILL and self.control.story):
            raise Violation(f"agent {self.label} ended with {code}:\n{self.tail()}")
        self.process = None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`vppctl` with these arguments, for this agent's label and store."""
        command = [str(Path(sys.executable).parent / "vppctl"), *arguments]
        if forked.suits(command, self.environment):
            return forked.run(command, self.environment, "", 120)
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def metrics(self) -> dict[str, float]:
        """What it serves to Prometheus. Raises OSError while it does not answer."""
        connection = http.client.HTTPConnection("localhost", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(5)
            connection.sock.connect(str(self.http))
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from None
        finally:
            connection.close()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def waits(self) -> str:
        """What each of its threads is doing in the kernel."""
        found = [f"agent {self.label}, {self.process.pid if self.process else 'not running'}"]
        for task in Path(f"/proc/{self.process.pid}/task").iterdir() if self.process else ():
            with contextlib.suppress(OSError):
                stack = " < ".join(line.split()[-1] for line in (task / "stack").read_text().splitlines()[:4])
                found.append(f"  {(task / 'comm').read_text().strip()}: {stack}")
        return "\n".join(found)

    def complaint(self) -> str:
        """A traceback or a dead thread in its log."""
        text = self.log.read_text(errors="replace")
        return self.tail() if "Traceback" in text or "has died" in text else ""

    def growth(self) -> Growth | None:
        if self.process is None:
            return None
        with contextlib.suppress(OSError):
            folder = Path(f"/proc/{self.process.pid}")
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            fds = len(os.listdir(folder / "fd"))
            # One that has just died has no memory.
            return Growth(fds, int(status["Threads"]), int(status.get("VmRSS", "0").split()[0]))
        return None
