"""Single passes of the reconciler against the kernel, with what else happens put in between by hand."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import veth
from tests.support.netns import ip, links
from tests.support.shapes import namespaces, shape
from vppctl.agent.intake import configured
from vppctl.agent.lock import AgentLock
from vppctl.agent.reconciler import Reconciler
from vppctl.agent.resolver import Resolver
from vppctl.agent.runtime import Agent
from vppctl.agent.settings import AgentSettings
from vppctl.linux import addresses, wire
from vppctl.linux.monitor import NamespaceGone
from vppctl.linux.namespaces import Netns
from vppctl.linux.nsids import NsidTable
from vppctl.linux.processes import look_at, of_process
from vppctl.linux.resolve import resolve
from vppctl.linux.rtnl import Rtnl
from vppctl.microservices import Microservices
from vppctl.model.interface import Interface, NamespaceRef, NamespaceType
from vppctl.model.keys import Kind
from vppctl.reconcile.state import Configured, NetnsId, Reason, State
from vppctl.store.settings import parse_store_url

pytestmark = pytest.mark.kernel


@pytest.fixture
def reconciler() -> Reconciler:
    return Reconciler("vpp1", Resolver(Microservices(None, look_at), create=True, allowed_dirs=()), NsidTable())


def put(reconciler: Reconciler, *documents: dict[str, Any]) -> None:
    for document in documents:
        found = configured(Kind.LINUX, document["name"], json.dumps(document).encode(), 1, ())
        assert isinstance(found, Configured)
        reconciler.backlog.add(reconciler.desired.put(found))


def test_who_moves_while_another_is_refused(reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, the look after a refusal took note that others had moved, and nobody did anything about it."""
    put(reconciler, veth("a1", "a2", "x"), veth("a2", "a1"), veth("b1", "b2", "x"), veth("b2", "b1"))
    news = reconciler.run(0.0)
    assert {condition.state for condition in news.values() if condition} == {State.APPLIED}
    # IPv6 needs an MTU of 1280, and the kernel refuses an address below it; past validation, which refuses it, too.
    space = NamespaceRef(NamespaceType.NAMED_NS, name="x")
    refused = Interface("a1", "a2", enabled=True, mtu=1000, ip_addresses=("2001:db8::1/64",), namespace=space)
    reconciler.backlog.add(reconciler.desired.put(Configured("a1", refused, 2)))
    execute = reconciler.executor.execute
    moved: list[bool] = []

    def and_then_move(*arguments: Any) -> Any:
        outcomes = execute(*arguments)
        if not moved:
            moved.append(True)
            ip("netns", "del", "x")
            ip("netns", "add", "x")
        return outcomes

    monkeypatch.setattr(reconciler.executor, "execute", and_then_move)
    news = reconciler.run(1.0)
    assert news["a1"] is not None
    assert news["a1"].reason is Reason.KERNEL_ERROR
    assert news["b1"] is not None
    assert news["b1"].state is State.APPLIED
    assert set(links("x")) >= {"b1"}


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open so many more files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    opened = []
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        for fd in opened[len(opened) - count :]:
            os.close(fd)
        del opened[len(opened) - count :]
        yield
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("left", range(5))
def test_what_cannot_be_opened_is_not_gone(left: int) -> None:
    """Once, a process without descriptors was told that namespaces had gone, and removed their links."""
    ip("netns", "add", "x")
    with descriptors_left(left):
        ways: list[Callable[[], object]] = [
            lambda: of_process(os.getpid(), "own"),
            lambda: resolve(NamespaceRef(NamespaceType.NAMED_NS, name="x"), create=False),
        ]
        for way in ways:
            said = 0
            try:
                found = way()
            except OSError as error:
                said = error.errno or -1
            else:
                assert isinstance(found, Netns), found
                found.close()
            assert said in (0, errno.EMFILE)


@pytest.mark.parametrize("left", range(0, 16, 3))
def test_a_pass_without_descriptors_changes_nothing(reconciler: Reconciler, left: int) -> None:
    put(reconciler, veth("a", "b", "x"), veth("b", "a"))
    reconciler.run(0.0)
    before = links("x")["a"]["ifindex"]
    reconciler.backlog.add(reconciler.all_pairs())
    reconciler.sweep()
    with descriptors_left(left):
        reconciler.refresh_namespaces()
        news = reconciler.run(1.0)
    assert {condition.state for condition in news.values() if condition} <= {State.APPLIED, State.FAILED}
    assert links("x")["a"]["ifindex"] == before
    news = reconciler.run(100.0)
    reconciler.backlog.add(reconciler.all_pairs())
    news = reconciler.run(200.0)
    assert {condition.state for condition in news.values() if condition} == {State.APPLIED}
    assert links("x")["a"]["ifindex"] == before


