"""What has the index of a link of ours by now, and is none, stays as it is."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from tests.kernel.test_executor import configure, pairs, reconciler_of, side
from tests.support.netns import entered, ip, links
from vppctl.agent.reconciler import Reconciler
from vppctl.linux import rtnl, wire
from vppctl.linux.deletion import delete_by_id
from vppctl.linux.hosts import Host, find_hosts, set_mac
from vppctl.linux.namespaces import Netns, open_own
from vppctl.linux.nsids import NsidTable
from vppctl.linux.observe import observe, read_link
from vppctl.linux.resolve import resolve
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.model.interface import Interface, NamespaceRef, NamespaceType
from vppctl.reconcile.operations import DeleteLinks, Operation
from vppctl.reconcile.state import NetnsId, State

pytestmark = pytest.mark.kernel


def replace(name: str, space: str, by: str) -> None:
    """Somebody removes a link and creates another one with its index."""
    index = links(space)[name]["ifindex"]
    ip("-n", space, "link", "del", name)
    ip("-n", space, "link", "add", "name", by, "index", str(index), "mtu", "1300", "type", "bridge")


def beside(count: int) -> list[Interface]:
    """Pairs whose ends are both in one namespace, where no index is there twice."""
    return [
        side(name, peer, "one", ip_addresses=(f"10.{host}.{n}.1/24",))
        for n in range(count)
        for host, name, peer in ((0, f"a{n}", f"b{n}"), (1, f"b{n}", f"a{n}"))
    ]


def before_execution(
    reconciler: Reconciler, do: Callable[[Sequence[Operation]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, after the look and before the operations."""
    execute = reconciler.executor.execute

    def disturbed(operations: Sequence[Operation], *more: Any) -> Any:
        monkeypatch.setattr(reconciler.executor, "execute", execute)
        do(operations)
        return execute(operations, *more)

    monkeypatch.setattr(reconciler.executor, "execute", disturbed)


def applied(count: int) -> Reconciler:
    reconciler = reconciler_of(NsidTable())
    configure(reconciler, *beside(count))
    assert {c.state for c in reconciler.run(0.0).values() if c} == {State.APPLIED}
    return reconciler


def test_what_takes_the_index_of_one_that_goes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel deletes no group, for there is something in it that cannot be deleted, each has one more."""
    reconciler = applied(3)
    for number in range(3):
        reconciler.backlog.add(reconciler.desired.delete(f"a{number}"))
    batch = Rtnl.batch
    taken: list[str] = []
    marked: list[bytes] = []

    def disturbed(self: Rtnl, messages: Sequence[bytes]) -> list[Answer]:
        kind = wire.HEADER.unpack_from(messages[0])[1] if messages else 0
        if kind == wire.RTM_SETLINK:
            marked.append(messages[0])
            if len(marked) == 2:
                index = wire.IFINFO.unpack_from(messages[0], 16)[2]
                taken.extend(name for name, link in links("one").items() if link["ifindex"] == index)
                replace(taken[0], "one", "x")
        elif kind == wire.RTM_DELLINK and not taken:
            return [Answer(errno.EOPNOTSUPP)] * len(messages)
        return batch(self, messages)

    monkeypatch.setattr(Rtnl, "batch", disturbed)
    reconciler.run(1.0)
    assert taken
    found = links("one")
    assert found.keys() - {"lo"} == {"x"}
    assert found["x"]["group"] == "default"


@pytest.mark.parametrize("count", [1, 3])
def test_a_deletion_spares_what_has_taken_the_index(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reconciler = applied(count)
    for number in range(count):
        reconciler.backlog.add(reconciler.desired.delete(f"a{number}"))

    def take(operations: Sequence[Operation]) -> None:
        (deletion,) = operations
        assert isinstance(deletion, DeleteLinks)
        replace(deletion.links[0].name, "one", "x")

    before_execution(reconciler, take, monkeypatch)
    reconciler.run(1.0)
    found = links("one")
    assert found.keys() - {"lo"} == {"x"}
    assert found["x"]["group"] == "default"


def test_what_takes_the_index_while_links_are_marked_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the question: the mark goes to the stranger, and is taken off again."""
    reconciler = applied(2)
    for number in range(2):
        reconciler.backlog.add(reconciler.desired.delete(f"a{number}"))
    batch = Rtnl.batch
    taken: list[str] = []

    def disturbed(self: Rtnl, messages: Sequence[bytes]) -> list[Answer]:
        if not taken and messages and wire.HEADER.unpack_from(messages[0])[1] == wire.RTM_SETLINK:
            index = wire.IFINFO.unpack_from(messages[0], 16)[2]
            taken.extend(name for name, link in links("one").items() if link["ifindex"] == index)
            replace(taken[0], "one", "x")
        return batch(self, messages)

    monkeypatch.setattr(Rtnl, "batch", disturbed)
    reconciler.run(1.0)
    assert taken
    found = links("one")
    assert found.keys() - {"lo"} == {"x"}
    assert found["x"]["group"] == "default"


