"""Errors inside the agent: a turn that fails is tried again, a source that fails starts again, and nothing is lost."""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, wait_until
from vppctl.agent.inbox import Inbox
from vppctl.agent.lock import STALE
from vppctl.agent.supervisor import Supervisor
from vppctl.agent.trials import NAME, PAUSE_LAST, Trials

RUN = """
import sys
import time
from pathlib import Path
from vppctl.cli.main import main

def fail(where, method, error):
    right = getattr(where, method)
    def wrong(*arguments, **more):
        if Path({folder!r}, "broken").exists():
            raise error
        return right(*arguments, **more)
    setattr(where, method, wrong)

{code}
sys.argv = sys.argv[1:]
main()
"""


def broken_by(vppctl: Vppctl, code: str) -> tuple[list[str], Path]:
    """A command in place of `vppctl` that calls `fail` so, and the file with which it does fail."""
    return [sys.executable, "-c", RUN.format(folder=str(vppctl.folder), code=code)], vppctl.folder / "broken"


def test_an_event_stays_the_first_until_it_is_done() -> None:
    events: queue.SimpleQueue[int | str] = queue.SimpleQueue()
    inbox = Inbox(events)
    assert inbox.first(0.0) is None
    for event in (1, "two", 3):
        events.put(event)
    assert (inbox.first(0.0), inbox.first(1.0)) == (1, 1)
    assert inbox.holds(str)
    events.put(4)
    taken: list[object] = []
    while (first := inbox.first(0.0)) is not None:
        taken.append(first)
        inbox.done()
    assert (taken, inbox.holds(str)) == ([1, "two", 3, 4], False)


def test_turns_that_fail_for_a_minute_end_the_agent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, pauses = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    supervisor = Supervisor(lambda: None)
    trials = Trials(supervisor)
    while not trials.in_vain:
        trials.failed(MemoryError())
        assert supervisor.troubles()[NAME].why == (
            "its turns fail: Cannot allocate memory; give the host, or MemoryMax= of its unit, more memory"
        )
    assert STALE < now <= STALE + PAUSE_LAST
    assert "the main loop cannot go on: no turn has succeeded for 60 s" in caplog.text
    assert (pauses[:3], pauses[-1]) == ([0.05, 0.1, 0.2], PAUSE_LAST)
    assert len(caplog.records) < 10
    trials.succeeded()
    assert (trials.in_vain, trials.failures, supervisor.troubles()) == (False, 0, {})


@pytest.mark.kernel
@pytest.mark.parametrize("error", ["MemoryError()", "KeyError('secret')"])
def test_a_turn_that_fails_is_tried_again_with_its_event(vppctl: Vppctl, error: str) -> None:
    """Once, any error of a turn ended the agent; and what it had taken from the inbox was lost with it."""
    code = f"from vppctl.agent.intake import Intake\nfail(Intake, 'take', {error})"
    command, broken = broken_by(vppctl, code)
    with Agent(vppctl, before=command) as agent:
        vppctl.put(veth("a", "b"), veth("b", "a"), wait=True)
        broken.touch()
        vppctl.put(veth("a", "b", mtu=1400), veth("b", "a", mtu=1400))
        wait_until(lambda: "2 in a row: " in agent.log.read_text(), "the turn to fail")
        assert "alive, but degraded: main loop: its turns fail: " in vppctl("agent", "health")
        assert links()["a"]["mtu"] == 1500
        broken.unlink()
        wait_until(lambda: links()["a"]["mtu"] == 1400, "the event to be taken")
        wait_until(lambda: "degraded" not in vppctl("agent", "health"), "all to be well again")
        assert "secret" not in agent.log.read_text()


