"""Sudden death of the agent, and a store that is away: nothing is lost, nothing is left."""

from __future__ import annotations

import signal

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.netns import ip, links, wait_until

SIDES = (("a", "b", "one"), ("b", "a", "two"))
pytestmark = [pytest.mark.kernel, pytest.mark.etcd]


@pytest.mark.parametrize("after", [1, 20, 60, 99], ids=lambda n: f"after {n}")
def test_killed_in_the_middle_of_a_hundred_pairs(on_etcd: Vppctl, after: int) -> None:
    names = range(100)
    agent = Agent(on_etcd)
    with agent:
        for start in range(0, 100, 10):
            batch = [veth(f"{a}{n}", f"{b}{n}", ns) for n in names[start : start + 10] for a, b, ns in SIDES]
            on_etcd.put(*batch)
            if start < after <= start + 10:
                wait_until(lambda: len(links("one")) >= min(after, start + 1), "some pairs")  # noqa: B023 - used at once
                assert agent.stop(signal.SIGKILL) == -signal.SIGKILL
        on_etcd("del", *[f"a{n}" for n in range(50)])
        agent.start()
        wait_until(lambda: set(links("one")) == {f"a{n}" for n in range(50, 100)}, "exactly what is configured", 30)
        wait_until(lambda: set(links("two")) == {f"b{n}" for n in range(50, 100)}, "exactly what is configured", 30)


def test_losing_the_store_changes_nothing(on_etcd: Vppctl, etcd: Etcd) -> None:
    with Agent(on_etcd) as agent:
        on_etcd.put(veth("a", "b", "one"), veth("b", "a", "two"), wait=True)
        before = links("one")["a"]["ifindex"]
        etcd.kill()
        wait_until(lambda: "cannot reach" in agent.log.read_text(), "the loss to be noticed")
        ip("-n", "one", "link", "set", "dev", "a", "mtu", "1400")
        wait_until(lambda: links("one")["a"]["mtu"] == 1500, "drift to be repaired without a store")
        etcd.start()
        etcd.ctl("del", "/vnf-agent/vpp1/linux/config/v1/interface/b")
        etcd.ctl("put", "/other", "1")
        wait_until(lambda: not links("one"), "what changed meanwhile", 20)
        on_etcd.wait_state("a", "PENDING", "PeerNotConfigured", timeout=20)
        on_etcd.put(veth("b", "a", "two"), wait=True)
        assert links("one")["a"]["ifindex"] != before


def test_started_before_the_store(on_etcd: Vppctl, etcd: Etcd) -> None:
    on_etcd.put(veth("a", "b", "one"), veth("b", "a", "two"))
    etcd.kill()
    with Agent(on_etcd) as agent:
        wait_until(lambda: "cannot reach" in agent.log.read_text(), "the loss to be noticed")
        etcd.start()
        on_etcd.wait_state("a", "APPLIED", timeout=20)


def test_once_without_a_store_says_so(on_etcd: Vppctl, etcd: Etcd) -> None:
    etcd.kill()
    result = on_etcd.run("agent", "run", "--once")
    assert result.returncode == 5
    assert "cannot reach etcd" in result.stderr