def test_a_namespace_that_cannot_be_looked_for(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, `PENDING: the namespace has not been looked for yet`, and a line of the log for each namespace."""

    def refuse(_: NamespaceRef) -> Netns:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/run/netns")

    monkeypatch.setattr(reconciler.resolver, "open", refuse)
    for number in range(9):
        put(reconciler, veth(f"a{number}", f"b{number}", f"x{number}"), veth(f"b{number}", f"a{number}"))
    put(reconciler, veth("alone", "nobody", "x"))
    reconciler.refresh_namespaces()
    conditions = {name: (c.state, c.reason) for name, c in reconciler.run(0.0).items() if c}
    assert conditions.pop("alone") == (State.PENDING, Reason.PEER_NOT_CONFIGURED)
    assert set(conditions.values()) == {(State.FAILED, Reason.RESOURCE_EXHAUSTED)}
    assert len(caplog.records) <= 3, caplog.text
    monkeypatch.undo()
    assert {c.state for n, c in reconciler.run(100.0).items() if c and n != "alone"} == {State.APPLIED}


def test_a_configured_address_that_would_expire(reconciler: Reconciler) -> None:
    put(reconciler, veth("a", "b", "x", ip_addresses=["10.0.0.1/24", "2001:db8::1/64"]), veth("b", "a"))
    reconciler.run(0.0)
    for address in ("10.0.0.1/24", "2001:db8::1/64"):
        ip("-n", "x", "addr", "change", address, "dev", "a", "valid_lft", "600", "preferred_lft", "600")
    reconciler.backlog.add(reconciler.all_pairs())
    news = reconciler.run(1.0)
    assert news["a"] is not None
    assert news["a"].state is State.APPLIED
    found = [a for a in links("x")["a"]["addr_info"] if not a["local"].startswith("fe80")]
    assert {a["local"]: a["valid_life_time"] == 2**32 - 1 for a in found} == {"10.0.0.1": True, "2001:db8::1": True}


def test_a_kernel_that_does_not_tell_its_own_addresses(reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 5.18: the link-local address, which nobody configured, is not taken away."""
    # An attribute that this kernel does not know, either.
    monkeypatch.setattr(wire, "IFA_PROTO", 200)
    monkeypatch.setattr(addresses, "_tells_origin", addresses._tells_origin.__wrapped__)
    put(reconciler, veth("a", "b", "x"), veth("b", "a"))
    reconciler.run(0.0)
    ip("-n", "x", "addr", "add", "2001:db8::9/64", "dev", "a", "nodad")
    reconciler.backlog.add(reconciler.all_pairs())
    news = reconciler.run(1.0)
    assert news["a"] is not None
    assert news["a"].state is State.APPLIED
    found = {a["local"] for a in links("x")["a"]["addr_info"]}
    assert len(found) == 1
    assert found.pop().startswith("fe80:")


def test_the_kernel_is_asked_whether_it_reports_the_origin_of_addresses() -> None:
    with Rtnl() as rtnl:
        bodies = [body for _, body in rtnl.dump(wire.dump_addresses(1))]
    reported = any(wire.IFA_PROTO in wire.attributes(body, wire.IFADDR.size) for body in bodies)
    assert bodies, "those of lo, which the kernel has made itself"
    assert addresses._tells_origin.__wrapped__() is reported


def test_a_link_that_goes_while_it_is_looked_at(reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    put(reconciler, veth("a", "b", "x"), veth("b", "a"), veth("c", "d", "x"), veth("d", "c"))
    reconciler.run(0.0)
    dump_addresses = wire.dump_addresses
    gone: list[int] = []

    def and_then_delete(index: int = 0, nsid: int | None = None) -> bytes:
        if not gone:
            gone.append(index)
            ip("-n", "x", "link", "del", "dev", "a")
        return dump_addresses(index, nsid)

    monkeypatch.setattr(wire, "dump_addresses", and_then_delete)
    reconciler.backlog.add(reconciler.all_pairs())
    news = reconciler.run(1.0)
    assert {condition.state for condition in news.values() if condition} == {State.APPLIED}


def test_one_look_for_many_namespaces_that_have_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, each death cost a look at all references: a thousand of each took longer than the watchdog allows."""
    with AgentLock("passes") as lock:
        agent = Agent(AgentSettings(parse_store_url(f"sqlite:{tmp_path}/store.db"), "passes", "1"), lock)
        looks: list[bool] = []
        monkeypatch.setattr(agent.reconciler, "refresh_namespaces", lambda *_: looks.append(True))
        agent.intake.listed.add(Kind.LINUX)
        for number in range(50):
            agent.sources.inbox.put(NamespaceGone(NetnsId(4, number)))
        agent._drain(0.0)
    assert len(looks) == 1


def test_a_chain_of_namespaces_that_are_gone(reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chain each pair led to the next one alone, and all were opened and looked at anew for each step."""
    documents = shape("chain", 60).documents
    put(reconciler, *documents)
    names = namespaces(documents)
    news = reconciler.run(0.0)
    assert {condition.state for condition in news.values() if condition} == {State.APPLIED}
    for name in names:
        ip("netns", "del", name)
    opened: Counter[NamespaceRef] = Counter()
    resolver_open = reconciler.resolver.open

    def counted(reference: NamespaceRef) -> Any:
        opened[reference] += 1
        return resolver_open(reference)

    monkeypatch.setattr(reconciler.resolver, "open", counted)
    # The kernel's events are about one after the other.
    reconciler.enqueue(["a0000"], 1.0, 0.0)
    news = reconciler.run(1.0)
    assert len(news) == len(documents)
    assert max(opened.values()) < 20
    # Nobody listens to the kernel here: the id of a namespace that has ended may lead to another, which is tried again.
    for second in range(2, 60):
        if all(condition and condition.state is State.APPLIED for condition in news.values()):
            break
        news |= reconciler.run(float(second))
    assert {condition.state for condition in news.values() if condition} == {State.APPLIED}
    assert len(links(names[0])) == 1