@pytest.mark.kernel
def test_an_agent_none_of_whose_turns_succeeds_hears_sigterm_or_ends(vppctl: Vppctl) -> None:
    code = "from vppctl.agent import trials\nfrom vppctl.agent.intake import Intake\nfail(Intake, 'take', KeyError())\n"
    command, broken = broken_by(vppctl, code)
    with Agent(vppctl, before=command) as agent:
        vppctl.put(veth("a", "b"), veth("b", "a"), wait=True)
        broken.touch()
        vppctl.put(veth("a", "b", mtu=1400))
        wait_until(lambda: "1 in a row: " in agent.log.read_text(), "the turn to fail")
        assert agent.stop() == 0
        broken.unlink()
        assert "source publisher has failed" not in agent.log.read_text(), "the end is no failure"
        command[-1] = command[-1].replace("fail(Intake", "trials.STALE = 0.2\nfail(Intake")
        agent.start()
        wait_until(lambda: vppctl.run("agent", "health").returncode == 0, "it to be there")
        vppctl.put(veth("a", "b"), veth("b", "a"), wait=True)
        broken.touch()
        vppctl.put(veth("a", "b", mtu=1300))
        assert agent.process is not None
        assert agent.process.wait(20) == 1
        agent.process = None
        assert "the main loop cannot go on: no turn has succeeded for 0.2 s" in agent.log.read_text()
        assert set(links()) == {"a", "b"}


@pytest.mark.kernel
def test_what_happened_while_nobody_listened_to_the_kernel(vppctl: Vppctl) -> None:
    code = "from vppctl.linux.monitor import LinkMonitor\nfail(LinkMonitor, 'flush', OSError(5, 'Input/output error'))"
    command, broken = broken_by(vppctl, code)
    with Agent(vppctl, before=command) as agent:
        vppctl.put(veth("a", "b"), veth("b", "a"), wait=True)
        broken.touch()
        ip("link", "set", "dev", "lo", "mtu", "60000")
        failed = "source kernel has failed: Input/output error; it is started again in "
        wait_until(lambda: failed in agent.log.read_text(), "the source to fail")
        assert "degraded: kernel: has failed: Input/output error" in vppctl("agent", "health")
        ip("link", "set", "dev", "a", "mtu", "1400")
        broken.unlink()
        wait_until(lambda: links()["a"]["mtu"] == 1500, "all to be compared")
        ip("link", "set", "dev", "a", "mtu", "1300")
        wait_until(lambda: links()["a"]["mtu"] == 1500, "events to be heard again")


@pytest.mark.kernel
def test_what_happened_while_nobody_looked_at_namespaces(vppctl: Vppctl) -> None:
    code = "from vppctl.linux.watcher import NamespaceWatcher\nfail(NamespaceWatcher, '_look', KeyError())"
    command, broken = broken_by(vppctl, code)
    with Agent(vppctl, "--no-create-namespaces", before=command) as agent:
        vppctl.put(veth("a", "b", "late"), veth("b", "a"))
        vppctl.wait_state("a", "PENDING", "NamespaceNotFound")
        broken.touch()
        failed = "source namespaces has failed: KeyError; it is started again in "
        wait_until(lambda: failed in agent.log.read_text(), "the source to fail")
        ip("netns", "add", "late")
        broken.unlink()
        vppctl.wait_state("a", "APPLIED")


@pytest.mark.kernel
def test_descriptors_that_run_out_while_it_runs(either: Vppctl) -> None:
    with Agent(either) as agent:
        either.put(veth("a", "b", "one"), veth("b", "a"), wait=True)
        assert agent.process is not None
        pid = agent.process.pid
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={used}:"], check=True)
        either.put(veth("c", "d", "two"), veth("d", "c"))
        named = "raise LimitNOFILE= of its unit (ulimit -n)"
        wait_until(lambda: named in agent.log.read_text(), "the log to name it")
        subprocess.run(["prlimit", f"--pid={pid}", "--nofile=1000:"], check=True)
        either.wait_state("c", "APPLIED", timeout=20)
        either.wait_state("a", "APPLIED")
