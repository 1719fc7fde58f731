"""The agent and the command line as processes, as an operator has them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.support import forked
from tests.support.netns import wait_until


class Vppctl:
    """The command line against one store."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = {**os.environ, "COLUMNS": "80", **environment}
        self.folder = folder

    def run(self, *arguments: str, program: str = "vppctl", stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run to the end; the exit code is the caller's to judge."""
        command = self.command(program, arguments)
        if forked.suits(command, self.environment):
            return forked.run(command, self.environment, stdin, 50)
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=50,
            check=False,
        )

    def __call__(self, *arguments: str, program: str = "vppctl") -> str:
        """Run to success; what it printed."""
        result = self.run(*arguments, program=program)
        assert result.returncode == 0, f"{arguments}: {result.returncode}: {result.stderr}"
        return result.stdout

    def command(self, program: str, arguments: Sequence[str]) -> list[str]:
        return [str(Path(sys.executable).parent / program), *arguments]

    def put(self, *documents: dict[str, Any], wait: bool = False) -> None:
        """Put these documents in one transaction."""
        file = self.folder / "put.json"
        file.write_text(json.dumps({"interface": documents}))
        self("put", str(file), *(["--wait"] if wait else []))

    def state(self, name: str) -> dict[str, Any]:
        """The report about one interface."""
        result = self.run("status", name, "-o", "json")
        found: list[dict[str, Any]] = json.loads(result.stdout) if result.returncode == 0 else [{}]
        return found[0]

    def wait_state(self, name: str, state: str, reason: str = "", timeout: float = 10) -> dict[str, Any]:
        """Wait until the interface is reported in this state."""

        report: dict[str, Any] = {}

        def reached() -> bool:
            nonlocal report
            report = self.state(name)
            return (report.get("state"), report.get("reason")) == (state, reason)

        # Each look costs far more than a hundredth of a second.
        wait_until(reached, lambda: f"{name} to be {state} {reason}, it is {report}", timeout, every=0.05)
        return report


class Agent:
    """`vppctl agent run`, ended by SIGTERM at the end of `with`."""

    def __init__(self, vppctl: Vppctl, *options: str, before: Sequence[str] = ()) -> None:
        """`before`: a command that runs it, in its place."""
        self.vppctl, self.options, self.before = vppctl, options, before
        self.log = vppctl.folder / "agent.log"
        self.process: subprocess.Popen[bytes] | forked.Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            assert self.stop() == 0, self.log.read_text()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()
        # A source that ends because the agent does has not failed.
        assert "it has ended" not in self.log.read_text(), self.log.read_text()

    def start(self) -> None:
        command = [*self.before, *self.vppctl.command("vppctl", ["agent", "run", *self.options])]
        environment = self.vppctl.environment
        with self.log.open("ab") as log:
            if forked.suits(command, environment):
                self.process = forked.Process(command, environment, 0, 1, log.fileno())
            else:
                self.process = subprocess.Popen(command, env=environment, stderr=log)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code


def veth(name: str, peer: str, namespace: str | dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A document; a string is a named namespace."""
    document: dict[str, Any] = {"name": name, "enabled": True, "veth": {"peer_if_name": peer}, **more}
    if namespace is not None:
        document["namespace"] = {"type": 2, "name": namespace} if isinstance(namespace, str) else namespace
    return document
