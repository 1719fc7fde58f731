"""The track record: one test for each bug that was found here. README.md tells how to see them fail."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.documents import Document, Ref
from tests.faults.world import World
from tests.support.netns import ip, wait_until
from vppctl.linux.monitor import KernelEvent, LinkMonitor, Overrun
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable

pytestmark = [pytest.mark.kernel, pytest.mark.etcd, pytest.mark.timeout(120)]
PAIR: dict[str, Document | None] = {
    "a": Document("a", "b", Ref("named", "one")),
    "b": Document("b", "a", Ref("named", "two")),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as found:
        yield found


def test_both_ends_moved_while_events_were_lost(world: World) -> None:
    """Somebody renamed one end and moved the other while the monitor's socket was full: nobody found the pair again."""
    world.add_named("lost")
    world.start("vpp1")
    world.write("vpp1", PAIR)
    world.rest("the start")
    agent = world.agents["vpp1"]
    agent.signal(signal.SIGSTOP)
    ip("-n", "one", "link", "set", "dev", "a", "name", "renamed")
    ip("-n", "one", "link", "set", "dev", "renamed", "netns", "lost")
    ip("-n", "two", "link", "set", "dev", "b", "netns", "lost")
    # SIGHUP has the same effect as an overrun, without a small buffer.
    agent.signal(signal.SIGHUP)
    agent.signal(signal.SIGCONT)
    world.rest("both ends were moved")


def test_the_overrun_is_told_after_the_last_event_that_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says once that events are lost, and loses more until its queue is empty; we looked at once."""
    monkeypatch.setattr("vppctl.linux.monitor.RECEIVE_BUFFER", 2048)
    stop, heard = threading.Event(), list[KernelEvent]()

    def deliver(event: KernelEvent) -> None:
        heard.append(event)
        if isinstance(event, Overrun):
            stop.set()

    monitor = LinkMonitor(NsidTable(), deliver)
    ip("link", "add", "name", "noise", "type", "bridge")
    lines = "\n".join(f"link set dev noise mtu {mtu}" for mtu in range(1000, 1100))
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    monitor.run(stop)
    assert len(heard) > 1, "what was in the queue comes first"
    assert isinstance(heard[-1], Overrun)


def test_an_id_of_a_namespace_that_died_unheard_is_nobodys(world: World) -> None:
    """The event of a namespace's end was lost: its id, given to the next namespace, led to the wrong one."""
    table = NsidTable()
    first = _opened("first")
    table.assign_many([first])
    nsid, gone = table.nsid(first.id), first.id
    # Before the first one goes, for its inode number would be free.
    second = _opened("second")
    first.close()
    ip("netns", "del", "first")
    assert nsid is not None
    wait_until(lambda: str(nsid) not in _ids(), "the id to be free")
    with second:
        table.assign_many([second])
        assert table.nsid(second.id) == nsid
        assert table.nsid(gone) is None
        assert table.forget(nsid) == second.id


def test_a_store_filled_anew_to_the_same_revisions(world: World) -> None:
    """etcd was wiped and filled with other values up to the old revision: the watch went on, and nobody noticed."""
    world.start("vpp1")
    world.write("vpp1", PAIR)
    world.rest("the start")
    before = world.gateway.revision()
    agent = world.agents["vpp1"]
    agent.signal(signal.SIGSTOP)
    world.wipe_store()
    world.write("vpp1", {"a": Document("a", "b", Ref("named", "one"), mtu=1400), "b": PAIR["b"]})
    while world.gateway.revision() < before + 2:
        world.gateway.write({"/padding": "1"})
    agent.signal(signal.SIGCONT)
    world.rest("the store was filled anew")


@pytest.mark.parametrize("other", [{}, {"c": Document("c", "a", Ref("named", "two"))}], ids=["alone", "with another"])
def test_deleting_the_peer_of_one_with_errors(world: World, other: dict[str, Document | None]) -> None:
    """Its links are frozen. Where no other interface kept the namespaces open, they were deleted, because the peer's
    namespace was read with the wrong numbering; where one did, the state of the deleted interface stayed published.
    """
    world.start("vpp1")
    world.write("vpp1", PAIR | other)
    world.rest("the start")
    world.write("vpp1", {"a": Document("a", "b", Ref("named", "one"), broken="mtu")})
    world.rest("an error")
    world.write("vpp1", {"b": None})
    world.rest("the deletion of its peer")


def test_a_name_comes_free_without_an_event_of_the_kernel(world: World) -> None:
    """The one that had the better claim to a name, but no link, lost its peer: the other one waited for its backoff."""
    world.add_named("one")
    world.start("vpp1")
    world.add_named("two")
    world.add_stranger("/run/netns/two", "name", "b", "type", "bridge")
    world.write("vpp1", PAIR)
    rival: dict[str, Document | None] = {
        "y": Document("y", "z", Ref("named", "one"), host="a"),
        "z": Document("z", "y"),
    }
    world.write("vpp1", rival)
    # Some failures, so that the next attempt is far away.
    for mtu in range(1400, 1405):
        world.rest("a conflict")
        world.write("vpp1", {"z": Document("z", "y", mtu=mtu)})
    world.rest("a conflict")
    world.write("vpp1", {"b": None})
    world.rest("the name is free", timeout=3)


def test_an_event_of_a_frozen_link_alone(world: World) -> None:
    """A document has errors, its peer names another one: an event of the peer's link had that link looked at without
    the other end, which says that it is frozen, and it was deleted.
    """
    world.start("vpp1")
    world.write("vpp1", PAIR)
    world.rest("the start")
    world.write("vpp1", {"a": Document("a", "b", Ref("named", "one"), broken="mtu")})
    world.rest("an error")
    world.write("vpp1", {"b": Document("b", "c", Ref("named", "two"))})
    world.rest("another peer")
    link = next(link for link in world.last.values() if link.name == "b")
    for number in range(5):
        ip("-n", "two", "link", "set", "dev", "b", "mtu", str(1300 + number))
        world.stays_as_it_is(link)
        world.rest("an event")


def _opened(name: str) -> Netns:
    ip("netns", "add", name)
    return Netns(os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC), name)


def _ids() -> set[str]:
    return {line.split()[1] for line in ip("netns", "list-id").splitlines()}