def test_a_change_spares_what_has_taken_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    reconciler = reconciler_of(NsidTable())
    both = beside(1)
    configure(reconciler, *both)
    reconciler.run(0.0)
    configure(reconciler, both[0]._replace(mtu=1400, ip_addresses=("10.9.0.1/24",)))
    before_execution(reconciler, lambda _: replace("a0", "one", "x"), monkeypatch)
    said = reconciler.run(1.0)["a0"]
    assert said
    assert said.state is State.FAILED
    assert "not the same link any more" in said.message
    stranger = links("one")["x"]
    assert (stranger["mtu"], stranger["addr_info"]) == (1300, [])
    reconciler.backlog.add(reconciler.all_pairs())
    assert {c.state for c in reconciler.run(100.0).values() if c} == {State.APPLIED}
    assert "x" in links("one")


def test_an_id_that_leads_to_another_namespace_by_now() -> None:
    """By the id of a namespace that is gone, a link of the same index was deleted in the one that has it now."""
    reconciler = reconciler_of(nsids := NsidTable())
    configure(reconciler, *pairs(1))
    reconciler.run(0.0)
    ip("netns", "add", "three")
    spaces = [resolve(NamespaceRef(NamespaceType.NAMED_NS, name=name), create=False) for name in ("one", "three")]
    with ExitStack() as stack:
        one, three = (stack.enter_context(space) for space in spaces if isinstance(space, Netns))
        nsids.assign_many([one, three])
        (link,) = observe({one.id: one}, {one.id: {"a0": ()}}, nsids).links.values()
        ip("-n", "three", "link", "add", "name", "x", "index", str(link.index), "type", "bridge")
        nsid = nsids.nsid(three.id)
        assert nsid is not None
        assert delete_by_id(nsid, [link]) is None
        assert "x" in links("three")
        right = nsids.nsid(one.id)
        assert right is not None
        assert delete_by_id(right, [link]) is None
        assert "a0" not in links("one")


