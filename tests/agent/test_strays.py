"""Somebody creates links with all our marks in a namespace of his own, without end, beside a running agent."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links, wait_until
from vppctl.reconcile.marks import Marks

pytestmark = pytest.mark.kernel
PAIR = (veth("a", "b", "one"), veth("b", "a", "two"))
MARKS = ["alias", "vppctl:vpp1:a", "group", str(Marks("vpp1").group)]


def create() -> None:
    """One more, unless it is there; always with the same index."""
    more = ["name", "x", "index", "77", "type", "veth", "peer", "name", "y"]
    for command in (["add", *more], ["set", "dev", "x", *MARKS]):
        subprocess.run(["ip", "-n", "his", "link", *command], check=False, capture_output=True)


@pytest.fixture
def creating() -> Iterator[None]:
    """It is there again as soon as it was deleted."""
    ip("netns", "add", "his")
    stop = threading.Event()

    def body() -> None:
        while not stop.wait(0.005):
            create()

    thread = threading.Thread(target=body)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.usefixtures("creating")
def test_the_pair_stays_applied_from_the_start_on(vppctl: Vppctl) -> None:
    wait_until(lambda: "ifalias" in links("his").get("x", {}), "the first one")
    vppctl.put(*PAIR)
    with Agent(vppctl) as agent:
        before = vppctl.wait_state("a", "APPLIED")
        assert agent.process
        for _ in range(5):
            agent.process.send_signal(signal.SIGHUP)
            assert vppctl.state("a")["state"] == "APPLIED"
        after = vppctl.state("a")
        assert [after[key] for key in ("if_index", "last_change", "retries")] == [
            before[key] for key in ("if_index", "last_change", "retries")
        ]
        assert len(after["history"]) == len(before["history"])
    assert "does not stay as configured" not in agent.log.read_text()
