"""Many pairs at once: deleted by group however they are reached; more namespaces than descriptors or threads."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links, wait_until
from tests.support.passes import at_rest, between, delete, drift, new_reconciler, own, put, star, states
from vppctl.agent.reconciler import Reconciler
from vppctl.linux import wire
from vppctl.linux.named import discover
from vppctl.linux.namespaces import Netns
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.reconcile.state import NetnsId, Reason, State

pytestmark = pytest.mark.kernel
COUNT = 24


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many messages of each type were sent in batches."""
    found: Counter[int] = Counter()
    batch = Rtnl.batch

    def counted(self: Rtnl, messages: Sequence[bytes]) -> list[Answer]:
        found.update(wire.HEADER.unpack_from(message)[1] for message in messages)
        return batch(self, messages)

    monkeypatch.setattr(Rtnl, "batch", counted)
    return found


@contextlib.contextmanager
def living_in(space: str) -> Iterator[str]:
    """A process in a namespace; the way to its links for `nsenter`."""
    process = subprocess.Popen(["ip", "netns", "exec", space, "sleep", "60"])
    try:
        inode = os.stat(f"/run/netns/{space}").st_ino
        way = f"/proc/{process.pid}/ns/net"
        wait_until(lambda: os.stat(way).st_ino == inode, "the process to be in the namespace")
        yield way
    finally:
        process.kill()
        process.wait()


def names(way: str) -> set[str]:
    shown = subprocess.run(["nsenter", f"--net={way}", "ip", "-br", "link"], capture_output=True, text=True, check=True)
    return {line.split()[0].partition("@")[0] for line in shown.stdout.splitlines()} - {"lo"}


def made(count: int = COUNT) -> Reconciler:
    reconciler = new_reconciler()
    put(reconciler, between(count))
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    return reconciler


def test_both_sides_of_many_pairs_are_deleted_by_group(sent: Counter[int]) -> None:
    """Once, nothing referred to their namespaces any more, and each waited for grace periods of its own."""
    reconciler = made()
    sent.clear()
    delete(reconciler, between(COUNT))
    assert set(reconciler.run(1.0).values()) == {None}
    assert (links("ns1"), links("ns2")) == ({}, {})
    assert sent[wire.RTM_DELLINK] == 1


def test_pairs_that_move_are_deleted_by_group(sent: Counter[int]) -> None:
    reconciler = made()
    sent.clear()
    put(reconciler, [veth(d["name"], d["veth"]["peer_if_name"], d["namespace"]["name"] + "x") for d in between(COUNT)])
    assert states(reconciler.run(1.0)) == {State.APPLIED}
    assert (links("ns1"), links("ns2"), len(links("ns1x"))) == ({}, {}, COUNT)
    assert sent[wire.RTM_DELLINK] == 1
    at_rest(reconciler, 2.0)


def test_namespaces_that_lost_their_names_are_entered_by_a_process(sent: Counter[int]) -> None:
    reconciler = made()
    with living_in("ns1") as first, living_in("ns2") as second:
        for space in ("ns1", "ns2"):
            ip("netns", "del", space)
        sent.clear()
        delete(reconciler, between(COUNT))
        assert set(reconciler.run(1.0).values()) == {None}
        assert (names(first), names(second)) == (set(), set())
        assert sent[wire.RTM_DELLINK] == 1


def test_of_what_is_reached_by_an_id_the_other_end_is_preferred(sent: Counter[int]) -> None:
    """The busier namespace would be the one that has lost its name."""
    reconciler = made()
    put(reconciler, star(2, "ns2"))
    reconciler.run(1.0)
    with living_in("ns2") as way:
        ip("netns", "del", "ns2")
        sent.clear()
        delete(reconciler, between(COUNT))
        reconciler.run(2.0)
        assert names(way) & {f"b{n}" for n in range(COUNT)} == set()
        assert links("ns1") == {}
        assert sent[wire.RTM_DELLINK] == 1


def test_nothing_leads_to_the_namespaces_any_more() -> None:
    """Held by descriptors alone: they are reached by their ids."""
    reconciler = made()
    held = [os.open(f"/run/netns/{space}", os.O_RDONLY) for space in ("ns1", "ns2")]
    try:
        for space in ("ns1", "ns2"):
            ip("netns", "del", space)
        delete(reconciler, between(COUNT))
        assert set(reconciler.run(1.0).values()) == {None}
        assert [names(f"/proc/{os.getpid()}/fd/{fd}") for fd in held] == [set(), set()]
    finally:
        for fd in held:
            os.close(fd)


