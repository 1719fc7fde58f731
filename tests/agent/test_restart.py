"""Starts and neighbours: what an agent finds when it starts, what it is told meanwhile, and other agents beside it."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.netns import ip, links, wait_until

pytestmark = pytest.mark.kernel
PAIR = (veth("a", "b", "one"), veth("b", "a", "two"))


def by_hand(*more: str) -> int:
    """The pair as somebody would make it by hand; returns its index."""
    ip("netns", "add", "one")
    ip("netns", "add", "two")
    ip("link", "add", "name", "a", "netns", "one", *more, "type", "veth", "peer", "name", "b", "netns", "two")
    index: int = links("one")["a"]["ifindex"]
    return index


def test_at_start_a_veth_with_a_configured_name_is_made_again(vppctl: Vppctl) -> None:
    before = by_hand()
    ip("-n", "one", "link", "add", "name", "other", "type", "veth", "peer", "name", "twin")
    vppctl.put(*PAIR)
    with Agent(vppctl):
        vppctl.wait_state("a", "APPLIED")
    assert links("one")["a"]["ifindex"] != before
    assert {"other", "twin"} <= set(links("one"))


def test_adopting_takes_over_what_matches(vppctl: Vppctl) -> None:
    before = by_hand("mtu", "1400")
    vppctl.put(*PAIR)
    with Agent(vppctl, "--resync", "adopt"):
        vppctl.wait_state("a", "APPLIED")
        found = links("one")["a"]
        assert (found["ifindex"], found["mtu"], found["ifalias"]) == (before, 1500, "vppctl:vpp1:a")


def test_what_came_up_while_the_agent_was_down_is_not_taken_for_ours(vppctl: Vppctl) -> None:
    ip("netns", "add", "one")
    ip("-n", "one", "link", "add", "name", "a", "type", "bridge")
    vppctl.put(*PAIR)
    with Agent(vppctl):
        vppctl.wait_state("a", "FAILED", "NameTaken")
        ip("-n", "one", "link", "del", "dev", "a")
        vppctl.wait_state("a", "APPLIED")


def test_agents_of_two_labels_leave_each_other_alone(vppctl: Vppctl) -> None:
    vppctl("-l", "red", "put", "json/pair.json")
    vppctl.put(*PAIR)
    with Agent(vppctl):
        vppctl.wait_state("a", "APPLIED")
        red = vppctl.run("-l", "red", "agent", "run", "--once")
        assert red.returncode == 0, red.stderr
        before = links("ns8")["left"]["ifindex"]
        assert links("one")["a"]["ifalias"] == "vppctl:vpp1:a"
        vppctl("-l", "red", "del", "left")
        vppctl("del", "a")
        wait_until(lambda: not links("one"), "our own pair to go")
        assert links("ns8")["left"]["ifindex"] == before
    assert vppctl.run("-l", "red", "agent", "run", "--once").returncode == 1
    assert not links("ns8")


@pytest.mark.parametrize("names", [("a", "b"), ("a#1", "b#1"), ("a:#1", "n" * 255)], ids=["plain", "#", "long"])
def test_agents_of_labels_with_one_link_group(vppctl: Vppctl, names: tuple[str, str]) -> None:
    """h12521763 has the CRC-24 of vpp1, which the group is derived from. Their documents want other places."""
    first, second = names
    for label, space in (("vpp1", "one"), ("h12521763", "two")):
        documents = [veth(first, second, space, host_if_name="a"), veth(second, first, space, host_if_name="b")]
        file = vppctl.folder / f"{label}.json"
        file.write_text(json.dumps({"interface": documents}))
        vppctl("-l", label, "put", str(file))

    def indexes() -> list[int]:
        return [links(space)[name]["ifindex"] for space in ("one", "two") for name in "ab"]

    with Agent(vppctl):
        vppctl.wait_state(first, "APPLIED")
        other = vppctl.run("-l", "h12521763", "agent", "run", "--once")
        assert other.returncode == 0, other.stderr
        before = indexes()
        assert links("one")["a"]["group"] == links("two")["a"]["group"]
        assert vppctl.run("-l", "h12521763", "agent", "run", "--once", "--resync", "adopt").returncode == 0
        assert indexes() == before
    assert vppctl.run("agent", "run", "--once", "--resync", "adopt").returncode == 0
    assert indexes() == before
    vppctl("-l", "h12521763", "agent", "cleanup")
    assert not links("two")
    assert [links("one")[name]["ifindex"] for name in "ab"] == before[:2]


def test_hangup_means_look_at_everything(vppctl: Vppctl) -> None:
    with Agent(vppctl) as agent:
        vppctl.put(*PAIR, wait=True)
        assert agent.process is not None
        agent.process.send_signal(signal.SIGHUP)
        ip("-n", "one", "link", "set", "dev", "a", "mtu", "1400")
        wait_until(lambda: links("one")["a"]["mtu"] == 1500, "the repair")
        assert agent.process.poll() is None


def test_waiting_in_vain_says_for_what(vppctl: Vppctl) -> None:
    result = vppctl.run("put", "json/veth1.json", "--wait", "--timeout", "300ms")
    assert result.returncode == 6
    assert "timed out after 0.3 s" in result.stderr
    assert "veth1: is not reported by the agent yet" in result.stderr
    assert "no agent of label vpp1 is running" in result.stderr
    with Agent(vppctl):
        vppctl.wait_state("veth1", "PENDING", "PeerNotConfigured")
        result = vppctl.run("wait", "veth1", "--for", "applied", "--timeout", "300ms")
        assert "veth1: PENDING PeerNotConfigured: peer 'veth2' is not configured" in result.stderr
        assert vppctl.run("wait", "veth1", "--for", "absent", "--timeout", "300ms").returncode == 6
        vppctl("del", "veth1", "--wait")
        assert vppctl("status", "-o", "name") == ""


@pytest.mark.etcd
def test_watching_states_survives_a_restart_of_the_store(on_etcd: Vppctl, etcd: Etcd) -> None:
    lines = on_etcd.folder / "watch.txt"
    with Agent(on_etcd), lines.open("wb") as out:
        command = on_etcd.command("vppctl", ["status", "-w"])
        watcher = subprocess.Popen(command, env=on_etcd.environment, stdout=out, stderr=out)
        try:
            on_etcd.put(PAIR[0], wait=False)
            wait_until(lambda: "PeerNotConfigured" in lines.read_text(), "the first change")
            etcd.kill()
            wait_until(lambda: "trying again" in lines.read_text(), "the loss to be told")
            etcd.start()
            on_etcd.put(PAIR[1])
            wait_until(lambda: lines.read_text().count("APPLIED") == 2, "what happens afterwards", 20)
        finally:
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(10) == 130
