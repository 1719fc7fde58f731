"""Each test runs against the stand-in, and against the real VPP that VPPCTL_TEST_VPP names."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import wait_until
from tests.support.vpp import RealControl, StandIn, StandInControl, modules
from vppctl.agent.vpp_worker import VppNews, VppWorker
from vppctl.model.interface import VppInterface
from vppctl.reconcile.state import Reason, State
from vppctl.reconcile.vpp import VppCondition, VppConfigured, VppLink
from vppctl.vpp import Vpp

PROGRAM = os.environ.get("VPPCTL_TEST_VPP", "")


class Bench:
    """A worker, its VPP, and what it says."""

    def __init__(self, path: str, control: StandInControl | RealControl) -> None:
        self.path, self.control = path, control
        self.said: dict[str, VppCondition | None] = {}
        self.desired: dict[str, VppConfigured] = {}
        self.worker = self.start()

    def start(self) -> VppWorker:
        self.worker = VppWorker("vpp1", self.path, self._hear)
        self.thread = threading.Thread(target=self.worker.run)
        self.thread.start()
        return self.worker

    def stop(self) -> None:
        self.worker.stop()
        self.thread.join()

    def _hear(self, news: VppNews) -> None:
        self.said.update(news.conditions)

    def put(self, *interfaces: VppInterface) -> None:
        for interface in interfaces:
            self.desired[interface.name] = VppConfigured(interface.name, interface, 1)
        self.worker.configure(self.desired)

    def delete(self, *names: str) -> None:
        for name in names:
            del self.desired[name]
        self.worker.configure(self.desired)

    def wait(self, name: str, state: State, reason: Reason = Reason.NONE, timeout: float = 15) -> VppCondition:
        def reached() -> bool:
            said = self.said.get(name)
            return said is not None and (said.state, said.reason) == (state, reason)

        wait_until(reached, f"{name} to be {state} {reason}, it is {self.said.get(name)}", timeout)
        found = self.said[name]
        assert found is not None
        return found

    def links(self) -> dict[str, VppLink]:
        """What VPP has, by internal name, asked through a connection of its own."""
        vpp = Vpp(self.path, lambda: None)
        try:
            return {link.internal_name: link for link in vpp.observe()}
        finally:
            vpp.close()


def _answer(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


@pytest.fixture(params=["stand-in", "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    if request.param == "stand-in":
        path = tmp_path / "api.sock"
        vpp = StandIn()
        for name, module in modules(vpp).items():
            monkeypatch.setitem(sys.modules, name, module)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(100)
            answering = threading.Thread(target=_answer, args=(listener,))
            answering.start()
            found = Bench(str(path), StandInControl(vpp))
            yield found
            found.stop()
            listener.shutdown(socket.SHUT_RDWR)
            answering.join()
        return
    if not PROGRAM:
        pytest.skip("needs a real VPP: VPPCTL_TEST_VPP names its program")
    control = RealControl(PROGRAM, tmp_path)
    try:
        found = Bench(control.path, control)
        yield found
        found.stop()
    finally:
        control.stop()