def test_a_name_that_leads_elsewhere_by_now_is_not_believed() -> None:
    """What is entered by it would be deleted from by indexes of the other namespace."""
    reconciler = made(2)
    with living_in("ns1") as way:
        ip("netns", "del", "ns1")
        ip("netns", "add", "ns1")
        for index, name in ((2, "a0"), (3, "a1")):
            ip("-n", "ns1", "link", "add", "name", name, "index", str(index), "type", "bridge")
        delete(reconciler, between(2))
        spaces: dict[NetnsId, Netns] = {}
        with ExitStack() as stack:
            reconciler.places.open(stack, {"a0", "b0"}, spaces)
            assert {key: netns.id for key, netns in spaces.items()} == {key: key for key in spaces}
        reconciler.run(1.0)
        assert set(links("ns1")) == {"a0", "a1"}
        assert names(way) == set()
        assert links("ns2") == {}


def test_links_in_the_agents_own_namespace_are_always_reached(sent: Counter[int]) -> None:
    reconciler = new_reconciler()
    documents = star(COUNT, None)
    put(reconciler, documents)
    reconciler.run(0.0)
    sent.clear()
    delete(reconciler, documents)
    reconciler.run(1.0)
    assert links() == {}
    assert sent[wire.RTM_DELLINK] == 1


def test_what_is_remembered_of_namespaces_does_not_grow() -> None:
    reconciler = new_reconciler()
    for number in range(20):
        documents = [veth("a", "b", f"x{number}"), veth("b", "a")]
        put(reconciler, documents)
        reconciler.run(float(number))
        reconciler.refresh_namespaces()
    assert len(reconciler.memory.ways) <= 4


def test_a_host_without_room_for_one_more_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with pids.max of a cgroup: it takes longer, and it works."""
    reconciler = new_reconciler()
    documents = own(3)
    put(reconciler, documents)
    reconciler.run(0.0)
    start, started = threading.Thread.start, [0]

    def none_left(self: threading.Thread) -> None:
        started[0] += 1
        if started[0] > 1:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    delete(reconciler, documents[::2])
    reconciler.run(1.0)
    assert [links(f"ob{n}") for n in range(3)] == [{}, {}, {}]


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open so many more files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) - 1
    highest = max(map(int, os.listdir("/proc/self/fd")))
    fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest - used)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1 + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in fillers:
            os.close(fd)


def test_more_namespaces_on_the_host_than_descriptors() -> None:
    """Once, one that was looked for was among them, and all were held open: nothing worked."""
    for number in range(40):
        ip("netns", "add", f"other{number}")
    with descriptors_left(24):
        assert len(list(discover())) >= 40
        reconciler = made(1)
        at_rest(reconciler, 1.0)
        assert drift(reconciler) == []


def test_more_namespaces_of_ours_than_descriptors() -> None:
    documents = own(30)
    with descriptors_left(48):
        reconciler = new_reconciler()
        put(reconciler, documents)
        assert states(reconciler.run(0.0)) == {State.APPLIED}
        at_rest(reconciler, 1.0)
        assert drift(reconciler) == []
        restarted = new_reconciler(adopt=True)
        put(restarted, documents)
        assert states(restarted.run(0.0)) == {State.APPLIED}
        assert restarted.results.total() == 0
        delete(restarted, documents)
        assert set(restarted.run(1.0).values()) == {None}
    assert [links(f"o{side}{n}") for n in range(30) for side in "ab"] == [{}] * 60


def test_no_descriptors_at_all_is_told_with_its_own_reason() -> None:
    reconciler = made(1)
    reconciler.backlog.add(reconciler.all_pairs())
    with descriptors_left(1):
        news = reconciler.run(1.0)
    assert {c.reason for c in news.values() if c} == {Reason.RESOURCE_EXHAUSTED}
    found = news["a0"]
    assert found
    assert "Too many open files" in found.message
    assert states(reconciler.run(100.0)) == {State.APPLIED}


def test_a_hub_with_more_spokes_than_descriptors() -> None:
    """That the hub's namespace is another one by now concerns all of them, and there is no room for all at once."""
    documents = star(60)
    with descriptors_left(64):
        reconciler = new_reconciler()
        put(reconciler, documents)
        assert states(reconciler.run(0.0)) == {State.APPLIED}
        at_rest(reconciler, 1.0)
        with living_in("hub"):
            ip("netns", "del", "hub")
            ip("netns", "add", "hub")
            # One event, of one of them.
            reconciler.enqueue(["h7"], 2.0, 0.0)
            while reconciler.backlog.wait(2.0) == 0.0:
                assert states(reconciler.run(2.0)) == {State.APPLIED}
        assert len(links("hub")) == 60
        at_rest(reconciler, 3.0)
