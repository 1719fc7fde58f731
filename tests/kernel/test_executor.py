"""What the executor does to the kernel beyond the agent's own tests: strangers, refusals, leaks."""

from __future__ import annotations

import os
import pickle
import queue
import threading

import pytest

from tests.support.netns import ip, links, wait_until
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.linux.monitor import KernelEvent, LinkChanged, LinkMonitor, LinksChanged, NamespaceGone
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at
from vppctl.microservices import Microservices
from vppctl.model.interface import Interface, NamespaceRef, NamespaceType
from vppctl.reconcile.state import Configured, State

pytestmark = pytest.mark.kernel


def reconciler_of(nsids: NsidTable) -> Reconciler:
    return Reconciler("vpp1", Resolver(Microservices(None, look_at), create=True, allowed_dirs=()), nsids)


def side(name: str, peer: str, space: str, **more: object) -> Interface:
    reference = NamespaceRef(NamespaceType.NAMED_NS, name=space)
    return Interface(name, peer, enabled=True, namespace=reference, **more)  # type: ignore[arg-type]


def configure(reconciler: Reconciler, *interfaces: Interface) -> None:
    for interface in interfaces:
        reconciler.backlog.add(reconciler.desired.put(Configured(interface.name, interface, 1)))


def pairs(count: int) -> list[Interface]:
    ends = (("a", "b", "one"), ("b", "a", "two"))
    return [
        side(f"{a}{n}", f"{b}{n}", space, ip_addresses=(f"10.0.{n}.1/24",))
        for n in range(count)
        for a, b, space in ends
    ]


def test_deleting_many_at_once_takes_no_stranger_along() -> None:
    reconciler = reconciler_of(NsidTable())
    configure(reconciler, *pairs(40))
    assert {c.state for c in reconciler.run(0.0).values() if c} == {State.APPLIED}
    group = str(reconciler.desired.marks.group)
    for number in range(5):
        # In every group that one could think of, our own among them, but with somebody else's name on it.
        ip("-n", "one", "link", "add", f"x{number}", "type", "veth", "peer", "name", f"xx{number}")
        for name in (f"x{number}", f"xx{number}"):
            ip("-n", "one", "link", "set", name, "alias", "vppctl:other:x", "group", group)
    before = {name: link["ifindex"] for name, link in links("one").items() if name.startswith("x")}
    for number in range(40):
        reconciler.backlog.add(reconciler.desired.delete(f"b{number}"))
    reconciler.run(1.0)
    assert {name: link["ifindex"] for name, link in links("one").items()} == before
    assert {link["group"] for link in links("one").values()} == {group}
    assert links("two") == {}


def test_a_refusal_concerns_one_pair_and_says_what_the_kernel_said() -> None:
    reconciler = reconciler_of(NsidTable())
    configure(reconciler, *pairs(3))
    reconciler.run(0.0)
    ip("-n", "one", "link", "set", "a1", "mtu", "1000")
    configure(reconciler, side("a1", "b1", "one", ip_addresses=("10.0.1.1/24", "2001:db8::1/64"), mtu=1000))
    news = reconciler.run(1.0)
    failed = news["a1"]
    assert failed is not None
    assert failed.state is State.FAILED
    assert "2001:db8::1/64" in failed.message
    assert "'a1'" in failed.message
    news = reconciler.run(1.0)
    reconciler.backlog.add(reconciler.all_pairs())
    states = {name: c.state for name, c in reconciler.run(60.0).items() if c}
    assert {states[n] for n in ("a0", "b0", "a2", "b2")} == {State.APPLIED}


def test_a_hundred_rounds_leave_no_descriptor_and_no_thread() -> None:
    reconciler = reconciler_of(NsidTable())

    def round_of(now: float) -> None:
        configure(reconciler, *pairs(2))
        reconciler.run(now)
        for name in ("a0", "b1"):
            reconciler.backlog.add(reconciler.desired.delete(name))
        reconciler.run(now)

    def resources() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def kept() -> int:
        return len(pickle.dumps((reconciler.memory, reconciler.backlog, reconciler.desired)))

    round_of(0.0)
    before, octets = resources(), kept()
    for number in range(100):
        round_of(float(number))
    assert resources() == before
    assert kept() < octets + 100, "no round leaves an octet but for what counts them"
    assert links("one") == {}


def test_the_monitor_hears_every_namespace_and_its_end() -> None:
    nsids = NsidTable()
    events: queue.SimpleQueue[KernelEvent] = queue.SimpleQueue()
    monitor = LinkMonitor(nsids, events.put)
    reconciler = reconciler_of(nsids)
    heard: list[object] = []
    stop = threading.Event()
    thread = threading.Thread(target=monitor.run, args=(stop,))
    thread.start()

    def hears(what: object) -> bool:
        while not events.empty():
            event = events.get()
            heard.extend(event.links if isinstance(event, LinksChanged) else [event])
        return what in heard

    try:
        configure(reconciler, *pairs(1))
        news = reconciler.run(0.0)
        a, b = news["a0"], news["b0"]
        assert a is not None
        assert b is not None
        assert a.link is not None
        assert b.link is not None
        one, two = a.link.netns, b.link.netns
        ip("-n", "one", "link", "set", "a0", "down")
        ip("-n", "one", "link", "set", "a0", "name", "renamed")
        wait_until(lambda: hears(LinkChanged(one, a.link.index, "renamed")), "the new name")  # type: ignore[union-attr]
        ip("-n", "two", "addr", "add", "10.9.9.9/32", "dev", "b0")
        wait_until(lambda: hears(LinkChanged(two, b.link.index, "")), "the address")  # type: ignore[union-attr]
        ip("netns", "del", "two")
        wait_until(lambda: hears(NamespaceGone(two)), "the end of the namespace")
        assert nsids.nsid(two) is None
    finally:
        stop.set()
        thread.join()
