"""A PID in a document means one process, and not whoever gets its number later."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import links, links_of, wait_until
from tests.support.numbers import OTHER, SLEEP, as_other, numbered, users

pytestmark = pytest.mark.kernel

BY: dict[str, Callable[[int], dict[str, Any]]] = {
    "pid": lambda pid: {"type": 0, "pid": pid},
    "file": lambda pid: {"type": 3, "filepath": f"/proc/{pid}/ns/net"},
    "thread": lambda pid: {"type": 3, "filepath": f"/proc/{pid}/task/{pid}/ns/net"},
}
COMMANDS = {"root": SLEEP, "other": as_other(*SLEEP)}
ANOTHER = "is that of another process now, because the one that was meant has ended; put the document again"
FREE = 30_000
"""A number that no process of a test comes to by itself."""
NOTES = Path("/run/vppctl/processes-vpp1")
BECOMES_OTHER = f"""
import os, sys
sys.stdin.readline()
os.setgroups([]); os.setresgid({OTHER}, {OTHER}, {OTHER}); os.setresuid({OTHER}, {OTHER}, {OTHER})
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def nothing_before() -> None:
    """Each test has a store of its own, so that one number has the same revision in several."""
    NOTES.unlink(missing_ok=True)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("who", COMMANDS)
def test_the_next_process_of_a_number_is_not_entered(vppctl: Vppctl, by: str, who: str) -> None:
    """Once, the pair went there, with its MAC and addresses."""
    with Agent(vppctl):
        with numbered() as process:
            pid = process.pid
            pair = veth("a", "b", BY[by](pid), ip_addresses=["10.0.0.1/24"]), veth("b", "a", "two")
            vppctl.put(*pair, wait=True)
            assert links_of(pid) == {"a"}
        vppctl.wait_state("a", "PENDING", "ProcessNotRunning")
        with numbered(pid, COMMANDS[who]):
            message = vppctl.wait_state("a", "PENDING", "ForeignPid")["message"]
            assert message.startswith(f"PID {pid} {ANOTHER}")
            assert vppctl.state("b")["message"] == f"peer 'a': {message}"
            # Whatever else is looked at: the number stays that of the process that has ended.
            vppctl.put(veth("b", "a", "two", mtu=1400))
            vppctl.put(veth("c", "d", "two"), veth("d", "c"), wait=True)
            assert vppctl.state("a")["reason"] == "ForeignPid"
            assert (links_of(pid), set(links("two"))) == (set(), {"c"})
            assert vppctl.run("check", "a").returncode == 0, "nothing is missing there"
            vppctl.put(pair[0], wait=True)
            assert links_of(pid) == {"a"}
        vppctl.wait_state("a", "PENDING", "ProcessNotRunning")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("resync", ["recreate", "adopt"])
def test_nor_after_a_restart(vppctl: Vppctl, number: signal.Signals, resync: str) -> None:
    with Agent(vppctl, "--resync", resync) as agent:
        with numbered() as process:
            pid = process.pid
            vppctl.put(veth("a", "b", BY["pid"](pid)), veth("b", "a", "two"), wait=True)
            agent.stop(number)
            # The same process is found again.
            agent.start()
            vppctl.wait_state("a", "APPLIED")
            agent.stop(number)
        with numbered(pid, COMMANDS["other"]):
            agent.start()
            vppctl.wait_state("a", "PENDING", "ForeignPid")
            assert (links_of(pid), links("two")) == (set(), {})
            # One that another document means is not concerned.
            vppctl.put(veth("c", "d", BY["pid"](pid)), veth("d", "c", "two"), wait=True)
            assert links_of(pid) == {"c"}


def test_two_documents_of_one_number_mean_two_processes(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        with numbered() as process:
            pid = process.pid
            vppctl.put(veth("a", "b", BY["pid"](pid)), veth("b", "a", "two"), wait=True)
        with numbered(pid):
            vppctl.wait_state("a", "PENDING", "ForeignPid")
            vppctl.put(veth("c", "d", BY["pid"](pid)), veth("d", "c", "two"), wait=True)
            assert links_of(pid) == {"c"}
            assert vppctl.state("a")["reason"] == "ForeignPid"


def test_a_number_that_is_awaited_is_not_for_another_user(vppctl: Vppctl) -> None:
    """Whoever forks often enough gets it."""
    with Agent(vppctl) as agent:
        vppctl.put(veth("a", "b", BY["pid"](FREE)), veth("b", "a", "two"))
        vppctl.wait_state("a", "PENDING", "ProcessNotRunning")
        with numbered(FREE, COMMANDS["other"]):
            message = vppctl.wait_state("a", "PENDING", "ForeignPid")["message"]
            assert message == (
                f"PID {FREE} is a process of user {OTHER} that was started after the document was put; put the"
                " document again to mean it"
            )
            agent.stop()
            agent.start()
            vppctl.wait_state("a", "PENDING", "ForeignPid")
            assert links_of(FREE) == set()
        vppctl.wait_state("a", "PENDING", "ProcessNotRunning")
        with numbered(FREE):
            vppctl.wait_state("a", "APPLIED")
            assert links_of(FREE) == {"a"}
            agent.stop()
            agent.start()
            vppctl.wait_state("a", "APPLIED")
        with numbered(FREE):
            message = vppctl.wait_state("a", "PENDING", "ForeignPid")["message"]
            assert message.startswith(f"PID {FREE} {ANOTHER}")
            assert links_of(FREE) == set()


def test_one_that_came_late_and_becomes_another_users(vppctl: Vppctl) -> None:
    """As a session does that a service of root's starts."""
    with Agent(vppctl):
        vppctl.put(veth("a", "b", BY["pid"](FREE)), veth("b", "a", "two"))
        vppctl.wait_state("a", "PENDING", "ProcessNotRunning")
        with numbered(FREE, [sys.executable, "-c", BECOMES_OTHER]) as process:
            vppctl.wait_state("a", "APPLIED")
            assert process.stdin
            process.stdin.write(b"go\n")
            process.stdin.flush()
            wait_until(lambda: users(FREE) == {OTHER}, "the process to be another user's")
            # Nothing announces it: it is seen by the next look.
            vppctl.put(veth("b", "a", "two", mtu=1400))
            wait_until(lambda: _seen(vppctl), "it to be noticed")
            assert links_of(FREE) == set()


def _seen(vppctl: Vppctl) -> bool:
    if vppctl.state("a").get("reason") == "ForeignPid":
        return True
    vppctl.put(veth("b", "a", "two", mtu=1500))
    return False


def test_one_that_was_there_may_become_another_users(vppctl: Vppctl) -> None:
    with Agent(vppctl), numbered(0, [sys.executable, "-c", BECOMES_OTHER]) as process:
        vppctl.put(veth("a", "b", BY["pid"](process.pid)), veth("b", "a", "two"), wait=True)
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.flush()
        wait_until(lambda: users(process.pid) == {OTHER}, "the process to be another user's")
        vppctl.put(veth("b", "a", "two", mtu=1400), wait=True)
        assert links_of(process.pid) == {"a"}


def test_check_knows_which_process_the_agent_means(vppctl: Vppctl) -> None:
    with Agent(vppctl), numbered() as process:
        pid = process.pid
        vppctl.put(veth("a", "b", BY["pid"](pid)), veth("b", "a", "two"), wait=True)
    with numbered(pid):
        # Once, it missed the pair in this one.
        assert vppctl.run("check").returncode == 0
        NOTES.unlink()
        assert vppctl.run("check").returncode == 1
        assert not NOTES.exists(), "it only reads"
