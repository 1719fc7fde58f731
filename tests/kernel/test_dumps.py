"""A dump proves what it shows, and nothing else: it may end anywhere, and looks like a whole one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links
from tests.support.passes import SHAPES, at_rest, between, drift, new_reconciler, put, star, states
from vppctl.linux import addresses, nsids, observe, rtnl, wire
from vppctl.linux.counters import read_counters
from vppctl.linux.marked import observe_marked
from vppctl.linux.named import discover
from vppctl.linux.namespaces import Netns, open_own
from vppctl.linux.nsids import NsidTable
from vppctl.linux.resolve import resolve
from vppctl.linux.rtnl import Rtnl
from vppctl.model.interface import NamespaceRef
from vppctl.reconcile.marks import Marks
from vppctl.reconcile.state import State

pytestmark = pytest.mark.kernel
GROUP = str(Marks("vpp1").group)
LONGEST = 26
"""Messages that the longest dump of these tests has, and some to spare."""


def indexes() -> dict[tuple[str, str], int]:
    """Every link of every named namespace, with its index."""
    spaces = sorted(path.name for path in Path("/run/netns").iterdir())
    return {(space, name): link["ifindex"] for space in spaces for name, link in links(space).items()}


def cut(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Each dump that is about more than one link ends after so many messages, as if there were no more."""
    parts = Rtnl.parts

    def short(self: Rtnl, request: bytes) -> Iterator[tuple[list[tuple[int, bytes]], bool]]:
        left = after
        kind = wire.HEADER.unpack_from(request)[1]
        if kind == wire.RTM_GETADDR and wire.IFADDR.unpack_from(request, wire.HEADER.size)[4]:
            left = 1000
        for bodies, interrupted in parts(self, request):
            yield bodies[:left], interrupted
            left = max(0, left - len(bodies))

    monkeypatch.setattr(Rtnl, "parts", short)
    # Dumps are for many; here they are to be used for few.
    monkeypatch.setattr(nsids, "FEW", 0)
    monkeypatch.setattr(observe, "MANY", 0)
    monkeypatch.setattr(addresses, "MANY", 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dump_cut_short_at_any_message_changes_nothing(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = SHAPES[shape](4)
    cut(monkeypatch, 0)
    reconciler = new_reconciler()
    put(reconciler, documents)
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    before = indexes()
    assert len(before) in (len(documents), len(documents) // 2), "with or without the hub in the default namespace"
    for after in range(LONGEST):
        with monkeypatch.context() as patch:
            cut(patch, after)
            at_rest(reconciler, float(after + 1))
            assert drift(reconciler) == []
            restarted = new_reconciler(adopt=True)
            put(restarted, documents)
            assert states(restarted.run(0.0)) == {State.APPLIED}
            assert restarted.results.total() == 0, "all of it was there"
    assert indexes() == before


@pytest.mark.parametrize("after", range(0, LONGEST, 5))
def test_what_drifts_is_repaired_whatever_a_dump_shows(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, after)
    reconciler = new_reconciler()
    documents = between(4)
    put(reconciler, documents)
    reconciler.run(0.0)
    ip("-n", "ns1", "addr", "flush", "dev", "a3", "scope", "global")
    ip("-n", "ns2", "link", "del", "b1")
    reconciler.backlog.add(reconciler.all_pairs())
    assert states(reconciler.run(1.0)) == {State.APPLIED}
    shown = {a["local"] for name in ("a1", "a3") for a in links("ns1")[name]["addr_info"] if a["scope"] == "global"}
    assert shown == {"10.0.1.1", "2001:db8:0:1::1", "10.0.3.1", "2001:db8:0:3::1"}
    at_rest(reconciler, 2.0)


@pytest.mark.parametrize("hub", ["hub", None], ids=["named", "default"])
def test_a_hub_with_more_spokes_than_a_dump_of_ids_shows(hub: str | None) -> None:
    """104 or 134 of them fit: once, the others were deleted and made again, for ever."""
    # In the default namespace the hub's side comes second.
    documents = star(150, hub, "h" if hub else "z")
    reconciler = new_reconciler()
    put(reconciler, documents)
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    before = indexes()
    at_rest(reconciler, 1.0)
    assert drift(reconciler) == []
    assert indexes() == before
    # The first dump on a socket shows least; which namespace's that is, is a matter of chance above.
    with ExitStack() as stack:
        spaces = {netns.id: netns for netns in (held(stack, r) for r in reconciler.desired.references())}
        wanted = reconciler.places.wanted(document["name"] for document in documents)
        assert {*wanted} == {*spaces}
        ordered = sorted(wanted, key=lambda netns: -len(wanted[netns]))
        observed = observe.observe(spaces, {netns: wanted[netns] for netns in ordered}, reconciler.nsids)
    assert [link.name for link in observed.links.values() if link.peer_netns is None] == []


def held(stack: ExitStack, reference: NamespaceRef) -> Netns:
    found = resolve(reference, create=False)
    assert isinstance(found, Netns)
    return stack.enter_context(found)


def altnames(space: str, name: str, count: int, length: int = 110) -> None:
    """Give a link so many alternative names, each of so many bytes."""
    lines = [f"link property add dev {name} altname {f'{name}{n:04}':x<{length}}" for n in range(count)]
    subprocess.run(["ip", "-n", space, "-batch", "-"], input="\n".join(lines), text=True, check=True)


@pytest.mark.parametrize("count", [40, 490])
def test_a_link_that_fits_into_no_dump_hides_no_other(count: int) -> None:
    """It comes first in the dump. 490 names are as many as the kernel takes (64 KiB)."""
    ip("netns", "add", "x")
    ip("-n", "x", "link", "add", "name", "large2", "type", "veth", "peer", "name", "large")
    altnames("x", "large", count)
    ip("-n", "x", "link", "add", "name", "stale", "group", GROUP, "type", "veth", "peer", "name", "stale2")
    marked = observe_marked(discover(), Marks("vpp1"), NsidTable())
    assert [link.name for link in marked.links] == ["stale"]
    reconciler = new_reconciler()
    put(reconciler, [veth("a", "b", "x"), veth("b", "a", "x")])
    assert states(reconciler.run(0.0)) == {State.APPLIED}
    altnames("x", "a", count)
    at_rest(reconciler, 1.0)


def test_answers_that_do_not_fit_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, the kernel said ENOBUFS, and the whole pass was given up."""
    reconciler = new_reconciler()
    put(reconciler, between(20))
    reconciler.run(0.0)
    for n in range(20):
        altnames("ns1", f"a{n}", 60)
    monkeypatch.setattr(rtnl, "RECEIVE_BUFFER", 16 << 10)
    at_rest(reconciler, 1.0)


def test_a_datagram_that_is_too_large_is_not_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    ip("netns", "add", "x")
    ip("-n", "x", "link", "add", "name", "large2", "type", "veth", "peer", "name", "large")
    altnames("x", "large", 40)
    monkeypatch.setattr(rtnl, "ROOM", 4 << 10)
    monkeypatch.setattr(rtnl, "_room", rtnl._Room())
    marked = observe_marked(discover(), Marks("vpp1"), NsidTable())
    assert marked.unseen.keys() == {"x"}


@pytest.mark.parametrize("after", range(5))
def test_counters_that_a_dump_does_not_show(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        ip("link", "add", "name", f"a{n}", "up", "type", "veth", "peer", "name", f"b{n}")
        ip("link", "set", f"b{n}", "up")
    found = [link["ifindex"] for link in links().values()]
    cut(monkeypatch, after)
    with open_own() as own:
        assert read_counters(own, [*found, 7777]).keys() == set(found)


def refuse(monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
    """The kernel cannot be asked in these namespaces."""
    open_socket = Rtnl.__init__

    def refusing(self: Rtnl, netns: object = None) -> None:
        if getattr(netns, "description", "") in names:
            raise OSError(105, "No buffer space available")
        open_socket(self, netns)  # type: ignore[arg-type]

    monkeypatch.setattr(Rtnl, "__init__", refusing)


def test_a_namespace_that_cannot_be_asked_concerns_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [*star(4), *between(2)]
    reconciler = new_reconciler()
    put(reconciler, documents)
    reconciler.run(0.0)
    before = indexes()
    with monkeypatch.context() as patch:
        refuse(patch, ["s1", "ns2"])
        ip("-n", "s2", "link", "set", "m2", "mtu", "1400")
        reconciler.backlog.add(reconciler.all_pairs())
        reconciler.sweep()
        news = reconciler.run(1.0)
        concerned = {name for name, found in news.items() if found and found.state is State.FAILED}
        assert concerned == {"h1", "m1", "a0", "b0", "a1", "b1"}
        assert links("s2")["m2"]["mtu"] == 1500
        assert indexes() == before
        found = news["h1"]
        assert found
        assert "namespace s1 cannot be asked: No buffer space available" in found.message
    assert states(reconciler.run(100.0)) == {State.APPLIED}
    at_rest(reconciler, 200.0)
    assert indexes() == before


def test_at_start_what_cannot_be_asked_is_still_looked_at_for_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [*between(2), *star(1)]
    earlier = new_reconciler()
    put(earlier, documents)
    earlier.run(0.0)
    before = indexes()
    reconciler = new_reconciler()
    put(reconciler, documents)
    with monkeypatch.context() as patch:
        refuse(patch, ["ns2"])
        news = reconciler.run(0.0)
        assert {name for name, found in news.items() if found and found.state is State.APPLIED} == {"h0", "m0"}
        assert reconciler.started
    first = indexes()
    assert {key for key, index in before.items() if first[key] != index} == {("hub", "h0"), ("s0", "m0")}
    # At a start, what is there is made again: the others now, and what was made at this start not once more.
    assert states(reconciler.run(100.0)) == {State.APPLIED}
    second = indexes()
    assert {key for key, index in first.items() if second[key] == index} == {("hub", "h0"), ("s0", "m0")}
    at_rest(reconciler, 200.0)
