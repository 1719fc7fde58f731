"""System calls that a container's seccomp profile refuses: what is there is not taken for absent."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, links_of, wait_until
from tests.support.seccomp import OPENAT2, PIDFD_OPEN, refusing

pytestmark = pytest.mark.kernel
MACHINE = os.uname().machine
PRLIMIT, CAPSET = {"x86_64": 302, "aarch64": 261}, {"x86_64": 126, "aarch64": 91}
INOTIFY = {"x86_64": 294, "aarch64": 26}
"""Numbers of calls."""


class Refused(Vppctl):
    """The command line whose calls are refused."""

    errno = errno.EPERM
    calls: tuple[int, ...] = (PIDFD_OPEN, OPENAT2)

    def command(self, program: str, arguments: object) -> list[str]:
        return refusing(self.errno, self.calls, super().command(program, arguments))  # type: ignore[arg-type]


@pytest.fixture(params=[errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def refused(request: pytest.FixtureRequest, tmp_path: Path) -> Refused:
    vppctl = Refused({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db"}, tmp_path)
    vppctl.errno = request.param
    return vppctl


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One with a network namespace of its own."""
    process = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the process to be in its own")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(MACHINE not in PRLIMIT, reason="the number of the call is another one")
def test_limits_that_may_not_be_asked_for(refused: Refused) -> None:
    """Once, the agent ended with an internal error."""
    refused.calls = (PRLIMIT[MACHINE],)
    with Agent(refused):
        refused.put(veth("a", "b", "one"), veth("b", "a"))
        refused.wait_state("a", "APPLIED")


@pytest.mark.skipif(MACHINE not in INOTIFY, reason="the number of the call is another one")
def test_an_embedded_store_without_inotify(refused: Refused) -> None:
    """Once, the store counted as away for ever."""
    refused.calls = (INOTIFY[MACHINE],)
    with Agent(refused) as agent:
        refused.put(veth("a", "b"), veth("b", "a"))
        refused.wait_state("a", "APPLIED")
        assert "looked for every 1 s, since inotify cannot be used" in agent.log.read_text()
        assert refused("agent", "health") == "the agent of label vpp1 is alive\n"


@pytest.mark.skipif(MACHINE not in CAPSET, reason="the number of the call is another one")
def test_privileges_that_cannot_be_given_up(refused: Refused) -> None:
    refused.calls = (CAPSET[MACHINE],)
    result = refused.run("agent", "run", "--once")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("privileges cannot be given up: ")
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("by", ["pid", "file"])
def test_a_process_comes_and_goes_without_pidfds(refused: Refused, process: subprocess.Popen[bytes], by: str) -> None:
    pid = process.pid
    reference = {"type": 0, "pid": pid} if by == "pid" else {"type": 3, "filepath": f"/proc/{pid}/ns/net"}
    with Agent(refused):
        refused.put(veth("a", "b", reference), veth("b", "a", "two"), wait=True)
        assert links_of(pid) == {"a"}
        assert refused("check") == ""
        process.kill()
        # Nobody has waited for it yet: it is a zombie.
        refused.wait_state("a", "PENDING", "ProcessNotRunning")
        wait_until(lambda: not links("two"), "the other end to go")
        process.wait()
        report = refused.wait_state("a", "PENDING", "ProcessNotRunning")
        assert f"no process has PID {pid}" in report["message"]


def test_a_process_moves_to_another_namespace_without_pidfds(refused: Refused) -> None:
    ip("netns", "add", "one")
    script = "read line; exec nsenter --net=/run/netns/one sleep 600"
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdin=subprocess.PIPE)
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sh\n", "the process to be in its own")
        with Agent(refused):
            refused.put(veth("a", "b", {"pid": process.pid}), veth("b", "a", "two"), wait=True)
            assert not links("one")
            assert process.stdin
            process.stdin.write(b"go\n")
            process.stdin.close()
            wait_until(lambda: set(links("one")) == {"a"}, "the pair to follow")
            refused.wait_state("a", "APPLIED")
    finally:
        process.kill()
        process.wait()