@pytest.mark.parametrize("forgets", [False, True], ids=["ids that are not told", "an id that is forgotten"])
def test_a_peer_that_cannot_be_asked_for_is_not_elsewhere(forgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, the pair counted as torn apart, and was deleted and created again."""
    reconciler = reconciler_of(NsidTable())
    configure(reconciler, *pairs(1))
    reconciler.run(0.0)
    before = links("one")["a0"]["ifindex"]
    ask = Rtnl.ask

    def refused(self: Rtnl, questions: Sequence[bytes]) -> list[Answer]:
        kinds = {wire.HEADER.unpack_from(question)[1] for question in questions}
        return [Answer(errno.ENOMEM)] * len(questions) if wire.RTM_GETNSID in kinds else ask(self, questions)

    reconciler.backlog.add(reconciler.all_pairs())
    with monkeypatch.context() as patch:
        patch.setattr(Rtnl, "ask", refused)
        if forgets:
            for nsid in reconciler.nsids.known():
                reconciler.nsids.forget(nsid)
        said = reconciler.run(1.0)["a0"]
        assert said
        assert said.state is State.FAILED
    assert links("one")["a0"]["ifindex"] == before
    reconciler.backlog.add(reconciler.all_pairs())
    assert {c.state for c in reconciler.run(100.0).values() if c} == {State.APPLIED}
    assert links("one")["a0"]["ifindex"] == before


def test_an_id_whose_end_was_not_heard() -> None:
    """Once, the id of a namespace that was gone stayed that of the next one with its inode, whose pairs were torn."""
    reconciler = reconciler_of(nsids := NsidTable())
    configure(reconciler, *pairs(1))
    reconciler.run(0.0)
    index = links("one")["a0"]["ifindex"]
    with entered("one"), open_own() as one:
        right, wrong = nsids.nsid(one.id), 4711
        assert right is not None
        nsids._drop(right)
        nsids._ids[wrong], nsids._nsids[one.id] = one.id, wrong
        nsids._sure.add(one.id)
    nsids.doubt()
    reconciler.backlog.add(reconciler.all_pairs())
    assert {c.state for c in reconciler.run(1.0).values() if c} == {State.APPLIED}
    assert links("one")["a0"]["ifindex"] == index
    assert nsids.nsid(one.id) == right


def test_ids_that_are_doubted_are_asked_for_and_not_given_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that compares everything, and finds nothing to do, sends no message that changes something."""
    reconciler = applied(1)
    changes: list[bytes] = []
    batch = Rtnl.batch

    def noted(self: Rtnl, messages: Sequence[bytes]) -> list[Answer]:
        changes.extend(messages)
        return batch(self, messages)

    monkeypatch.setattr(Rtnl, "batch", noted)
    reconciler.compare(1.0, at_once=True)
    assert {c.state for c in reconciler.run(1.0).values() if c} <= {State.APPLIED}
    assert not changes


def test_the_address_of_a_host_interface_is_given_back_to_no_other() -> None:
    ip("link", "add", "name", "h0", "address", "02:00:00:00:00:01", "type", "bridge")
    host = find_hosts(["h0"])["h0"]
    ip("link", "del", "h0")
    ip("link", "add", "name", "x", "index", str(host.index), "address", "02:00:00:00:00:02", "type", "bridge")
    set_mac("h0", host)
    assert find_hosts(["x"])["x"] == Host(host.index, "02:00:00:00:00:02")
    set_mac("x", host)
    assert find_hosts(["x"])["x"] == host


def test_a_host_interface_that_cannot_be_asked_for_is_not_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rtnl, "ask", lambda _, questions: [Answer(errno.ENOMEM)] * len(questions))
    with pytest.raises(OSError, match="Cannot allocate memory"):
        find_hosts(["lo"])


def test_an_answer_that_does_not_come_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, it was waited for for ever."""
    monkeypatch.setattr(rtnl, "PATIENCE", 1)
    with Rtnl() as real, pytest.raises(OSError, match="not answered within 1 s") as caught:
        real._receive()
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("value", [5, -5000, 2**31 - 1, -(2**31)])
def test_an_error_number_that_is_none(value: int) -> None:
    """Once, os.strerror raised OverflowError in the pass."""
    with pytest.raises(OSError, match="cannot be read"):
        wire.error(wire.INT.pack(value) + bytes(16), 0)


@pytest.mark.parametrize("size", [0, 3, 15, 17, 19, 21, 30])
def test_a_link_that_is_cut_is_no_other_link(size: int) -> None:
    """Once, a link without its last attributes counted as one without our marks."""
    body = wire.IFINFO.pack(0, 1, 7, 0, 0) + wire.text(wire.IFLA_IFNAME, "v7") + wire.u32(wire.IFLA_GROUP, 9)
    with pytest.raises(OSError, match="cannot be read"):
        read_link(NetnsId(4, 1), body[:size])
